/* One end is taken through a call instruction by instruction; after k of them it stands still, the other
 * end acts (sends, or receives and goes to sleep), and then both must come to the end of the round. With
 * every k that there is, no two instructions of the call are left between which something was not tried:
 * what a race finds once in a million this finds each time. What only the machine's own reordering shows
 * it cannot find. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "race.h"

/* Blocks of 4 MiB are offered every time, however often the last ones were withdrawn. */
enum { BLOCK = 4 << 20, MESSAGES = 3 };
/* Looks without news, not seconds: whoever stops all of us does not make it run out. */
enum { PATIENCE = 100000 };
/* How the stepped end says that it stands between two rounds. */
enum { MARK = SIGUSR2 };

static const size_t plans[][MESSAGES] = { { 100 }, { 10000 }, { 10000, 100 }, { 100, 100, 100 },
	{ 100, BLOCK }, { 10000, BLOCK }, { 70000, 100 } };
enum { PLANS = sizeof(plans) / sizeof(*plans) };

struct scenario {
	int stepped;     /* the role that is taken through its call */
	int sends;       /* it sends; else it receives */
	enum style style; /* of the receiver */
	const size_t *plan;
};

static struct scenario scenario_of(uint64_t seed)
{
	return (struct scenario){ .sends = seed % 2, .style = seed / 2 % STYLES,
		.plan = plans[seed / 2 / STYLES % PLANS], .stepped = seed / 2 / STYLES / PLANS % 2 };
}

struct walk {
	struct board board;
	_Atomic int quit, over; /* over: the stepped end has finished its call */
	_Atomic int asked, acted;
	_Atomic int joined, seized;
};

static size_t plan_bytes(const struct scenario *s)
{
	size_t n = 0;

	for (int i = 0; i < MESSAGES; i++)
		n += s->plan[i];
	return n;
}

static void send_plan(struct racer *r, const struct scenario *s, int round)
{
	char *p = r->buf;

	pattern_fill(p, plan_bytes(s), r->key, r->out);
	for (int i = 0; i < MESSAGES && s->plan[i]; i++) {
		if (i + 1 == MESSAGES || !s->plan[i + 1])
			atomic_store(&r->board->sent[r->role][1], round);
		racer_send(r, p, s->plan[i]);
		p += s->plan[i];
	}
}

static void do_part(struct racer *r, const struct scenario *s, int sends, int round)
{
	if (sends)
		send_plan(r, s, round);
	else
		racer_receive(r, plan_bytes(s));
}

/* Small and large, both ways, after which an upgrade has happened. */
static void warm_up(struct racer *r)
{
	static const size_t sizes[] = { 1, 5000, 70000, 300000, 64, 64, 1 << 20, 48, 64 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (int back = 0; back < 2; back++)
			(back == r->role ? racer_transmit : racer_receive)(r, sizes[i]);
}

static void be_stepped(struct walk *w, struct racer *r, const struct scenario *s)
{
	while (!atomic_load(&w->seized))
		usleep(100);
	while (raise(MARK), !atomic_load(&w->quit)) {
		do_part(r, s, s->sends, 0);
		atomic_store(&w->over, 1);
	}
}

static void act(struct walk *w, struct racer *r, const struct scenario *s)
{
	for (int round = 1; !atomic_load(&w->quit); round++) {
		while (atomic_load(&w->asked) < round && !atomic_load(&w->quit))
			usleep(20);
		if (atomic_load(&w->quit))
			return;
		do_part(r, s, !s->sends, round);
		atomic_store(&w->acted, round);
	}
}

int walk_end(int argc, char **argv)
{
	int role = argc > 1 ? atoi(argv[1]) : 0;
	uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	struct scenario s = scenario_of(seed);
	struct walk *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED, BOARD_FD, 0);
	struct racer r;

	racer_open(&r, role, seed, s.style, BLOCK + 100000);
	warm_up(&r);
	atomic_fetch_add(&w->joined, 1);
	(role == s.stepped ? be_stepped : act)(w, &r, &s);
	return 0;
}

/* ---- the parent */

struct walker {
	struct walk *w;
	struct scenario s;
	struct rng rng;
	pid_t pid, actor;
	int round, how;
	const char *failed;
};

/* Sleeps in the kernel, in a call of the library's or the program's own. */
static int sleeps(pid_t pid)
{
	char path[64], buf[64] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, buf, sizeof(buf) - 1) < 0)
		buf[0] = 0;
	close(fd);
	return buf[0] >= '0' && buf[0] <= '9' && strtol(buf, NULL, 10) != SYS_clock_nanosleep &&
		strtol(buf, NULL, 10) != SYS_sched_yield;
}

/* SIGCHLD is blocked: it says that there is something to wait for. 0: nothing so far. */
static int await_child(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	return sigtimedwait(&set, NULL, &(struct timespec){ 0, 300000 }) == SIGCHLD;
}

static int go_on(struct walker *k, int how)
{
	k->how = how;
	return ptrace(how, k->pid, 0, 0);
}

/* MARK or SIGTRAP; 0: it sleeps, and may_sleep says that this ends the wait. */
static int await_stop(struct walker *k, int may_sleep)
{
	int status, asleep = 0;

	for (int looks = 0; asleep < 3 && looks < PATIENCE; looks++) {
		if (waitpid(k->pid, &status, WNOHANG) != k->pid) {
			if (!await_child())
				asleep = may_sleep && sleeps(k->pid) ? asleep + 1 : 0;
		} else if (!WIFSTOPPED(status)) {
			k->failed = *k->w->board.message ? k->w->board.message : "ended";
			return -1;
		} else if (WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == MARK) {
			return WSTOPSIG(status);
		} else { /* somebody else's signal */
			go_on(k, k->how);
		}
	}
	if (asleep < 3)
		k->failed = "the stepped end hangs";
	return 0;
}

enum place { THERE, ASLEEP, OVER };

/* To the instruction number `steps` of the call. */
static enum place step(struct walker *k, int steps)
{
	for (int i = 0; i < steps; i++) {
		go_on(k, PTRACE_SINGLESTEP);
		if (await_stop(k, 1) != SIGTRAP)
			return ASLEEP;
		if (atomic_load(&k->w->over))
			return OVER;
	}
	return THERE;
}

static int has_acted(struct walker *k)
{
	return atomic_load(&k->w->acted) >= k->round;
}

/* It has begun to send the last message of this round. */
static int sends_last(struct walker *k)
{
	return atomic_load(&k->w->board.sent[!k->s.stepped][1]) == (uint64_t)k->round;
}

/* An offer lies there for about 200 us; in that time we must be back. */
static void let_offer(struct walker *k)
{
	while (!sends_last(k) && !has_acted(k) && !atomic_load(&k->w->board.failed))
		;
	stay_busy(rng_below(&k->rng, 250) * 1000L);
}

/* The other end does its part, as far as it gets without this one. */
static void let_act(struct walker *k)
{
	int asleep = 0, most = k->s.style == BUSY ? 5 : 1 << 20;

	atomic_store(&k->w->asked, ++k->round);
	if (!k->s.sends && k->s.plan[1] == BLOCK) {
		let_offer(k);
		return;
	}
	for (int i = 0; i < most && !has_acted(k) && asleep < 3 && !atomic_load(&k->w->board.failed); i++) {
		usleep(20);
		asleep = sleeps(k->actor) ? asleep + 1 : 0;
	}
}

/* Both must come to the next round by themselves. */
static void finish(struct walker *k, enum place where)
{
	int looks = 0, sig = where == ASLEEP ? await_stop(k, 0) : SIGTRAP;

	while (sig == SIGTRAP) {
		go_on(k, PTRACE_CONT);
		sig = await_stop(k, 0);
	}
	while (!k->failed && !has_acted(k) && !atomic_load(&k->w->board.failed)) {
		usleep(20);
		if (looks++ > PATIENCE)
			k->failed = "the other end hangs";
	}
	if (!k->failed && atomic_load(&k->w->board.failed))
		k->failed = k->w->board.message;
}

static enum place one_round(struct walker *k, int steps)
{
	enum place where;

	atomic_store(&k->w->over, 0);
	where = step(k, steps);
	if (!k->failed)
		let_act(k);
	if (!k->failed)
		finish(k, where);
	return where;
}

/* All the steps there are, `stride` apart. */
static void walk(struct walker *k, uint64_t seed, int most, int stride)
{
	for (int steps = seed % stride; steps < most && !k->failed; steps += stride) {
		enum place where = one_round(k, steps);

		if (k->failed)
			printf("seed %lu, %d steps: %s\n", (unsigned long)seed, steps, k->failed);
		else if (where != THERE)
			return;
	}
}

static void begin(struct walker *k, const int pids[2])
{
	int looks = 0;

	k->pid = pids[k->s.stepped];
	k->actor = pids[!k->s.stepped];
	while (atomic_load(&k->w->joined) < 2 && !atomic_load(&k->w->board.failed) && looks++ < PATIENCE)
		usleep(200);
	if (atomic_load(&k->w->joined) < 2 || ptrace(PTRACE_SEIZE, k->pid, 0, 0)) {
		k->failed = "they do not come together";
		return;
	}
	k->how = PTRACE_CONT;
	atomic_store(&k->w->seized, 1);
	await_stop(k, 0);
}

/* Their exit statuses are part of the result. */
static void end(struct walker *k)
{
	int status[2] = { -1, -1 };

	atomic_store(&k->w->quit, 1);
	if (k->failed) {
		kill(k->pid, SIGKILL);
		kill(k->actor, SIGKILL);
	} else {
		go_on(k, PTRACE_CONT);
	}
	waitpid(k->pid, &status[0], 0);
	waitpid(k->actor, &status[1], 0);
	if (!k->failed && (status[0] || status[1]))
		k->failed = "did not end well";
}

int walk_run(uint64_t seed, int most, int stride, const char *const preload[2])
{
	int fd = memfd_create("walk", MFD_CLOEXEC), pids[2];
	struct walker k = { .s = scenario_of(seed), .rng = { mix64(seed) } };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* Small, so that the plan's 70000 bytes overflow; short, since time stands still for nobody. */
	setenv("DLACCEL_NET_RING", "64K", 0);
	setenv("DLACCEL_SPIN", "5", 0);
	setenv("DLACCEL_BLOCK_ALWAYS", "1", 0);
	if (ftruncate(fd, sizeof(*k.w)))
		return 1;
	k.w = mmap(NULL, sizeof(*k.w), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (int i = 0; i < 2; i++)
		pids[i] = end_start("walk-end", i, seed, 0, fd, preload[i]);
	begin(&k, pids);
	if (!k.failed)
		walk(&k, seed, most, stride);
	end(&k);
	if (k.failed)
		printf("seed %lu (the %s %s, style %d): %s\n", (unsigned long)seed, k.s.stepped ? "server" : "client",
			k.s.sends ? "sends" : "receives", k.s.style, k.failed);
	fflush(stdout);
	munmap(k.w, sizeof(*k.w));
	close(fd);
	return k.failed != NULL;
}
