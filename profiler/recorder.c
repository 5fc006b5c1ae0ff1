#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "recorder.h"

#define NAMES_SHARE 8 /* one part in so many of the file is for names */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t recorder_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* ---- opening ---- */

struct layout {
	uint64_t names_size, records, size;
};

static uint64_t pow2_below(uint64_t n)
{
	return 1ULL << (63 - __builtin_clzll(n));
}

static int plan(uint64_t max_bytes, struct layout *ret_layout)
{
	uint64_t names;

	if (max_bytes < RECORDER_MIN_BYTES || max_bytes > RECORDER_MAX_BYTES)
		return -EINVAL;
	names = max_bytes / NAMES_SHARE / RECORD_HEADER_SIZE * RECORD_HEADER_SIZE;
	ret_layout->names_size = names;
	ret_layout->records =
		pow2_below((max_bytes - names - RECORD_HEADER_SIZE) / sizeof(struct record));
	ret_layout->size = RECORD_HEADER_SIZE + names + ret_layout->records * sizeof(struct record);
	return 0;
}

/* Beyond the limit the kernel would not only refuse but send SIGXFSZ to the program. */
static int reserve(int fd, uint64_t size)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur < size)
		return -EFBIG;
	return -posix_fallocate(fd, 0, (off_t)size);
}

static int map_file(const char *path, uint64_t size, void **ret_map)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), err;

	if (fd < 0)
		return -errno;
	err = reserve(fd, size);
	if (err)
		goto unlink;
	*ret_map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*ret_map == MAP_FAILED) {
		err = -errno;
		goto unlink;
	}
	close(fd);
	return 0;
unlink:
	close(fd);
	unlink(path);
	return err;
}

/* A page that the kernel itself empties in the child of any fork, also of one that we do not see.
 */
static uint32_t *map_mine(void)
{
	uint32_t *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* before Linux 4.14 only recorder_abandon makes the child inert */
	(void)madvise(p, sizeof(*p), MADV_WIPEONFORK);
	*p = 1;
	return p;
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t len = from ? strnlen(from, size - 1) : 0;

	memcpy(to, from ? from : "", len);
	to[len] = '\0';
}

static void write_header(struct record_header *h, const struct layout *l, const char *program)
{
	h->version = RECORD_VERSION;
	h->byte_order = RECORD_BYTE_ORDER;
	h->header_size = RECORD_HEADER_SIZE;
	h->record_size = sizeof(struct record);
	h->names_at = RECORD_HEADER_SIZE;
	h->names_size = l->names_size;
	h->records_at = h->names_at + l->names_size;
	h->records = l->records;
	h->start_realtime_ns = clock_ns(CLOCK_REALTIME);
	h->start_ns = recorder_now();
	h->pid = (uint32_t)getpid();
	copy_text(h->program, sizeof(h->program), program);
	if (gethostname(h->host, sizeof(h->host) - 1))
		h->host[0] = '\0';
	copy_text(h->library, sizeof(h->library), DLACCEL_VERSION);
	/* last: a file without it was never begun */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy(h->magic, RECORD_MAGIC, sizeof(h->magic));
}

int recorder_open(struct recorder *r, const struct recorder_config *cfg)
{
	struct layout l;
	uint32_t *mine;
	void *map;
	int err;

	if (r->header)
		return -EBUSY;
	err = plan(cfg->max_bytes, &l);
	if (err)
		return err;
	mine = map_mine();
	if (!mine)
		return -ENOMEM;
	err = map_file(cfg->path, l.size, &map);
	if (err) {
		munmap(mine, sizeof(*mine));
		return err;
	}
	write_header(map, &l, cfg->program);
	r->names = (char *)map + RECORD_HEADER_SIZE;
	r->records = (struct record *)(r->names + l.names_size);
	r->mask = l.records - 1;
	r->size = l.size;
	r->mine = mine;
	r->header = map;
	return 0;
}

static void let_go(struct recorder *r)
{
	munmap(r->header, r->size);
	munmap(r->mine, sizeof(*r->mine));
	*r = (struct recorder){0};
}

void recorder_close(struct recorder *r)
{
	if (!r->header)
		return;
	if (recorder_on(r))
		__atomic_store_n(&r->header->finished, 1, __ATOMIC_RELEASE);
	let_go(r);
}

void recorder_abandon(struct recorder *r)
{
	if (r->header)
		let_go(r);
}

/* ---- recording ---- */

/*
 * A slot is claimed by its index and valid once seq says so. A writer that is killed, or overtaken
 * by a whole turn of the ring, leaves a seq that does not fit its place, and the reader skips it.
 */
uint64_t recorder_add(struct recorder *r, const struct record *rec)
{
	struct record *slot;
	uint64_t index;

	if (!recorder_on(r))
		return 0;
	index = __atomic_fetch_add(&r->header->next, 1, __ATOMIC_RELAXED);
	slot = &r->records[index & r->mask];
	__atomic_store_n(&slot->seq, 0, __ATOMIC_RELAXED);
	/* the zero must be seen before any of the new contents */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy((char *)slot + sizeof(slot->seq), (const char *)rec + sizeof(rec->seq),
		sizeof(*slot) - sizeof(slot->seq));
	__atomic_store_n(&slot->seq, index + 1, __ATOMIC_RELEASE);
	return index + 1;
}

bool recorder_grow(struct recorder *r, uint64_t seq, uint64_t bytes)
{
	struct record *slot;

	if (!seq || !recorder_on(r))
		return false;
	slot = &r->records[(seq - 1) & r->mask];
	if (__atomic_load_n(&slot->seq, __ATOMIC_RELAXED) != seq ||
		__atomic_load_n(&r->header->next, __ATOMIC_RELAXED) - seq > r->mask / 2)
		return false;
	__atomic_store_n(&slot->bytes, slot->bytes + bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->value, slot->value + 1, __ATOMIC_RELAXED);
	return true;
}

static uint64_t mix(uint64_t h, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3ULL;
	return h;
}

uint64_t recorder_key(const char *text, const struct recorder_shape *shape)
{
	uint64_t h = mix(0xcbf29ce484222325ULL, text, strlen(text));

	if (shape)
		h = mix(h, shape, sizeof(*shape));
	return h ? h : 1;
}

static void fill_name(struct record_name *n, uint64_t key, const char *text, size_t len,
	const struct recorder_shape *shape)
{
	n->key = key;
	n->length = (uint32_t)len;
	memcpy(n->text, text, len);
	if (!shape)
		return;
	memcpy(n->grid, shape->grid, sizeof(n->grid));
	memcpy(n->block, shape->block, sizeof(n->block));
	n->shared = shape->shared;
}

void recorder_name(
	struct recorder *r, uint64_t key, const char *text, const struct recorder_shape *shape)
{
	size_t len = strnlen(text, RECORD_NAME_TEXT);
	uint64_t size = (sizeof(struct record_name) + len + 7) & ~7ULL, at;
	struct record_name *n;

	if (!recorder_on(r))
		return;
	at = __atomic_load_n(&r->header->names_used, __ATOMIC_RELAXED);
	do {
		if (at + size > r->header->names_size) {
			__atomic_fetch_add(&r->header->names_dropped, 1, __ATOMIC_RELAXED);
			return;
		}
	} while (!__atomic_compare_exchange_n(
		&r->header->names_used, &at, at + size, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	n = (struct record_name *)(r->names + at);
	/* first the size, so that a reader can step over an entry that was never completed */
	__atomic_store_n(&n->size, (uint32_t)size, __ATOMIC_RELEASE);
	fill_name(n, key, text, len, shape);
	__atomic_store_n(&n->ready, 1, __ATOMIC_RELEASE);
}
