/*
 * stdio on a socket: fdopen, lines both ways, fread of much, dprintf, fclose.  With "printed" or "checked" dprintf, or what it is in
 * a fortified program, is the first of it that the connection sees.
 */
#include "pair.h"

int __dprintf_chk(int fd, int flag, const char *fmt, ...);

static void talk_lines(FILE *in, FILE *out, int first)
{
	char line[200];

	for (int i = 0; i < 200; i++) {
		if (first || i) {
			check(fprintf(out, "line %d of %s\n", i, first ? "client" : "server") > 0);
			check(!fflush(out));
		}
		check(fgets(line, sizeof(line), in));
	}
	if (!first)
		check(fprintf(out, "last\n") > 0 && !fflush(out));
	say("the last line: %.20s", line);
}

static void print_first(struct end *e)
{
	int n = !strcmp(e->argv[0], "checked") ? __dprintf_chk(e->fd, 1, "%s %d\n", "number", 42) : dprintf(e->fd, "%s %d\n", "number", 42);

	check(n == 10);
	put(e, e->fd, 300000);
	take(e, e->fd, 300000);
}

static void read_first(struct end *e)
{
	char line[11] = { 0 };

	check(recv(e->fd, line, 10, MSG_WAITALL) == 10);
	say("%s", line);
	take(e, e->fd, 300000);
	put(e, e->fd, 300000);
}

static void client(struct end *e)
{
	if (e->argc) {
		print_first(e);
		return;
	}
	int fd = dup(e->fd);
	FILE *f = fdopen(fd, "r+"), *out;
	char *buf = malloc(1 << 20);

	check(f);
	setvbuf(f, NULL, _IOFBF, 4096);
	out = fdopen(dup(fd), "w");
	talk_lines(f, out, 1);
	check(dprintf(e->fd, "%s %d\n", "number", 42) == 10);
	make(e, buf, 1 << 20);
	check(fwrite(buf, 1, 1 << 20, out) == 1 << 20);
	check(!fflush(out));
	check(fread(buf, 1, 500000, f) == 500000);
	took(e, buf, 500000);
	check(!fclose(f) && !fclose(out));
	/* The descriptor below lives on. */
	put(e, e->fd, 20);
	take(e, e->fd, 20);
	say("done");
	free(buf);
}

static void server(struct end *e)
{
	if (e->argc) {
		read_first(e);
		return;
	}
	FILE *f = fdopen(dup(e->fd), "r"), *out = fdopen(dup(e->fd), "w");
	char line[100], *buf = malloc(1 << 20);

	check(f && out);
	talk_lines(f, out, 0);
	check(fgets(line, sizeof(line), f));
	say("%.9s", line);
	check(fread(buf, 1, 1 << 20, f) == 1 << 20);
	took(e, buf, 1 << 20);
	make(e, buf, 500000);
	check(fwrite(buf, 1, 500000, out) == 500000);
	check(!fflush(out));
	check(fread(buf, 1, 20, f) == 20);
	took(e, buf, 20);
	check(!fclose(f) && !fclose(out));
	put(e, e->fd, 20);
	free(buf);
}

const struct pair pair = { .client = client, .server = server };
