/*
 * Surroundings that are not as we would like them: other interposers, DEEPBIND, a second driver in
 * another namespace, a profiler that subscribes in mid-run, a driver that lacks entries or has too many
 * that nobody knows, no room for a thread. The launches
 * must reach the driver all the same, each once and in order, and the reason be counted and said in
 * one line (DLACCEL_LOG=info).
 *
 * hostile MODE [PLUGIN [ENTRY]], or: hostile off [COUNTER OF THE REASON]
 */
#include "counters.h"
#include "hold.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

typedef CUresult launch_fn CUDA_LAUNCH_PARAMS;

static const struct {
	const char *counter, *line;
} reasons[] = {
#define FALLBACK(id, counter, line) { counter, line },
#include "fallback.def"
#undef FALLBACK
};

static int said_fd;

/* What the library says, through descriptor 2, is kept; our own stderr stays where it was. */
static void listen_to_library(void)
{
	stderr = fdopen(dup(STDERR_FILENO), "w");
	said_fd = memfd_create("said", 0);
	CHECK(said_fd >= 0 && dup2(said_fd, STDERR_FILENO) == STDERR_FILENO);
}

static unsigned times_said(const char *line)
{
	static char said[16384];
	ssize_t n = pread(said_fd, said, sizeof(said) - 1, 0);
	unsigned times = 0;

	said[n > 0 ? n : 0] = 0;
	for (const char *at = said; (at = strstr(at, line)); at += strlen(line))
		times++;
	return times;
}

static void said_once(const char *counter)
{
	for (unsigned i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (!strcmp(reasons[i].counter, counter)) {
			CHECK_EQ(times_said(reasons[i].line), 1);
			return;
		}
	CHECK(!"such a reason");
}

static uint64_t next = 1;

static void launch_by(launch_fn *entry, unsigned n)
{
	for (; n; n--, next++) {
		int k = 0;
		void *params[] = { &next, &k };
		OK(entry((CUfunction)0x1000, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
	}
}

static void all_ran(void)
{
	OK(cu.cuCtxSynchronize());
	CHECK_EQ(stub.ran, next - 1);
	for (unsigned i = 0; i < stub.ran; i++)
		CHECK_EQ(stub.param[i], i + 1);
}

static bool goes_past;

/* Registered before the driver's and the library's: it runs after them. */
static void at_end(void)
{
	if (counter("cuda.fallback.past_us") != goes_past || (goes_past && times_said("RTLD_DEEPBIND") != 1))
		_exit(1);
}

static void plain(void)
{
	launch_by(cu.cuLaunchKernel, 100);
	all_ran();
	CHECK(counter("cuda.submissions") > 0);
}

/* Every launch of the program's passes the other library once; by its own symbol, as if linked. */
static void tracer(void)
{
	launch_fn *linked = (launch_fn *)dlsym(RTLD_DEFAULT, "cuLaunchKernel");
	const int *seen = dlsym(RTLD_DEFAULT, "tracer_launches");
	const int *missed = dlsym(RTLD_DEFAULT, "tracer_missed");

	CHECK(linked && seen && missed);
	launch_by(linked, 100);
	all_ran();
	CHECK_EQ(*seen, 100);
	CHECK_EQ(*missed, 0);
}

static void second_namespace(void)
{
	void *other = dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW);
	launch_fn *entry = other ? (launch_fn *)dlsym(other, "cuLaunchKernel") : NULL;
	const struct stub *its = other ? dlsym(other, "stub") : NULL;

	CHECK(entry && its);
	launch_by(cu.cuLaunchKernel, 50);
	all_ran();
	launch_by(entry, 10);
	CHECK_EQ(its->ran, 10);
	next -= 10;
	launch_by(cu.cuLaunchKernel, 50);
	all_ran();
	CHECK_EQ(counter("cuda.fallback.second_driver"), 1);
	said_once("cuda.fallback.second_driver");
}

/* What is queued is with the driver when the call returns. */
static int with_work_queued(int (*subscribe)(void))
{
	bool returned = false;
	pthread_t t;
	int result;

	stub.busy = 1;
	launch_by(cu.cuLaunchKernel, 3);
	__atomic_store_n(&stub.hold, 1, __ATOMIC_SEQ_CST);
	launch_by(cu.cuLaunchKernel, 1);
	while (!__atomic_load_n(&stub.held, __ATOMIC_SEQ_CST))
		sched_yield();
	launch_by(cu.cuLaunchKernel, 10);
	watched.caller = (pid_t)syscall(SYS_gettid);
	watched.row = ROW_COUNT;
	CHECK(!pthread_create(&t, NULL, releaser, &returned));
	result = subscribe();
	CHECK_EQ(stub.ran, next - 1);
	__atomic_store_n(&returned, true, __ATOMIC_SEQ_CST);
	pthread_join(t, NULL);
	stub.busy = 0;
	return result;
}

static const char *plugin_path;
static void *plugin, *plugin_entry;

/* As a program does it that knows its plugin by a name only. */
static int open_plugin(int flags, const char *name)
{
	plugin = dlopen(plugin_path, flags);
	plugin_entry = plugin ? dlsym(plugin, name) : NULL;
	CHECK(plugin_entry);
	return 0;
}

static int open_deepbound(void)
{
	return open_plugin(RTLD_NOW | RTLD_DEEPBIND, "plugin_launch");
}

/* Before it can call the driver, nothing waits any more. Opened otherwise it comes by here, and goes again. */
static void deepbind(void)
{
	open_plugin(RTLD_NOW, "plugin_launch");
	launch_by((launch_fn *)plugin_entry, 10);
	CHECK(counter("cuda.launches") == 10);
	CHECK(!dlclose(plugin));
	CHECK_EQ(counter("cuda.fallback.past_us"), 0);
	goes_past = true;
	with_work_queued(open_deepbound);
	CHECK_EQ(counter("cuda.fallback.past_us"), 1);
	said_once("cuda.fallback.past_us");
	launch_by((launch_fn *)plugin_entry, 100);
	launch_by(cu.cuLaunchKernel, 10);
	all_ran();
}

/* Bound at its first call: that is seen when the program ends. */
static void deepbind_lazy(void)
{
	goes_past = true;
	open_plugin(RTLD_LAZY | RTLD_DEEPBIND, "plugin_launch");
	launch_by((launch_fn *)plugin_entry, 10);
	all_ran();
	CHECK_EQ(counter("cuda.fallback.past_us"), 0);
}

static void subscriber(const char *path, const char *entry)
{
	void *cupti = dlopen(path, RTLD_NOW);
	int (*subscribe)(void) = cupti ? (int (*)(void))dlsym(cupti, entry) : NULL;

	CHECK(subscribe);
	launch_by(cu.cuLaunchKernel, 50);
	CHECK_EQ(with_work_queued(subscribe), 4242);
	uint64_t before = counter("cuda.submissions");
	launch_by(cu.cuLaunchKernel, 50);
	all_ran();
	CHECK_EQ(counter("cuda.submissions"), before);
	CHECK_EQ(counter("cuda.fallback.profiler"), 1);
	said_once("cuda.fallback.profiler");
}

/*
 * Without parameter sizes nothing by pointers can be deferred, and nothing breaks. What is lacking is
 * named, and a name asked for with its version is found.
 */
static void old_driver(void)
{
	launch_fn *by_version = (launch_fn *)dlvsym(api_driver, "cuLaunchKernel", "OLD_1");
	uint64_t before = counter("cuda.submissions");

	CHECK(!cu.cuFuncGetParamInfo && !cu.cuLaunchKernelEx);
	CHECK(by_version);
	launch_by(cu.cuLaunchKernel, 50);
	launch_by(by_version, 50);
	all_ran();
	CHECK_EQ(counter("cuda.launches"), 100);
	CHECK_EQ(counter("cuda.submissions"), before);
	CHECK(counter("cuda.fallback.param_info") > 0);
	said_once("cuda.fallback.param_info");
	CHECK(counter("cuda.hooks_missing") > 100);
	CHECK_EQ(times_said("hooks; this driver lacks cuGetProcAddress"), 1);
}

typedef int newer_fn(void);

static newer_fn *newer_entry(unsigned i)
{
	char name[16];

	snprintf(name, sizeof(name), "cuNewer%02u", i);
	return (newer_fn *)dlsym(api_driver, name);
}

/* Entries from beyond the table drain, as many as there is room for; with one more nothing waits. */
static void newer(void)
{
	uint64_t before;

	stub.busy = 1;
	for (unsigned i = 0; i < SPARE_ROWS; i++) {
		newer_fn *entry = newer_entry(i);
		CHECK(entry && entry == newer_entry(i));
		launch_by(cu.cuLaunchKernel, 20);
		CHECK_EQ(entry(), next - 1);
	}
	before = counter("cuda.submissions");
	CHECK(before > 0);
	CHECK_EQ(counter("cuda.fallback.unknown_entries"), 0);
	CHECK(newer_entry(SPARE_ROWS) && newer_entry(SPARE_ROWS + 1));
	CHECK_EQ(counter("cuda.fallback.unknown_entries"), 1);
	said_once("cuda.fallback.unknown_entries");
	for (unsigned i = 0; i <= SPARE_ROWS; i++) {
		launch_by(cu.cuLaunchKernel, 1);
		CHECK_EQ(newer_entry(i)(), next - 1);
	}
	all_ran();
	CHECK_EQ(counter("cuda.submissions"), before);
}

/* The same where everybody sees the driver's entries, and every caller means his own scope. */
static void newer_in_scope(void)
{
	stub.busy = 1;
	for (unsigned i = 0; i < 3; i++) {
		char name[16];
		snprintf(name, sizeof(name), "cuNewer%02u", i);
		newer_fn *entry = (newer_fn *)dlsym(RTLD_DEFAULT, name);
		CHECK(entry && entry == newer_entry(i));
		launch_by(cu.cuLaunchKernel, 20);
		CHECK_EQ(entry(), next - 1);
	}
	CHECK(!dlsym(RTLD_DEFAULT, "cuNowhere") && dlerror());
	CHECK_EQ(counter("cuda.fallback.unseen_entries"), 0);
	CHECK(counter("cuda.submissions") > 0);
}

static int open_newer(void)
{
	return open_plugin(RTLD_NOW, "plugin_newer");
}

static int newer_by_next(void)
{
	plugin_entry = dlsym(RTLD_NEXT, "cuNewer01");
	CHECK(plugin_entry);
	return 0;
}

/* Their calls will not be seen: from here on nothing waits. */
static void newer_unseen(int (*find)(void))
{
	CHECK_EQ(counter("cuda.fallback.unseen_entries"), 0);
	with_work_queued(find);
	CHECK_EQ(counter("cuda.fallback.unseen_entries"), 1);
	said_once("cuda.fallback.unseen_entries");
	CHECK(times_said("cuNewer01") == 1);
	for (unsigned i = 0; i < 10; i++) {
		launch_by(cu.cuLaunchKernel, 3);
		CHECK_EQ(((newer_fn *)plugin_entry)(), next - 1);
	}
	all_ran();
}

/* Nobody but the program's thread is there to tell the driver, and no later call of it will: at the launch. */
static void no_thread(void)
{
	stub.busy = 1;
	for (unsigned i = 0; i < 100; i++) {
		launch_by(cu.cuLaunchKernel, 1);
		CHECK_EQ(stub.ran, next - 1);
	}
	all_ran();
	CHECK(counter("cuda.submissions") > 0);
	CHECK(counter("cuda.fallback.no_thread") > 0);
	said_once("cuda.fallback.no_thread");
}

/* From the start; without a reason: the user's wish. */
static void off(const char *reason)
{
	launch_by(cu.cuLaunchKernel, 100);
	all_ran();
	CHECK_EQ(counter("cuda.submissions"), 0);
	for (unsigned i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		CHECK_EQ(counter(reasons[i].counter), reason && !strcmp(reasons[i].counter, reason));
	if (reason)
		said_once(reason);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	plugin_path = argc > 2 ? argv[2] : NULL;
	listen_to_library();
	atexit(at_end);
	CHECK(!api_load());
	OK(cu.cuInit(0));
	if (!strcmp(mode, "plain"))
		plain();
	else if (!strcmp(mode, "tracer"))
		tracer();
	else if (!strcmp(mode, "deepbind"))
		deepbind();
	else if (!strcmp(mode, "deepbind-lazy"))
		deepbind_lazy();
	else if (!strcmp(mode, "namespace"))
		second_namespace();
	else if (!strcmp(mode, "subscriber"))
		subscriber(plugin_path, argv[3]);
	else if (!strcmp(mode, "old"))
		old_driver();
	else if (!strcmp(mode, "newer"))
		newer();
	else if (!strcmp(mode, "newer-in-scope"))
		newer_in_scope();
	else if (!strcmp(mode, "newer-linked"))
		newer_unseen(open_newer);
	else if (!strcmp(mode, "newer-next"))
		newer_unseen(newer_by_next);
	else if (!strcmp(mode, "no-thread"))
		no_thread();
	else if (!strcmp(mode, "off"))
		off(plugin_path);
	else
		return 2;
	return 0;
}
