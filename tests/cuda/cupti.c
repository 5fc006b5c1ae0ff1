/* As much of CUPTI as a profiler needs to show itself. */
#define CUPTI(name)                                                                                \
	__attribute__((visibility("default"))) int name(void);                                     \
	int name(void)                                                                             \
	{                                                                                          \
		return 4242;                                                                       \
	}
#include "cupti.def"
