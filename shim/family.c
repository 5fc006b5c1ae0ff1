#include "family.h"

#include "process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { FAMILY_BYTES = 16384, FAMILY_MOST = FAMILY_BYTES / 4 - 2 };

struct family {
	_Atomic uint32_t forks; /* begun: as many children will write themselves in, and hold what their parent holds from the first */
	_Atomic uint32_t count;
	_Atomic uint32_t pid[FAMILY_MOST];
};

static struct family *family;

static void append(int pid)
{
	uint32_t i = atomic_fetch_add(&family->count, 1);

	if (i < FAMILY_MOST)
		atomic_store(&family->pid[i], (uint32_t)pid);
}

void family_before_fork(void)
{
	if (family) {
		atomic_fetch_add(&family->forks, 1);
		return;
	}
	long p = sys_call(SYS_mmap, 0, FAMILY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -4096)
		return;
	family = (struct family *)p;
	append(process_id);
	atomic_store(&family->forks, 1);
}

void family_in_child(void)
{
	if (!family)
		return;
	/* Of a pid namespace of its own: neither can find the other by these numbers. */
	if (process_id == 1)
		atomic_store(&family->count, FAMILY_MOST + 1);
	else
		append(process_id);
}

static bool same_link(const char *path, const char *want, size_t n)
{
	char got[64];

	return sys_call(SYS_readlinkat, AT_FDCWD, path, got, sizeof(got)) == (long)n && !memcmp(got, want, n);
}

/* 64-bit directory entries, read without opendir's heap. */
static bool process_holds(uint32_t pid, const char *want, size_t n)
{
	char path[64], room[2048] __attribute__((aligned(8)));
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	long dir = sys_call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return dir != -ENOENT;
	for (long k; !found && (k = sys_call(SYS_getdents64, dir, room, sizeof(room))) > 0;)
		for (long off = 0; !found && off < k;) {
			struct dirent64 *e = (struct dirent64 *)(room + off);
			snprintf(path, sizeof(path), "/proc/%u/fd/%.20s", pid, e->d_name);
			found = same_link(path, want, n);
			off += e->d_reclen;
		}
	sys_call(SYS_close, dir);
	return found;
}

bool family_holds_too(int fd)
{
	char path[64], link[64];

	if (!family || atomic_load(&family->count) > FAMILY_MOST || atomic_load(&family->count) <= atomic_load(&family->forks))
		return true; /* too many, or one that has not come yet; one that never does (no memory for it, killed before) leaves this unsure */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	long n = sys_call(SYS_readlinkat, AT_FDCWD, path, link, sizeof(link));
	if (n <= 0)
		return true;
	for (uint32_t i = 0; i < atomic_load(&family->count); i++) {
		uint32_t pid = atomic_load(&family->pid[i]);
		if (!pid || (pid != (uint32_t)process_id && process_holds(pid, link, (size_t)n)))
			return true;
	}
	return false;
}
