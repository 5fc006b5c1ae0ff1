#include "pair.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "../fuzz/calls.h"

#define PUT_CHUNK (1 << 20)
#define LINK_FD 250

void check_failed(const char *file, int line, const char *what)
{
	const char *base = strrchr(file, '/');

	say("FAILED %s:%d: %s (errno %s)", base ? base + 1 : file, line, what, err_name(errno));
	exit(1);
}

void say(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n, e = errno;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	if (write(1, line, n) != n)
		_exit(99);
	errno = e;
}

const char *err_name(int err)
{
	return err ? strerrorname_np(err) : "ok";
}

const char *result(ssize_t ret)
{
	static _Thread_local char text[32];

	if (ret < 0)
		return err_name(errno);
	snprintf(text, sizeof(text), "%zd", ret);
	return text;
}

void tell_number(long n)
{
	check(send(LINK_FD, &n, sizeof(n), MSG_NOSIGNAL) == sizeof(n));
}

long await_number(void)
{
	long n;
	ssize_t r;

	do
		r = recv(LINK_FD, &n, sizeof(n), 0);
	while (r < 0 && errno == EINTR);
	check(r == sizeof(n));
	return n;
}

void tell(char what)
{
	tell_number(what);
}

void await(char what)
{
	long got = await_number();

	if (got != what)
		say("link: got %c, want %c", (char)got, what);
	check(got == what);
}

socklen_t make_address(struct sockaddr_storage *ss, int family, int port)
{
	memset(ss, 0, sizeof(*ss));
	ss->ss_family = family;
	if (family == AF_INET6) {
		((struct sockaddr_in6 *)ss)->sin6_addr = in6addr_loopback;
		((struct sockaddr_in6 *)ss)->sin6_port = htons(port);
		return sizeof(struct sockaddr_in6);
	}
	((struct sockaddr_in *)ss)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	((struct sockaddr_in *)ss)->sin_port = htons(port);
	return sizeof(struct sockaddr_in);
}

int open_listener(int family, int *ret_port)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, family, 0);
	int fd = socket(family, SOCK_STREAM, 0);

	check(fd >= 0 && !bind(fd, (void *)&ss, len) && !listen(fd, 4096));
	check(!getsockname(fd, (void *)&ss, &len));
	*ret_port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	return fd;
}

int connect_port(int family, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, family, port);
	int fd = socket(family, SOCK_STREAM, 0);

	check(fd >= 0);
	check(!connect(fd, (void *)&ss, len));
	return fd;
}

static uint64_t pattern_key(enum role sender)
{
	return sender == CLIENT ? 11 : 22;
}

void make(struct end *e, void *buf, size_t n)
{
	pattern_fill(buf, n, pattern_key(e->role), e->out);
	e->out += n;
}

void took(struct end *e, const void *buf, size_t n)
{
	long bad = pattern_check(buf, n, pattern_key(!e->role), e->in);

	if (bad >= 0)
		say("wrong byte at offset %lu of the stream", (unsigned long)e->in + bad);
	check(bad < 0);
	e->in += n;
}

void put(struct end *e, int fd, size_t n)
{
	char *buf = malloc(PUT_CHUNK);

	while (n) {
		size_t k = n < PUT_CHUNK ? n : PUT_CHUNK, done = 0;

		make(e, buf, k);
		while (done < k) {
			ssize_t r = send(fd, buf + done, k - done, MSG_NOSIGNAL);

			if (r < 0 && errno == EAGAIN)
				await_events(fd, POLLOUT);
			else
				check(r > 0 || errno == EINTR);
			done += r > 0 ? r : 0;
		}
		n -= k;
	}
	free(buf);
}

void take(struct end *e, int fd, size_t n)
{
	char *buf = malloc(PUT_CHUNK);

	while (n) {
		ssize_t r = recv(fd, buf, n < PUT_CHUNK ? n : PUT_CHUNK, 0);

		if (r < 0 && errno == EAGAIN)
			await_events(fd, POLLIN);
		else
			check(r > 0 || (r < 0 && errno == EINTR));
		if (r > 0) {
			took(e, buf, r);
			n -= r;
		}
	}
	free(buf);
}

void warm(struct end *e, int fd)
{
	static const size_t sizes[] = { 1, 100, 5000, 70000, 300000, 64, 64, 1 << 20, 48, 64 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (int back = 0; back < 2; back++)
			if (back == (int)e->role)
				put(e, fd, sizes[i]);
			else
				take(e, fd, sizes[i]);
}

short await_events(int fd, short events)
{
	struct pollfd p = { fd, events, 0 };
	int r;

	do
		r = poll(&p, 1, -1);
	while (r < 0 && errno == EINTR);
	check(r == 1);
	return p.revents;
}

void await_unread(int fd, int n)
{
	int have = -1;

	while (have != n) {
		check(!ioctl(fd, FIONREAD, &have));
		usleep(200);
	}
}

static int is_in_state(pid_t tid, char letter)
{
	char path[64], buf[128] = { 0 }, *state;
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	state = n > 0 ? strrchr(buf, ')') : NULL;
	return state && state[2] == letter;
}

void await_state(pid_t tid, char letter)
{
	while (!is_in_state(tid, letter))
		usleep(200);
}

void await_sleep(pid_t tid)
{
	await_state(tid, 'S');
}

void await_exec(pid_t pid, const char *name)
{
	char path[64], exe[256] = "";

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	while (!strstr(exe, name)) {
		ssize_t n = readlink(path, exe, sizeof(exe) - 1);

		check(n > 0);
		exe[n] = 0;
		usleep(200);
	}
}

int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = -1;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

int count_maps(const char *what)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, what);
	fclose(f);
	return n;
}

long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void start_client(struct end *e)
{
	e->port = await_number();
	e->peer = await_number();
	tell_number(getpid());
	if (!pair.unconnected)
		e->fd = connect_port(e->family, e->port);
}

static void start_server(struct end *e)
{
	e->listener = open_listener(e->family, &e->port);
	tell_number(e->port);
	tell_number(getpid());
	e->peer = await_number();
	if (!pair.unconnected)
		e->fd = accept(e->listener, NULL, NULL);
}

static void run_role(struct end *e)
{
	if (e->role == CLIENT)
		start_client(e);
	else if (e->role == SERVER)
		start_server(e);
	if (e->fd >= 0 && !pair.cold)
		warm(e, e->fd);
	if (e->role == SOLO)
		pair.solo(e);
	else
		(e->role == CLIENT ? pair.client : pair.server)(e);
	if (e->fd >= 0)
		close(e->fd);
	if (e->listener >= 0)
		close(e->listener);
}

/* The link is moved out of the way of the lowest-fd rule, where run_pair.py has put it. */
static void place_link(void)
{
	const char *number = getenv("PAIR_LINK");
	int fd = number ? atoi(number) : -1;

	if (fd < 0)
		return;
	check(dup3(fd, LINK_FD, O_CLOEXEC) == LINK_FD);
	close(fd);
}

int main(int argc, char **argv)
{
	struct end e = { .fd = -1, .listener = -1, .family = AF_INET };
	int before;

	check(argc > 1);
	e.role = argv[1][0] == 'c' ? CLIENT : !strcmp(argv[1], "server") ? SERVER : SOLO;
	e.argc = argc - 2;
	e.argv = argv + 2;
	if (e.argc && !strcmp(e.argv[0], "v6"))
		e.family = AF_INET6;
	place_link();
	before = count_fds();
	run_role(&e);
	if (count_fds() != before)
		say("descriptors left open: %d", count_fds() - before);
	return 0;
}
