/*
 * Memory for RDMA, over simulated devices.  Where it is not to be had (less than a device's queues need may be locked, or less
 * than a connection's rings, or DLACCEL_NET_MEMORY is spent) the connection stays plain TCP in either role, for that reason
 * and no other, and the log says so.  What the program gives back is unlocked though it makes no call any more.  The thread
 * has its stack, however much of it the program's thread-local variables take.
 */
#include "peer.h"

#include "log.h"
#include "settings.h"
#include "stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HUNG_S = 120, PATIENT_US = 30000000, HASTY_US = 20000, BUFFER = 1 << 20, LOCKABLE = 64 << 10, QUEUES = 128 << 10 };

static _Thread_local volatile char of_each_thread[2 << 20];

static void expect_plain(int role)
{
	struct peer p;

	peer_start(&p, role);
	struct verbs_call c = peer_call_of(&p);
	if (!role && peer_call(&p, &c, sizeof(c)))
		sim_wrong("a call is answered without memory");
	int r = peer_outcome(&p);
	if (r != -EPERM)
		sim_wrong("role %d: %d without memory", role, r);
	peer_end(&p);
}

static void expect_line(const char *text)
{
	char path[64], log[4096] = "";

	snprintf(path, sizeof(path), "%s/log", settings.dir);
	FILE *f = fopen(path, "r");
	if (f) {
		fread(log, 1, sizeof(log) - 1, f);
		fclose(f);
	}
	if (!strstr(log, text))
		sim_wrong("the log does not say \"%s\": %s", text, log);
}

static void expect_reason(enum stat_id why, const char *line)
{
	static const enum stat_id reasons[] = { FALLBACK_RDMA_NO_DEVICE, FALLBACK_RDMA_MEMLOCK, FALLBACK_MEMORY_CAP };

	for (int role = 0; role < 2; role++)
		expect_plain(role);
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		uint64_t n = atomic_load(&dlaccel_stats.slot[reasons[i]].value);
		if (n != (reasons[i] == why ? 2 : 0))
			sim_wrong("reason %zu: %llu times", i, (unsigned long long)n);
	}
	expect_line(line);
}

/* As a user to whom the limit applies. */
static void queues_cannot_be_locked(void)
{
	struct rlimit limit = { LOCKABLE, LOCKABLE };

	sim_wire.lockable = LOCKABLE;
	settings.log = LOG_INFO;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || (!geteuid() && setresuid(65534, 65534, 65534)))
		sim_wrong("no limit: %s", strerror(errno));
	expect_reason(FALLBACK_RDMA_MEMLOCK, "memory for RDMA could not be locked (ulimit -l): stays plain TCP");
	expect_line("RDMA device a is not used: its queues need more than the 65536 bytes that may be locked (ulimit -l)");
}

static void rings_cannot_be_locked(void)
{
	sim_wire.lockable = QUEUES;
	expect_reason(FALLBACK_RDMA_MEMLOCK, "memory for RDMA could not be locked (ulimit -l): stays plain TCP");
}

static void net_memory_is_spent(void)
{
	settings.net_memory = 2 << RING_SHIFT_LEAST;
	expect_reason(FALLBACK_MEMORY_CAP, "DLACCEL_NET_MEMORY reached: what does not fit stays plain TCP");
}

/* With no connection left, and long after the progress thread has found that there is none. */
static void freed_memory_is_unlocked(void)
{
	struct rdma_cm_id *id = sim_id_create(0);
	void *p = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct device *d;

	settings.rdma_idle = HASTY_US;
	if (device_of(id, &d))
		sim_wrong("no device");
	device_unregister(d, device_register(d, p, BUFFER));
	if (thread_start())
		sim_wrong("no thread");
	thread_wake();
	for (int i = 0; i < 500; i++)
		peer_nap();
	if (sim_wire.locked != QUEUES + BUFFER)
		sim_wrong("a registration is not kept");
	munmap(p, BUFFER);
	PEER_WAIT(sim_wire.locked == QUEUES);
	sim_id_destroy(id);
}

/* Each in a process of its own: a device that cannot be opened is not tried again. */
static void in_child(void (*run)(void))
{
	char folder[] = "/tmp/verbs-memory-XXXXXX", path[64];
	int status;

	settings.dir = mkdtemp(folder);
	chmod(folder, 0777);
	pid_t pid = fork();
	if (!pid) {
		alarm(HUNG_S);
		peer_set_up(PATIENT_US, PATIENT_US);
		run();
		exit(0);
	}
	waitpid(pid, &status, 0);
	snprintf(path, sizeof(path), "%s/log", folder);
	unlink(path);
	rmdir(folder);
	if (status)
		exit(1);
}

int main(void)
{
	of_each_thread[0] = 1;
	in_child(queues_cannot_be_locked);
	in_child(rings_cannot_be_locked);
	in_child(net_memory_is_spent);
	in_child(freed_memory_is_unlocked);
	return 0;
}
