#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "callsite.h"
#include "recorder.h"
#include "report.h"

#define SMALL (64 * 1024) /* 512 records */
#define LARGE (8 << 20)

static char folder[] = "/tmp/dlaccel-recorder-XXXXXX";
static char path[64];

static void setup(void)
{
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/rec", folder);
}

static void teardown(void)
{
	unlink(path);
	rmdir(folder);
}

TestSuite(recorder, .init = setup, .fini = teardown, .timeout = 60);

static void open_recorder(struct recorder *r, uint64_t bytes)
{
	struct recorder_config cfg = {.path = path, .max_bytes = bytes, .program = "train.py"};

	*r = (struct recorder){0};
	cr_assert_eq(recorder_open(r, &cfg), 0);
}

/* Every field is a function of the number, so that a mixed-up record shows. */
static struct record numbered(uint64_t n)
{
	return (struct record){.start = 1000 + n,
		.dur = n * 3,
		.name = n * 5 + 1,
		.bytes = n * 7,
		.thread = (uint32_t)n,
		.stream = (uint32_t)n ^ 9,
		.correlation = (uint32_t)n + 2,
		.value = (uint32_t)n * 11,
		.kind = RECORD_CALL,
		.flags = n & 1,
		.device = 3};
}

static void add_numbered(struct recorder *r, uint64_t n)
{
	struct record rec = numbered(n);

	recorder_add(r, &rec);
}

static void expect_numbered(const struct record *rec)
{
	struct record want = numbered(rec->start - 1000);

	want.seq = rec->seq;
	cr_assert_arr_eq((const char *)rec, (const char *)&want, sizeof(want));
}

static struct report load(void)
{
	struct report rep;

	cr_assert_eq(report_load(path, &rep), 0);
	return rep;
}

Test(recorder, what_is_written_is_read)
{
	struct recorder r;
	struct report rep;
	struct stat st;

	open_recorder(&r, SMALL);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_leq(st.st_size, SMALL);
	cr_expect_eq(st.st_mode & 0777, 0600);
	for (uint64_t n = 0; n < 300; n++)
		add_numbered(&r, n);
	recorder_close(&r);
	cr_expect_not(recorder_on(&r));
	add_numbered(&r, 1);
	rep = load();
	cr_assert_eq(rep.count, 300);
	cr_expect_eq(rep.torn + rep.overwritten, 0);
	cr_expect_eq(rep.head.finished, 1);
	cr_expect_eq(rep.head.pid, (uint32_t)getpid());
	cr_expect_str_eq(rep.head.program, "train.py");
	for (size_t k = 0; k < rep.count; k++) {
		cr_expect_eq(rep.records[k].start, 1000 + k);
		expect_numbered(&rep.records[k]);
	}
	report_free(&rep);
}

Test(recorder, a_full_ring_keeps_the_newest)
{
	struct recorder r;
	struct report rep;
	uint64_t room;

	open_recorder(&r, SMALL);
	room = r.mask + 1;
	for (uint64_t n = 0; n < 3 * room + 17; n++)
		add_numbered(&r, n);
	recorder_close(&r);
	rep = load();
	cr_assert_eq(rep.count, room);
	cr_expect_eq(rep.overwritten, 2 * room + 17);
	cr_expect_eq(rep.torn, 0);
	cr_expect_eq(rep.records[0].start, 1000 + 2 * room + 17);
	cr_expect_eq(rep.records[room - 1].start, 1000 + 3 * room + 16);
	report_free(&rep);
}

Test(recorder, a_record_grows_until_the_ring_comes_round)
{
	struct recorder r;
	struct report rep;
	struct record one = {.kind = RECORD_SEND, .start = 1, .bytes = 10, .value = 1};
	uint64_t room, seq;

	open_recorder(&r, SMALL);
	room = r.mask + 1;
	cr_expect_not(recorder_grow(&r, 0, 5));
	seq = recorder_add(&r, &one);
	cr_expect(recorder_grow(&r, seq, 5));
	for (uint64_t n = 1; n < room / 4; n++)
		add_numbered(&r, n);
	cr_expect(recorder_grow(&r, seq, 6));
	rep = load();
	cr_expect_eq(rep.records[0].bytes, 21);
	cr_expect_eq(rep.records[0].value, 3);
	cr_expect_eq(rep.torn, 0);
	report_free(&rep);
	/* others may be writing there before it is looked at again */
	for (uint64_t n = room / 4; n < room - 1; n++)
		add_numbered(&r, n);
	cr_expect_not(recorder_grow(&r, seq, 5));
	add_numbered(&r, room);
	add_numbered(&r, room + 1);
	cr_expect_not(recorder_grow(&r, seq, 5));
	rep = load();
	for (size_t k = 0; k < rep.count; k++)
		expect_numbered(&rep.records[k]);
	report_free(&rep);
	recorder_close(&r);
	cr_expect_not(recorder_grow(&r, seq, 5));
	cr_expect_eq(recorder_add(&r, &one), 0);
}

static struct recorder shared;

static void *write_many(void *arg)
{
	uint64_t from = (uintptr_t)arg * 10000;

	for (uint64_t n = from; n < from + 10000; n++)
		add_numbered(&shared, n);
	return NULL;
}

Test(recorder, many_threads_lose_nothing)
{
	pthread_t t[6];
	struct report rep;

	open_recorder(&shared, LARGE);
	for (uintptr_t k = 0; k < 6; k++)
		cr_assert_eq(pthread_create(&t[k], NULL, write_many, (void *)k), 0);
	for (int k = 0; k < 6; k++)
		pthread_join(t[k], NULL);
	recorder_close(&shared);
	rep = load();
	cr_assert_eq(rep.count, 60000);
	for (size_t k = 0; k < rep.count; k++) {
		cr_assert_eq(rep.records[k].start, 1000 + k);
		expect_numbered(&rep.records[k]);
	}
	report_free(&rep);
}

/* Killed at some moment while it writes: everything before that moment is there and whole. */
Test(recorder, survives_sigkill)
{
	struct report rep;
	volatile uint64_t *done =
		mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = fork();
	int status;

	if (!child) {
		struct recorder r;

		open_recorder(&r, LARGE);
		for (uint64_t n = 0;; n++) {
			add_numbered(&r, n);
			*done = n + 1;
		}
	}
	while (*done < 20000)
		;
	kill(child, SIGKILL);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSIGNALED(status));
	rep = load();
	cr_expect_eq(rep.head.finished, 0);
	cr_expect_leq(rep.torn, 1);
	cr_expect_geq(rep.count + rep.overwritten + 1, *done);
	for (size_t k = 0; k < rep.count; k++)
		expect_numbered(&rep.records[k]);
	report_free(&rep);
}

Test(recorder, the_child_of_a_fork_writes_nothing)
{
	struct recorder r;
	struct report rep;
	pid_t child;
	int status;

	open_recorder(&r, SMALL);
	add_numbered(&r, 0);
	child = fork();
	if (!child) {
		bool on = recorder_on(&r);

		add_numbered(&r, 7);
		recorder_name(&r, 1, "from the child", NULL);
		recorder_close(&r);
		recorder_abandon(&r);
		_exit(on);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect_eq(status, 0);
	add_numbered(&r, 1);
	rep = load();
	cr_expect_eq(rep.count, 2);
	cr_expect_eq(rep.name_count, 0);
	cr_expect_eq(rep.head.finished, 0, "the child closed its parent's file");
	report_free(&rep);
	recorder_close(&r);
}

Test(recorder, a_child_that_lets_go_may_record_itself)
{
	struct recorder r;
	struct recorder_config cfg = {.max_bytes = SMALL};
	char other[80];
	pid_t child;
	int status;

	open_recorder(&r, SMALL);
	snprintf(other, sizeof(other), "%s/other", folder);
	cfg.path = other;
	child = fork();
	if (!child) {
		recorder_abandon(&r);
		_exit(recorder_open(&r, &cfg) || !recorder_on(&r));
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect_eq(status, 0);
	cr_expect_eq(unlink(other), 0);
	recorder_close(&r);
}

Test(recorder, names_carry_text_and_shape)
{
	struct recorder_shape shape = {{4, 5, 6}, {128, 2, 1}, 4096};
	const struct report_name *n;
	struct recorder r;
	struct report rep;
	uint64_t with = recorder_key("gemm", &shape), without = recorder_key("gemm", NULL);

	cr_expect_neq(with, without);
	cr_expect_neq(without, recorder_key("gemn", NULL));
	cr_expect_eq(with, recorder_key("gemm", &shape));
	open_recorder(&r, SMALL);
	recorder_name(&r, with, "gemm", &shape);
	recorder_name(&r, without, "a \"quoted\" \xc3\xa4 \xff\n name", NULL);
	recorder_close(&r);
	rep = load();
	cr_assert_eq(rep.name_count, 2);
	n = report_find(&rep, with);
	cr_assert_not_null(n);
	cr_expect_str_eq(n->text, "gemm");
	cr_expect_arr_eq(n->grid, shape.grid, sizeof(shape.grid));
	cr_expect_arr_eq(n->block, shape.block, sizeof(shape.block));
	cr_expect_eq(n->shared, 4096);
	cr_expect_str_eq(report_find(&rep, without)->text, "a \"quoted\" \xc3\xa4 ?? name");
	cr_expect_null(report_find(&rep, 12345));
	report_free(&rep);
}

Test(recorder, names_end_where_their_room_does)
{
	char text[2000];
	struct recorder r;
	struct report rep;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	open_recorder(&r, SMALL);
	for (uint64_t k = 1; k <= 50; k++)
		recorder_name(&r, k, text, NULL);
	recorder_name(&r, 99, "y", NULL);
	recorder_close(&r);
	rep = load();
	cr_expect_gt(rep.name_count, 3);
	cr_expect_gt(rep.head.names_dropped, 0);
	cr_expect_eq(rep.bad_names, 0);
	cr_expect_eq(rep.name_count + rep.head.names_dropped, 51);
	cr_expect_eq(strlen(report_find(&rep, 1)->text), RECORD_NAME_TEXT);
	report_free(&rep);
}

Test(recorder, refusals_leave_nothing_behind)
{
	struct recorder_config cfg = {.path = path, .max_bytes = 100};
	struct rlimit small = {SMALL / 2, RLIM_INFINITY}, all = {RLIM_INFINITY, RLIM_INFINITY};
	struct recorder r = {0};

	cr_expect_eq(recorder_open(&r, &cfg), -EINVAL);
	cfg.max_bytes = 5ULL << 30;
	cr_expect_eq(recorder_open(&r, &cfg), -EINVAL);
	cfg.max_bytes = SMALL;
	cfg.path = "/nowhere/at/all";
	cr_expect_eq(recorder_open(&r, &cfg), -ENOENT);
	cfg.path = path;
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &all), 0);
	small.rlim_max = all.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	cr_expect_eq(recorder_open(&r, &cfg), -EFBIG);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &all), 0);
	cr_expect_eq(access(path, F_OK), -1, "a refused file was left");
	cr_expect_not(recorder_on(&r));
	cr_expect_eq(recorder_open(&r, &cfg), 0);
	cr_expect_eq(recorder_open(&r, &cfg), -EBUSY);
	recorder_close(&r);
	/* never over somebody else's file, nor through a link */
	cr_expect_eq(recorder_open(&r, &cfg), -EEXIST);
	cr_expect_eq(unlink(path), 0);
	cr_assert_eq(symlink("/dev/null", path), 0);
	cr_expect_eq(recorder_open(&r, &cfg), -EEXIST);
}

Test(recorder, errno_is_kept)
{
	struct recorder r;

	open_recorder(&r, SMALL);
	errno = 77;
	add_numbered(&r, 0);
	recorder_name(&r, 1, "x", NULL);
	callsite_site(&r, 0);
	cr_expect_eq(errno, 77);
	recorder_close(&r);
}

static __attribute__((noinline)) uint64_t from_here(struct recorder *r)
{
	uint64_t site = callsite_site(r, 0);

	__asm__ volatile("");
	return site;
}

Test(recorder, call_sites_are_named)
{
	struct recorder r;
	struct report rep;
	uint64_t a[2], b;

	open_recorder(&r, SMALL);
	cr_expect_eq(callsite_site(&r, 0), 0, "a site before init");
	if (callsite_init() == -ENOSYS)
		cr_skip_test("libunwind is not here");
	/* not unrolled: that would be two call sites */
	for (volatile int k = 0; k < 2; k++)
		a[k] = from_here(&r);
	b = from_here(&r);
	cr_expect_neq(a[0], 0);
	cr_expect_eq(a[0], a[1]);
	cr_expect_neq(a[0], b);
	recorder_close(&r);
	rep = load();
	cr_expect_eq(rep.name_count, 2);
	cr_assert_not_null(report_find(&rep, b));
	cr_expect_not_null(
		strstr(report_find(&rep, b)->text, "+0x"), "%s", report_find(&rep, b)->text);
	cr_expect_not_null(strstr(report_find(&rep, b)->text, " < libc.so.6+0x"), "%s",
		report_find(&rep, b)->text);
	report_free(&rep);
}

/* ---- damaged files ---- */

static char *image;
static size_t image_len;

static void make_image(void)
{
	struct recorder r;
	FILE *in;

	open_recorder(&r, SMALL);
	recorder_name(&r, 6, "kernel", NULL);
	for (uint64_t n = 0; n < 100; n++)
		add_numbered(&r, n);
	recorder_close(&r);
	in = fopen(path, "rb");
	cr_assert_not_null(in);
	image = malloc(SMALL);
	image_len = fread(image, 1, SMALL, in);
	fclose(in);
}

Test(recorder, a_truncated_file_is_read_as_far_as_it_goes)
{
	struct record_header *h;
	struct report rep;
	size_t at;

	make_image();
	h = (struct record_header *)image;
	for (at = 0; at < image_len; at += 61) {
		int err = report_parse(image, at, &rep);

		if (at < h->records_at) {
			cr_assert_eq(err, -EBADMSG, "at %zu: %d", at, err);
			continue;
		}
		cr_assert_eq(err, 0);
		size_t want = (at - h->records_at) / 64;
		cr_assert_eq(rep.count, want < 100 ? want : 100);
		cr_assert_eq(rep.count + rep.torn, 100);
		report_free(&rep);
	}
	free(image);
}

Test(recorder, other_versions_and_other_files_are_refused)
{
	struct record_header *h;
	struct report rep;

	make_image();
	h = (struct record_header *)image;
	h->version++;
	cr_expect_eq(report_parse(image, image_len, &rep), -EPROTO);
	h->version--;
	h->byte_order = __builtin_bswap32(h->byte_order);
	cr_expect_eq(report_parse(image, image_len, &rep), -EPROTO);
	h->byte_order = RECORD_BYTE_ORDER;
	h->magic[0] = 'X';
	cr_expect_eq(report_parse(image, image_len, &rep), -EBADMSG);
	cr_expect_eq(report_load("/dev/zero", &rep), -EBADMSG);
	cr_expect_eq(report_load("/", &rep), -EBADMSG);
	cr_expect_eq(report_load("/nowhere", &rep), -ENOENT);
	free(image);
}

Test(recorder, unfinished_records_and_names_are_counted)
{
	struct record_header *h;
	struct record_name *n;
	struct record *rec;
	struct report rep;

	make_image();
	h = (struct record_header *)image;
	rec = (struct record *)(image + h->records_at);
	rec[10].seq = 0;
	rec[11].seq = 9999;
	rec[12].kind = 99;
	rec[13].dur = UINT64_MAX;
	rec[14].seq += h->records * 1000; /* fits its place, but was not begun yet */
	n = (struct record_name *)(image + h->names_at);
	n->ready = 0;
	cr_assert_eq(report_parse(image, image_len, &rep), 0);
	cr_expect_eq(rep.count, 95);
	cr_expect_eq(rep.torn, 5);
	cr_expect_eq(rep.name_count, 0);
	cr_expect_eq(rep.bad_names, 1);
	report_free(&rep);
	/* the ring turned and a writer left its record of the turn before */
	h->next += h->records;
	cr_assert_eq(report_parse(image, image_len, &rep), 0);
	cr_expect_eq(rep.count, 0, "%zu of the turn before were taken", rep.count);
	report_free(&rep);
	free(image);
}
