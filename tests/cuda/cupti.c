/* As much of CUPTI as a profiler needs to show itself. */
__attribute__((visibility("default"))) int cuptiSubscribe(void);

int cuptiSubscribe(void)
{
	return 4242;
}
