#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

/* ---- texts ---- */

/* Length of the UTF-8 sequence at p if it is well-formed and printable, else 0. */
static size_t utf8_at(const unsigned char *p, size_t left)
{
	uint32_t c;
	size_t k, n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (n == 1)
		return p[0] >= 0x20 && p[0] != 0x7f;
	if (p[0] < 0xc2 || p[0] > 0xf4 || n > left)
		return 0;
	c = p[0] & (0x7f >> n);
	for (k = 1; k < n; k++) {
		if ((p[k] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[k] & 0x3f);
	}
	if (c < 0xa0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || (c & 0xfffe) == 0xfffe)
		return 0;
	return (n == 3 && c < 0x800) || (n == 4 && c < 0x10000) ? 0 : n;
}

static void clean_text(char *text, size_t len)
{
	size_t k = 0, n;

	while (k < len) {
		n = utf8_at((unsigned char *)text + k, len - k);
		if (!n)
			text[k] = '?';
		k += n ? n : 1;
	}
	text[len] = '\0';
}

static void clean_field(char *text, size_t size)
{
	clean_text(text, strnlen(text, size - 1));
}

/* ---- header ---- */

static bool fits(uint64_t at, uint64_t size, uint64_t len)
{
	return at <= len && size <= len - at;
}

/* A truncated file is read as far as it goes; what the header says is never believed beyond that.
 */
static int check_header(const struct record_header *h, size_t len)
{
	if (memcmp(h->magic, RECORD_MAGIC, sizeof(h->magic)))
		return -EBADMSG;
	if (h->version != RECORD_VERSION || h->byte_order != RECORD_BYTE_ORDER ||
		h->record_size != sizeof(struct record) || h->header_size != RECORD_HEADER_SIZE)
		return -EPROTO;
	if (!h->records || h->records & (h->records - 1) || h->records > REPORT_MAX_FILE / 64)
		return -EBADMSG;
	if (h->names_at < RECORD_HEADER_SIZE || h->names_at > len || h->names_at % 8)
		return -EBADMSG;
	if (h->records_at < h->names_at || h->records_at > len || h->records_at % 8 ||
		h->names_size > h->records_at - h->names_at)
		return -EBADMSG;
	return 0;
}

/* ---- names ---- */

static int add_name(struct report *r, const struct record_name *n, const char *text)
{
	struct report_name *to, *more = r->names;

	if (!(r->name_count & (r->name_count - 1)))
		more = realloc(r->names, sizeof(*more) * (r->name_count ? 2 * r->name_count : 1));
	if (!more)
		return -ENOMEM;
	r->names = more;
	to = &more[r->name_count];
	*to = (struct report_name){.key = n->key, .shared = n->shared};
	memcpy(to->grid, n->grid, sizeof(to->grid));
	memcpy(to->block, n->block, sizeof(to->block));
	to->text = malloc((size_t)n->length + 1);
	if (!to->text)
		return -ENOMEM;
	memcpy(to->text, text, n->length);
	clean_text(to->text, n->length);
	r->name_count++;
	return 0;
}

static bool name_ok(const struct record_name *n, uint64_t left)
{
	return n->size >= sizeof(*n) && n->size % 8 == 0 && n->size <= left;
}

static int read_names(struct report *r, const char *data, uint64_t used)
{
	struct record_name n;
	uint64_t at = 0;
	int err;

	while (fits(at, sizeof(n), used)) {
		memcpy(&n, data + at, sizeof(n));
		if (!name_ok(&n, used - at)) {
			r->bad_names++;
			break;
		}
		if (n.ready != 1 || n.length > n.size - sizeof(n) || n.length > RECORD_NAME_TEXT) {
			r->bad_names++;
		} else {
			err = add_name(r, &n, data + at + sizeof(n));
			if (err)
				return err;
		}
		at += n.size;
	}
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct report_name *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/* ---- records ---- */

static int by_start(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static bool record_ok(const struct report *r, const struct record *rec, uint64_t slot)
{
	uint64_t ring = r->head.records, next = r->head.next, index = rec->seq - 1;

	if (!rec->seq || (index & (ring - 1)) != slot || index >= next || next - index > ring)
		return false;
	/* no sum of these may wrap later */
	return rec->kind && rec->kind < RECORD_KINDS && rec->start < UINT64_MAX / 4 &&
	       rec->dur < UINT64_MAX / 4;
}

static int read_records(struct report *r, const char *data, uint64_t slots)
{
	uint64_t k, written = r->head.next < r->head.records ? r->head.next : r->head.records;
	struct record rec;

	r->records = malloc(sizeof(rec) * (slots ? slots : 1));
	if (!r->records)
		return -ENOMEM;
	for (k = 0; k < slots && k < written; k++) {
		memcpy(&rec, data + k * sizeof(rec), sizeof(rec));
		if (record_ok(r, &rec, k))
			r->records[r->count++] = rec;
	}
	r->overwritten = r->head.next - written;
	r->torn = written - r->count;
	if (r->count)
		qsort(r->records, r->count, sizeof(rec), by_start);
	return 0;
}

int report_parse(const void *data, size_t len, struct report *ret_report)
{
	struct report r = {0};
	uint64_t slots, used;
	int err;

	if (len < RECORD_HEADER_SIZE)
		return -EBADMSG;
	memcpy(&r.head, data, sizeof(r.head));
	err = check_header(&r.head, len);
	if (err)
		return err;
	clean_field(r.head.program, sizeof(r.head.program));
	clean_field(r.head.host, sizeof(r.head.host));
	clean_field(r.head.library, sizeof(r.head.library));
	slots = (len - r.head.records_at) / sizeof(struct record);
	if (slots > r.head.records)
		slots = r.head.records;
	used = r.head.names_used < r.head.names_size ? r.head.names_used : r.head.names_size;
	err = read_names(&r, (const char *)data + r.head.names_at, used);
	if (!err)
		err = read_records(&r, (const char *)data + r.head.records_at, slots);
	if (err) {
		report_free(&r);
		return err;
	}
	if (r.name_count)
		qsort(r.names, r.name_count, sizeof(*r.names), by_key);
	*ret_report = r;
	return 0;
}

/* ---- files ---- */

static int read_all(int fd, char **ret_data, size_t *ret_len)
{
	struct stat st;
	size_t len = 0;
	ssize_t n;
	char *data;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > REPORT_MAX_FILE)
		return -EBADMSG;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	while (len < (size_t)st.st_size) {
		n = read(fd, data + len, (size_t)st.st_size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	*ret_data = data;
	*ret_len = len;
	return 0;
}

int report_load(const char *path, struct report *ret_report)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;
	char *data = NULL;
	size_t len = 0;

	if (fd < 0)
		return -errno;
	err = read_all(fd, &data, &len);
	close(fd);
	if (!err)
		err = report_parse(data, len, ret_report);
	free(data);
	return err;
}

void report_free(struct report *r)
{
	size_t k;

	for (k = 0; k < r->name_count; k++)
		free(r->names[k].text);
	free(r->names);
	free(r->records);
	*r = (struct report){0};
}

/* ---- looking up ---- */

const struct report_name *report_find(const struct report *r, uint64_t key)
{
	struct report_name want = {.key = key};

	if (!r->name_count)
		return NULL;
	return bsearch(&want, r->names, r->name_count, sizeof(want), by_key);
}

const char *report_name_text(const struct report *r, uint64_t key, char buf[32])
{
	const struct report_name *n = report_find(r, key);

	if (n)
		return n->text;
	snprintf(buf, 32, key ? "0x%llx" : "unnamed", (unsigned long long)key);
	return buf;
}

const char *report_kind_text(unsigned kind)
{
	static const char *const texts[RECORD_KINDS] = {
		[RECORD_STEP] = "step",
		[RECORD_FOUND] = "found",
		[RECORD_LOST] = "lost",
		[RECORD_CALL] = "call",
		[RECORD_SYNC] = "sync",
		[RECORD_BATCH] = "batch",
		[RECORD_KERNEL] = "kernel",
		[RECORD_COPY] = "copy",
		[RECORD_SET] = "set",
		[RECORD_SEND] = "send",
		[RECORD_RECV] = "recv",
		[RECORD_FALLBACK] = "fallback",
	};

	return kind < RECORD_KINDS && texts[kind] ? texts[kind] : "unknown";
}
