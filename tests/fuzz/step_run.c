#include "step_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stream.h"

#define ANSWER_MS 30000

static const char *const op_names[OP_COUNT] = {
#define X(name) #name,
	STEP_OPS(X)
#undef X
};

void note(struct run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(r->log, fmt, ap);
	va_end(ap);
}

static void log_call_args(struct run *r, const struct cmd *c)
{
	const int *a = c->a;

	if (c->op == OP_send)
		note(r, " h%d %s %d flags %#x", a[0], send_kind_name(a[1]), a[2], a[3]);
	else if (c->op == OP_recv)
		note(r, " h%d %s %d flags %#x", a[0], recv_kind_name(a[1]), a[2], a[3]);
	else if (c->op == OP_wait)
		note(r, " h%d %s %#x %d ms", a[0], wait_kind_name(a[1]), a[2], a[3]);
	else if (c->op == OP_connect)
		note(r, " h%d v6 %d nonblock %d sndbuf %d", a[0], a[1], a[3], a[4]);
	else if (c->op == OP_refused)
		note(r, " nonblock %d", a[1]);
	else if (c->op == OP_drain)
		note(r, " h%d chunk %d style %d greedy %d", a[0], a[2], a[3], a[4]);
	else if (c->op == OP_setopt || c->op == OP_getopt)
		note(r, " h%d %s %d", a[0], step_opts[a[1]].name, a[2]);
	else
		note(r, " %d %d %d %d", a[0], a[1], a[2], a[3]);
}

/* Ports, and how much fits into buffers that the kernel tunes, differ from run to run; whether it all comes out again does not. */
static int log_hidden(struct run *r, const struct cmd *c, const struct reply *p)
{
	if (c->op == OP_listen)
		note(r, " -> %s\n", p->ret < 0 ? "failed" : "ok");
	else if (c->op == OP_fill)
		note(r, " -> %s, then %s\n", c->a[2] ? "perhaps" : p->ret > 0 ? "some" : "none", strerror(p->v[0]));
	else if (c->op == OP_drain)
		note(r, " -> %ld more than asked for, wrong at %d\n", (long)p->ret - c->a[1], p->v[0]);
	else
		return 0;
	return 1;
}

static void log_reply(struct run *r, const struct cmd *c, const struct reply *p)
{
	if (p->ret == RET_HANG)
		note(r, " -> HANG\n");
	else if (p->ret == RET_DIED)
		note(r, " -> DIED\n");
	else if (!log_hidden(r, c, p))
		note(r, " -> %ld %s [%#x %#x %#x %#x %#x %#x]\n", (long)p->ret,
			p->err ? strerror(p->err) : "", p->v[0], p->v[1], p->v[2], p->v[3],
			p->v[4], p->v[5]);
}

static struct reply exchange(struct run *r, int side, int proc, struct cmd c)
{
	struct side *s = &r->side[side];
	struct reply p = { .ret = RET_DIED };
	struct pollfd fd = { s->ctl[proc], POLLIN, 0 };

	if (!s->alive[proc])
		return p;
	if (send(fd.fd, &c, sizeof(c), MSG_NOSIGNAL) == sizeof(c)) {
		if (poll(&fd, 1, ANSWER_MS) == 0)
			p.ret = RET_HANG;
		else if (recv(fd.fd, &p, sizeof(p), 0) != sizeof(p))
			p.ret = RET_DIED;
	}
	if (p.ret == RET_HANG || p.ret == RET_DIED)
		s->alive[proc] = 0;
	return p;
}

static int is_wrong(const struct cmd *c, const struct reply *p)
{
	if (p->ret == RET_HANG)
		return 1;
	if (p->ret == RET_DIED)
		return c->op != OP_die && c->op != OP_exit;
	if (c->op == OP_recv || c->op == OP_drain || c->op == OP_bulk_recv)
		return p->ret > 0 && p->v[0] != -1;
	return 0;
}

struct reply tell_quietly(struct run *r, int side, int proc, struct cmd c)
{
	struct reply p = exchange(r, side, proc, c);

	r->hard |= is_wrong(&c, &p);
	return p;
}

struct reply tell(struct run *r, int side, int proc, struct cmd c)
{
	struct reply p = tell_quietly(r, side, proc, c);

	note(r, "%3d %s%d%s %s", ++r->line, side == CLIENT ? "client" : "server", proc,
		c.thread ? "t" : "", op_names[c.op]);
	log_call_args(r, &c);
	log_reply(r, &c, &p);
	return p;
}

static void place(int fd, int at)
{
	dup2(fd, at);
}

static void worker_exec(const int ctl[MAX_PROCS], const int pass[2], const char *preload,
	uint64_t seed)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *argv[] = { self, "worker", NULL };

	self[n < 0 ? 0 : n] = 0;
	setpgid(0, 0);
	for (int i = 0; i < MAX_PROCS; i++)
		place(ctl[i], CONTROL_FD + i);
	place(pass[0], PASS_FD);
	place(pass[1], PASS_FD + 1);
	vary_settings(seed);
	if (preload)
		setenv("LD_PRELOAD", preload, 1);
	for (int fd = 3; fd < CONTROL_FD; fd++)
		close(fd);
	execv(argv[0], argv);
	_exit(127);
}

static int worker_start(struct side *s, const char *preload, uint64_t seed)
{
	int theirs[MAX_PROCS], pass[2], pair[2];

	socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pass);
	for (int i = 0; i < MAX_PROCS; i++) {
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
		s->ctl[i] = pair[0];
		theirs[i] = pair[1];
	}
	s->pid = fork_bound();
	if (!s->pid)
		worker_exec(theirs, pass, preload, seed);
	for (int i = 0; i < MAX_PROCS; i++)
		close(theirs[i]);
	close(pass[0]);
	close(pass[1]);
	s->alive[0] = s->pid > 0;
	return s->pid > 0 ? 0 : -errno;
}

int run_start(struct run *r, const char *const preload[2])
{
	int err = worker_start(&r->side[CLIENT], preload ? preload[CLIENT] : NULL,
		r->seed);

	return err ? err : worker_start(&r->side[SERVER], preload ? preload[SERVER] : NULL,
		r->seed);
}

void run_reap(struct run *r, int side)
{
	struct side *s = &r->side[side];
	int status = 0;

	if (s->pid <= 0)
		return;
	for (int ms = 0; ms < 10000 && !waitpid(s->pid, &status, WNOHANG); ms++) {
		if (ms == 9999) {
			note(r, "%s does not end\n", side == CLIENT ? "client" : "server");
			r->hard = 1;
			kill(-s->pid, SIGKILL);
			waitpid(s->pid, &status, 0);
			break;
		}
		usleep(1000);
	}
	note(r, "%s ended: exit %d signal %d\n", side == CLIENT ? "client" : "server",
		WIFEXITED(status) ? WEXITSTATUS(status) : -1,
		WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	kill(-s->pid, SIGKILL);
	s->pid = 0;
	memset(s->alive, 0, sizeof(s->alive));
}

void run_finish(struct run *r)
{
	for (int s = 0; s < 2; s++) {
		if (r->side[s].pid > 0) {
			kill(-r->side[s].pid, SIGKILL);
			waitpid(r->side[s].pid, NULL, 0);
		}
		for (int i = 0; i < MAX_PROCS; i++)
			close(r->side[s].ctl[i]);
	}
}

char *step_run(uint64_t seed, int ops, const char *const preload[2], int *ret_hard)
{
	struct run r = { .seed = seed, .rng = { mix64(seed) } };
	char *text = NULL;
	size_t size;

	r.log = open_memstream(&text, &size);
	if (run_start(&r, preload) == 0) {
		step_prologue(&r);
		for (int i = 0; i < ops && !r.hard; i++)
			step_random(&r);
		if (!r.hard)
			step_epilogue(&r);
	}
	run_finish(&r);
	fclose(r.log);
	*ret_hard = r.hard;
	return text;
}
