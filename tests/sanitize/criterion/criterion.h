/*
 * What our tests use of Criterion, for builds with TSan: Criterion's arena, which its processes share at one address, finds no
 * room beside the shadow memory, and it has no way without (Criterion's issue 274).  Each test runs in a forked child, one after
 * the other.  Time limits are those of `meson test`, for under TSan everything takes longer.
 */
#pragma once
#include <stdbool.h>
#include <string.h>

struct cr_test {
	const char *suite, *name;
	void (*run)(void); /* NULL: a suite */
	void (*init)(void), (*fini)(void);
	double timeout;
	struct cr_test *next;
};

void cr_add(struct cr_test *t);
void cr_failed(bool fatal, const char *file, int line, const char *what, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void cr_skip_test(const char *why) __attribute__((noreturn));

#define CR_ADD(Id, ...) \
	static struct cr_test cr_entry_##Id = { __VA_ARGS__ }; \
	static void __attribute__((constructor)) cr_add_##Id(void) \
	{ \
		cr_add(&cr_entry_##Id); \
	}
#define TestSuite(Suite, ...) CR_ADD(Suite, .suite = #Suite, ##__VA_ARGS__) struct cr_test
#define Test(Suite, Name, ...) \
	static void cr_run_##Suite##_##Name(void); \
	CR_ADD(Suite##_##Name, .suite = #Suite, .name = #Name, .run = cr_run_##Suite##_##Name, ##__VA_ARGS__) \
	static void cr_run_##Suite##_##Name(void)

#define CR(fatal, ok, what, ...) ((ok) ? (void)0 : cr_failed(fatal, __FILE__, __LINE__, what, " " __VA_ARGS__))
#define CR_CMP(fatal, a, op, b, ...) CR(fatal, (a)op(b), #a " " #op " " #b, ##__VA_ARGS__)

#define cr_assert_fail(...) CR(true, false, "fail", ##__VA_ARGS__)
#define cr_assert(x, ...) CR(true, x, #x, ##__VA_ARGS__)
#define cr_assert_not(x, ...) CR(true, !(x), "!" #x, ##__VA_ARGS__)
#define cr_assert_null(x, ...) CR_CMP(true, x, ==, NULL, ##__VA_ARGS__)
#define cr_assert_not_null(x, ...) CR_CMP(true, x, !=, NULL, ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...) CR_CMP(true, a, ==, b, ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...) CR_CMP(true, a, !=, b, ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...) CR_CMP(true, a, <, b, ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...) CR_CMP(true, a, <=, b, ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...) CR_CMP(true, a, >, b, ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...) CR_CMP(true, a, >=, b, ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) CR_CMP(true, strcmp(a, b), ==, 0, ##__VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) CR_CMP(true, memcmp(a, b, n), ==, 0, ##__VA_ARGS__)

#define cr_expect(x, ...) CR(false, x, #x, ##__VA_ARGS__)
#define cr_expect_not(x, ...) CR(false, !(x), "!" #x, ##__VA_ARGS__)
#define cr_expect_null(x, ...) CR_CMP(false, x, ==, NULL, ##__VA_ARGS__)
#define cr_expect_not_null(x, ...) CR_CMP(false, x, !=, NULL, ##__VA_ARGS__)
#define cr_expect_eq(a, b, ...) CR_CMP(false, a, ==, b, ##__VA_ARGS__)
#define cr_expect_neq(a, b, ...) CR_CMP(false, a, !=, b, ##__VA_ARGS__)
#define cr_expect_lt(a, b, ...) CR_CMP(false, a, <, b, ##__VA_ARGS__)
#define cr_expect_leq(a, b, ...) CR_CMP(false, a, <=, b, ##__VA_ARGS__)
#define cr_expect_gt(a, b, ...) CR_CMP(false, a, >, b, ##__VA_ARGS__)
#define cr_expect_geq(a, b, ...) CR_CMP(false, a, >=, b, ##__VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) CR_CMP(false, strcmp(a, b), ==, 0, ##__VA_ARGS__)
#define cr_expect_arr_eq(a, b, n, ...) CR_CMP(false, memcmp(a, b, n), ==, 0, ##__VA_ARGS__)
