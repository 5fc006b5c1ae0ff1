#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77 };

static struct cr_test *first, **last = &first;
static atomic_int failures;

void cr_add(struct cr_test *t)
{
	*last = t;
	last = &t->next;
}

void cr_failed(bool fatal, const char *file, int line, const char *what, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "%s:%d: %s:", file, line, what);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	failures++;
	if (fatal)
		exit(1);
}

void cr_skip_test(const char *why)
{
	fprintf(stderr, "%s\n", why);
	exit(SKIPPED);
}

static const struct cr_test *suite_of(const struct cr_test *t)
{
	const struct cr_test *s = first;

	while (s && (s->run || strcmp(s->suite, t->suite)))
		s = s->next;
	return s ? s : t;
}

/* By exit, so that the run time says whether it has found something. */
static void run(const struct cr_test *t)
{
	const struct cr_test *s = suite_of(t);

	if (s->fini)
		atexit(s->fini); /* behind a fatal failure too */
	if (s->init)
		s->init();
	t->run();
	exit(failures != 0);
}

static bool passes(const struct cr_test *t)
{
	int status;
	pid_t child = fork();

	if (!child)
		run(t);
	if (child < 0 || waitpid(child, &status, 0) != child)
		return false;
	bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED;
	printf("%s::%s: %s (%#x)\n", t->suite, t->name, skipped ? "skipped" : status ? "FAILED" : "passed", (unsigned)status);
	fflush(stdout);
	return skipped || !status;
}

int main(void)
{
	int failed = 0, count = 0;

	for (const struct cr_test *t = first; t; t = t->next)
		if (t->run) {
			failed += !passes(t);
			count++;
		}
	return failed || !count;
}
