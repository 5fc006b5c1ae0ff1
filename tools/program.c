#include "program.h"

#include "dlaccel.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#endif

static bool read_at(int fd, void *buf, size_t n, uint64_t at)
{
	return at <= INT64_MAX && pread(fd, buf, n, (off_t)at) == (ssize_t)n;
}

static void note_segment(int fd, const Elf64_Phdr *part, struct elf_info *ret)
{
	size_t n = part->p_filesz < sizeof(ret->loader) ? part->p_filesz : sizeof(ret->loader) - 1;

	if (part->p_type == PT_DYNAMIC)
		ret->dynamic = true;
	if (part->p_type == PT_INTERP && read_at(fd, ret->loader, n, part->p_offset))
		plain_text(ret->loader);
}

/* Go's linker leaves a note of its own in every program, in the first pages. */
static bool has_go_note(int fd, const Elf64_Phdr *part)
{
	char note[16];

	return part->p_type == PT_NOTE && part->p_filesz >= sizeof(note) &&
	       read_at(fd, note, sizeof(note), part->p_offset) && !memcmp(note + 12, "Go\0", 4);
}

static void read_segments(int fd, const Elf64_Ehdr *head, struct elf_info *ret)
{
	Elf64_Phdr part;

	for (unsigned i = 0; i < head->e_phnum && i < 128; i++) {
		if (!read_at(fd, &part, sizeof(part), head->e_phoff + i * sizeof(part)))
			return;
		note_segment(fd, &part, ret);
		ret->go |= has_go_note(fd, &part);
	}
}

int elf_read(const char *path, struct elf_info *ret)
{
	Elf64_Ehdr head = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	*ret = (struct elf_info){ 0 };
	ssize_t n = pread(fd, &head, sizeof(head), 0);
	ret->is_elf = n >= (ssize_t)sizeof(Elf32_Ehdr) && !memcmp(head.e_ident, ELFMAG, SELFMAG);
	ret->is_64 = head.e_ident[EI_CLASS] == ELFCLASS64;
	ret->machine = head.e_machine;
	ret->same_machine = head.e_machine == OUR_MACHINE && head.e_ident[EI_DATA] == ELFDATA2LSB;
	if (ret->is_elf && ret->is_64 && ret->same_machine && n == (ssize_t)sizeof(head))
		read_segments(fd, &head, ret);
	close(fd);
	return 0;
}

const char *base_name(const char *path)
{
	const char *at = strrchr(path, '/');
	return at ? at + 1 : path;
}

static int check_executable(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return errno == EACCES ? -EACCES : -ENOENT;
	return S_ISREG(st.st_mode) && !access(path, X_OK) ? 0 : -EACCES;
}

/* As execvp searches: an unusable file in one folder does not end the search. */
static int search_path(const char *name, char ret_path[PATH_MAX])
{
	const char *path = getenv("PATH");
	int rc = -ENOENT;

	for (const char *p = path ? path : "/bin:/usr/bin", *end; p; p = *end ? end + 1 : NULL) {
		char candidate[PATH_MAX];
		end = strchrnul(p, ':');
		int n = snprintf(candidate, sizeof(candidate), "%.*s%s%s", (int)(end - p), p, end > p ? "/" : "", name);
		int why = n < PATH_MAX ? check_executable(candidate) : -ENOENT;
		if (why == -EACCES)
			rc = -EACCES;
		if (why)
			continue;
		memcpy(ret_path, candidate, (size_t)n + 1);
		return 0;
	}
	return rc;
}

/* Not found: the name as it stands. */
static int find_file(const char *name, char ret_path[PATH_MAX])
{
	snprintf(ret_path, PATH_MAX, "%s", name);
	if (!*name || strlen(name) >= PATH_MAX)
		return -ENOENT;
	if (!strchr(name, '/'))
		return search_path(name, ret_path);
	return check_executable(name);
}

/* The program that env is asked for, past its options and assignments; NULL if there is none. */
static char *behind_env(char **save)
{
	char *word;

	do
		word = strtok_r(NULL, " \t", save);
	while (word && (*word == '-' || strchr(word, '=')));
	return word;
}

/* The interpreter that a #! line names, `env` already resolved.  -ENOEXEC: no script. */
static int read_script(const char *path, char ret_interpreter[PATH_MAX])
{
	char line[512], *save, *word, *behind;

	if (read_text(path, line, sizeof(line)) || line[0] != '#' || line[1] != '!')
		return -ENOEXEC;
	line[strcspn(line, "\n")] = 0;
	word = strtok_r(line + 2, " \t", &save);
	if (!word)
		return -ENOEXEC;
	behind = strcmp(base_name(word), "env") ? NULL : behind_env(&save);
	if (behind && !find_file(behind, ret_interpreter))
		return 0;
	return find_file(word, ret_interpreter);
}

/* A text without #! is run by /bin/sh, as execvp does. */
static int follow(struct program *program)
{
	for (;;) {
		char *here = program->runs[program->depth];
		int rc = elf_read(here, &program->elf);
		if (rc || program->elf.is_elf || program->depth == SCRIPT_DEPTH)
			return rc == -EACCES ? 0 : rc;
		rc = read_script(here, program->runs[program->depth + 1]);
		if (rc == -ENOEXEC && program->depth)
			return 0;
		program->depth++;
		if (rc == -ENOEXEC)
			strcpy(program->runs[1], "/bin/sh");
		else if (rc)
			return rc;
	}
}

/* What makes the kernel set AT_SECURE, under which the loader ignores LD_PRELOAD with a path. */
static bool is_privileged(const char *path)
{
	struct stat st;
	char cap[64];

	if (stat(path, &st))
		return false;
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		return true;
	if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
		return true;
	return getuid() != 0 && getxattr(path, "security.capability", cap, sizeof(cap)) > 0;
}

int program_find(const char *name, struct program *ret)
{
	int rc;

	ret->depth = 0;
	ret->elf = (struct elf_info){ 0 };
	rc = find_file(name, ret->runs[0]);
	if (rc)
		return rc;
	rc = follow(ret);
	ret->privileged = !rc && is_privileged(ret->runs[ret->depth]);
	return rc;
}

const char *program_obstacle(const struct program *program, bool *ret_harmful)
{
	const struct elf_info *elf = &program->elf;

	*ret_harmful = false;
	if (!elf->is_elf)
		return NULL; /* unreadable or no ELF file: nothing known against it */
	*ret_harmful = !elf->is_64 || !elf->same_machine || strstr(elf->loader, "ld-musl");
	if (!elf->is_64)
		return "it is a 32-bit program, the library is 64-bit";
	if (!elf->same_machine)
		return "it is built for another kind of processor";
	if (*ret_harmful)
		return "it is linked with musl, the library with glibc";
	if (!elf->loader[0])
		return "it is statically linked: there is no loader that would read LD_PRELOAD";
	if (program->privileged)
		return "it is set-user-id or has capabilities: the loader ignores LD_PRELOAD";
	return NULL;
}

static bool strip_tail(char *path, const char *tail)
{
	size_t n = strlen(path), k = strlen(tail);

	if (n < k || strcmp(path + n - k, tail))
		return false;
	path[n - k] = 0;
	return true;
}

static int usable(char path[PATH_MAX])
{
	char whole[PATH_MAX];

	if (access(path, R_OK) || !realpath(path, whole))
		return -ENOENT;
	strcpy(path, whole);
	return 0;
}

static int join(char ret_path[PATH_MAX], const char *folder, const char *rest)
{
	return snprintf(ret_path, PATH_MAX, "%s%s", folder, rest) < PATH_MAX ? usable(ret_path) : -ENOENT;
}

int part_find(const char *built, const char *installed, char ret_path[PATH_MAX])
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = 0;
		*strrchr(self, '/') = 0;
		if (!join(ret_path, self, built))
			return 0;
		if (strip_tail(self, DLACCEL_BINDIR) && !join(ret_path, self, installed))
			return 0;
	}
	return join(ret_path, "", installed);
}

int library_find(char ret_path[PATH_MAX])
{
	return part_find("/../shim/libdlaccel.so", DLACCEL_LIBDIR "/libdlaccel.so", ret_path);
}

bool library_is_nameable(const char *path)
{
	return !strpbrk(path, " :\t\n");
}
