#include "remote.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define LIBRARY "/libdlaccel.so"

int remote_read(pid_t pid, uint64_t address, void *ret_buf, size_t n)
{
	struct iovec local = { ret_buf, n }, there = { (void *)(uintptr_t)address, n };
	ssize_t got = process_vm_readv(pid, &local, 1, &there, 1, 0);

	return got < 0 ? -errno : (size_t)got == n ? 0 : -EFAULT;
}

int remote_write(pid_t pid, uint64_t address, const void *buf, size_t n)
{
	struct iovec local = { (void *)buf, n }, there = { (void *)(uintptr_t)address, n };
	ssize_t put = process_vm_writev(pid, &local, 1, &there, 1, 0);

	return put < 0 ? -errno : (size_t)put == n ? 0 : -EFAULT;
}

/* A line of /proc/PID/maps: "start-end perms offset dev inode   path[ (deleted)]\n". */
static bool is_library_start(const char *line)
{
	const char *path = strchr(line, '/');
	unsigned long offset;

	if (!path || sscanf(line, "%*s %*s %lx", &offset) != 1 || offset)
		return false;
	const char *at = strrchr(path, '/');
	size_t n = strlen(LIBRARY);
	return !strncmp(at, LIBRARY, n) && (at[n] == '\n' || !strcmp(at + n, " (deleted)\n"));
}

static int find_library(pid_t pid, uint64_t *ret_base)
{
	char path[64], *line = NULL;
	size_t room = 0;
	int rc = -ENOEXEC;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	if (!maps)
		return errno == ENOENT ? -ESRCH : -errno;
	while (rc && getline(&line, &room, maps) > 0)
		if (is_library_start(line)) {
			*ret_base = strtoull(line, NULL, 16);
			rc = 0;
		}
	if (rc && ferror(maps))
		rc = -EPERM;
	free(line);
	fclose(maps);
	return rc;
}

/* What symbol look-up needs of a loaded object, as addresses in the process. */
struct object {
	pid_t pid;
	uint64_t base, symbols, strings, hash;
};

/* The loader of glibc rewrites the pointers of the dynamic section to addresses; others do not. */
static uint64_t address_of(const struct object *object, uint64_t v)
{
	return v < object->base ? object->base + v : v;
}

static void note_dynamic(struct object *object, const Elf64_Dyn *dyn)
{
	if (dyn->d_tag == DT_SYMTAB)
		object->symbols = address_of(object, dyn->d_un.d_ptr);
	else if (dyn->d_tag == DT_STRTAB)
		object->strings = address_of(object, dyn->d_un.d_ptr);
	else if (dyn->d_tag == DT_GNU_HASH)
		object->hash = address_of(object, dyn->d_un.d_ptr);
}

static int read_dynamic(struct object *object, uint64_t at)
{
	Elf64_Dyn dyn;

	for (unsigned i = 0; i < 256; i++, at += sizeof(dyn)) {
		int rc = remote_read(object->pid, at, &dyn, sizeof(dyn));
		if (rc)
			return rc;
		if (dyn.d_tag == DT_NULL)
			return object->symbols && object->strings && object->hash ? 0 : -ENOENT;
		note_dynamic(object, &dyn);
	}
	return -ENOENT;
}

static int object_open(struct object *object, pid_t pid, uint64_t base)
{
	Elf64_Ehdr head;
	Elf64_Phdr part;

	*object = (struct object){ .pid = pid, .base = base };
	int rc = remote_read(pid, base, &head, sizeof(head));
	if (rc)
		return rc;
	if (memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_ident[EI_CLASS] != ELFCLASS64)
		return -ENOENT;
	for (unsigned i = 0; i < head.e_phnum && i < 64; i++) {
		rc = remote_read(pid, base + head.e_phoff + i * sizeof(part), &part, sizeof(part));
		if (rc)
			return rc;
		if (part.p_type == PT_DYNAMIC)
			return read_dynamic(object, base + part.p_vaddr);
	}
	return -ENOENT;
}

static int symbol_is(const struct object *object, uint32_t index, const char *name, uint64_t *ret_address)
{
	char there[64];
	size_t n = strlen(name) + 1;
	Elf64_Sym sym;

	int rc = remote_read(object->pid, object->symbols + index * sizeof(sym), &sym, sizeof(sym));
	if (!rc)
		rc = n > sizeof(there) ? -ENOENT :
					 remote_read(object->pid, object->strings + sym.st_name, there, n);
	if (rc || memcmp(there, name, n) || sym.st_shndx == SHN_UNDEF)
		return rc ? rc : -ENOENT;
	*ret_address = object->base + sym.st_value;
	return 0;
}

static uint32_t gnu_hash(const char *name)
{
	uint32_t h = 5381;

	for (; *name; name++)
		h = h * 33 + (unsigned char)*name;
	return h;
}

/*
 * DT_GNU_HASH: nbuckets, first symbol, bloom words, shift; bloom; buckets; chain of hashes whose
 * lowest bit ends a bucket.
 */
static int object_symbol(const struct object *object, const char *name, uint64_t *ret_address)
{
	uint32_t head[4], h = gnu_hash(name), index, link;
	int rc = remote_read(object->pid, object->hash, head, sizeof(head));

	if (rc || !head[0])
		return rc ? rc : -ENOENT;
	uint64_t buckets = object->hash + sizeof(head) + 8ull * head[2];
	uint64_t chain = buckets + 4ull * head[0];
	rc = remote_read(object->pid, buckets + 4ull * (h % head[0]), &index, sizeof(index));
	for (unsigned tries = 0; !rc && index >= head[1] && tries < 4096; tries++, index++) {
		rc = remote_read(object->pid, chain + 4ull * (index - head[1]), &link, sizeof(link));
		if (!rc && (link | 1) == (h | 1) && !symbol_is(object, index, name, ret_address))
			return 0;
		if (link & 1)
			break;
	}
	return rc ? rc : -ENOENT;
}

int remote_find(pid_t pid, const char *name, uint64_t *ret_address)
{
	struct object object;
	uint64_t base = 0;
	int rc = find_library(pid, &base);

	if (!rc)
		rc = object_open(&object, pid, base);
	return rc ? rc : object_symbol(&object, name, ret_address);
}
