#include "dlaccel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *doc;
} commands[] = {
#define COMMAND(name, doc) { #name, cmd_##name, doc },
#include "commands.def"
#undef COMMAND
};

enum { COMMANDS = sizeof(commands) / sizeof(*commands) };

static void overview(FILE *out)
{
	fputs("usage: dlaccel COMMAND [...]\n\n", out);
	for (unsigned i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].doc);
	fputs("\n`dlaccel help COMMAND` explains one; `dlaccel --version` names this release.\n", out);
	fputs("Begin with: dlaccel run -- python train.py\n", out);
}

static const struct command *find(const char *name)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int unknown(const char *name)
{
	fprintf(stderr, "dlaccel: no command '%s'\n", name);
	overview(stderr);
	return STATUS_USAGE;
}

int cmd_help(int argc, char **argv)
{
	char *asked[] = { argc > 1 ? argv[1] : NULL, "--help", NULL };
	const struct command *command;

	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		overview(stdout);
		return STATUS_OK;
	}
	command = find(argv[1]);
	return command ? command->run(2, asked) : unknown(argv[1]);
}

/* A stream that we were given closed must not become a file of ours; what we start has it closed again. */
static void fill_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

/* What could not be written was not said. */
static int flushed(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	say("standard output: %s", strerror(errno));
	return status ? status : STATUS_NO;
}

int main(int argc, char **argv)
{
	const struct command *command;

	fill_streams();
	if (argc < 2) {
		overview(stderr);
		return STATUS_USAGE;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("dlaccel " DLACCEL_VERSION);
		return flushed(STATUS_OK);
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return flushed(cmd_help(1, argv));
	command = find(argv[1]);
	return command ? flushed(command->run(argc - 1, argv + 1)) : unknown(argv[1]);
}
