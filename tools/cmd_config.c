#include "dlaccel.h"
#include "setting_text.h"

#include <getopt.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: dlaccel config [--changed] [--json | --markdown | --man] [NAME...]\n"
	"\n"
	"Lists the settings: variable, value here and now, what it does.\n"
	"  -c, --changed   only what differs from its default\n"
	"      --json      as JSON\n"
	"      --markdown  as the table of README.md\n"
	"      --man       as the section of the manual\n"
	"NAME narrows the list (DLACCEL_CMA or cma). Exit status 1: a variable or NAME is unknown, or a value invalid.\n";

static void put_text(const struct setting_row *row)
{
	printf("%-22s %-8s %s", row->name, *setting_text(row) ? setting_text(row) : "-", row->doc);
	if (setting_changed(row))
		printf(" (default %s)", *setting_default(row) ? setting_default(row) : "empty");
	putchar('\n');
}

static void put_json_row(const struct setting_row *row)
{
	static bool more;

	printf("%s\n  {\"name\": \"%s\", \"kind\": \"%s\", \"value\": ", more ? "," : "", row->name,
		setting_kind(row));
	put_json(stdout, setting_text(row));
	printf(", \"default\": \"%s\", \"changed\": %s, \"doc\": ", setting_default(row),
		setting_changed(row) ? "true" : "false");
	put_json(stdout, row->doc);
	putchar('}');
	more = true;
}

static void put_markdown(const struct setting_row *row)
{
	const char *def = setting_default(row);

	printf("| `%s` | %s | %s%s%s | %s |\n", row->name, setting_kind(row), *def ? "`" : "", def,
		*def ? "`" : "", row->doc);
}

static void put_man(const struct setting_row *row)
{
	const char *def = setting_default(row);

	printf(".TP\n.BR %s \" (%s%s%s)\"\n%s.\n", row->name, setting_kind(row), *def ? ", default " : "", def,
		row->doc);
}

static const struct form {
	const char *before, *after;
	void (*put)(const struct setting_row *row);
	bool keeps_value; /* shows this process's values, not only the table */
} forms[] = {
	{ "", "", put_text, true },
	{ "[", "\n]\n", put_json_row, true },
	{ "| Variable | Kind | Default | What it does |\n|---|---|---|---|\n", "", put_markdown, false },
	{ "", "", put_man, false },
};

static bool is_name_of(const struct setting_row *row, const char *name)
{
	return !strcmp(name, row->name) || !strcmp(name, setting_short(row));
}

static bool is_named(const struct setting_row *row, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (is_name_of(row, *names))
			return true;
	return false;
}

static bool names_nothing(const char *name)
{
	for (unsigned i = 0; i < settings_count; i++)
		if (is_name_of(&settings_rows[i], name))
			return false;
	say("no setting '%s'", name);
	return true;
}

int cmd_config(int argc, char **argv)
{
	static const struct option options[] = {
		{ "changed", no_argument, NULL, 'c' }, { "json", no_argument, NULL, 1 },
		{ "markdown", no_argument, NULL, 2 },  { "man", no_argument, NULL, 3 },
		{ "help", no_argument, NULL, 'h' },    { 0 },
	};
	const struct form *form = &forms[0];
	bool changed = false;
	int c;

	while ((c = getopt_long(argc, argv, "ch", options, NULL)) != -1) {
		if (c == 'h')
			return usage_shown(usage);
		if (c == 'c')
			changed = true;
		else if (c < 4)
			form = &forms[c];
		else
			return usage_wrong(usage);
	}
	for (char **name = argv + optind; *name; name++)
		if (names_nothing(*name))
			return STATUS_NO;
	settings_read(environ);
	fputs(form->before, stdout);
	for (unsigned i = 0; i < settings_count; i++)
		if (is_named(&settings_rows[i], argv + optind) && !(changed && !setting_changed(&settings_rows[i])))
			form->put(&settings_rows[i]);
	fputs(form->after, stdout);
	return form->keeps_value && settings_complain(environ) ? STATUS_NO : STATUS_OK;
}
