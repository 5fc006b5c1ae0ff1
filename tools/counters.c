#include "counters.h"

#include "dlaccel.h"
#include "remote.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *name, *doc;
} docs[] = {
#define STAT(field, name, doc) { name, doc },
#include "stats.def"
#undef STAT
#define FALLBACK(id, name, doc) { name, doc },
#include "fallback.def"
#undef FALLBACK
};

const char *counters_doc(const char *name)
{
	for (unsigned i = 0; i < sizeof(docs) / sizeof(*docs); i++)
		if (!strcmp(docs[i].name, name))
			return docs[i].doc;
	return "";
}

static void copy_text(char *to, const char *from, size_t n)
{
	memcpy(to, from, n);
	to[n] = 0;
	plain_text(to);
}

static void copy_slot(struct counter *to, const char *from)
{
	copy_text(to->name, from + offsetof(struct stat_slot, name), STATS_NAME);
	memcpy(&to->value, from + offsetof(struct stat_slot, value), sizeof(to->value));
}

/* Counters without a name are room that the writer did not use. */
int counters_parse(const void *image, size_t size, struct counters *ret)
{
	const char *p = image;
	struct stats head;
	size_t slots;

	if (size < offsetof(struct stats, slot))
		return -ENOMSG;
	memcpy(&head, p, offsetof(struct stats, slot));
	if (head.magic != STATS_MAGIC || head.version != 1)
		return -ENOMSG;
	slots = (size - offsetof(struct stats, slot)) / sizeof(struct stat_slot);
	if (slots > head.count)
		slots = head.count;
	if (slots > COUNTERS_MAX)
		slots = COUNTERS_MAX;
	ret->pid = head.pid;
	ret->off = head.off;
	ret->started_ns = head.started_ns;
	copy_text(ret->program, head.program, sizeof(head.program));
	ret->count = 0;
	for (size_t i = 0; i < slots; i++) {
		copy_slot(&ret->item[ret->count], p + offsetof(struct stats, slot) + i * sizeof(struct stat_slot));
		ret->count += ret->item[ret->count].name[0] != 0;
	}
	return 0;
}

static ssize_t read_whole(int fd, char *buf, size_t room)
{
	size_t got = 0;
	ssize_t n;

	while (got < room && (n = read(fd, buf + got, room - got)) != 0) {
		if (n < 0)
			return -errno;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* O_NONBLOCK: a fifo under that name must not hold us. */
int counters_read_file(const char *path, struct counters *ret)
{
	char image[STATS_BYTES];
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -ENOMSG;
	}
	ssize_t n = read_whole(fd, image, sizeof(image));
	close(fd);
	return n < 0 ? (int)n : counters_parse(image, (size_t)n, ret);
}

int counters_read_pid(pid_t pid, struct counters *ret)
{
	char image[STATS_BYTES];
	uint64_t address;
	int rc = remote_find(pid, "dlaccel_stats", &address);

	if (!rc)
		rc = remote_read(pid, address, image, sizeof(image));
	return rc ? rc : counters_parse(image, sizeof(image), ret);
}

static struct counter *find(const struct counters *counters, const char *name)
{
	for (unsigned i = 0; i < counters->count; i++)
		if (!strcmp(counters->item[i].name, name))
			return (struct counter *)&counters->item[i];
	return NULL;
}

uint64_t counters_get(const struct counters *counters, const char *name)
{
	const struct counter *counter = find(counters, name);
	return counter ? counter->value : 0;
}

void counters_add(struct counters *sum, const struct counters *one)
{
	for (unsigned i = 0; i < one->count; i++) {
		struct counter *to = find(sum, one->item[i].name);
		if (to)
			to->value += one->item[i].value;
		else if (sum->count < COUNTERS_MAX)
			sum->item[sum->count++] = one->item[i];
	}
}

static bool is_stats_name(const char *name)
{
	size_t n = strlen(name);
	return n > 6 && !strcmp(name + n - 6, ".stats");
}

static int by_start(const void *a, const void *b)
{
	const struct counters *x = a, *y = b;
	return (x->started_ns > y->started_ns) - (x->started_ns < y->started_ns);
}

static int folder_grow(struct folder *folder)
{
	if (folder->count & (folder->count - 1))
		return 0;
	size_t room = folder->count ? 2 * (size_t)folder->count : 1;
	struct counters *more = reallocarray(folder->process, room, sizeof(*more));
	if (!more)
		return -ENOMEM;
	folder->process = more;
	return 0;
}

static int folder_take(struct folder *folder, const char *dir, const char *name, uint64_t since_ns)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return 0;
	if (folder_grow(folder))
		return -ENOMEM;
	if (counters_read_file(path, &folder->process[folder->count]))
		folder->broken++;
	else
		folder->count += folder->process[folder->count].started_ns >= since_ns;
	return 0;
}

int folder_read(const char *path, uint64_t since_ns, struct folder *ret)
{
	struct folder folder = { 0 };
	struct dirent *entry;
	DIR *dir = opendir(path);
	int rc = 0;

	if (!dir)
		return -errno;
	while (!rc && (entry = readdir(dir)))
		if (is_stats_name(entry->d_name))
			rc = folder_take(&folder, path, entry->d_name, since_ns);
	closedir(dir);
	if (rc) {
		folder_free(&folder);
		return rc;
	}
	if (folder.count)
		qsort(folder.process, folder.count, sizeof(*folder.process), by_start);
	*ret = folder;
	return 0;
}

void folder_free(struct folder *folder)
{
	free(folder->process);
	folder->process = NULL;
	folder->count = 0;
}
