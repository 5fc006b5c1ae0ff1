/* Copies put every byte where it belongs and none elsewhere; a sender stores in the way that costs both ends
 * less, follows a change, and comes to no harm by what a receiver says of its share. */
#include <criterion/criterion.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "settings.h"
#include "shm.h"
#include "stats.h"
#include "stores.h"

enum { PIECE = 32768, SLOW = 1 << 16 }; /* bytes; clock ticks for a piece */

static void copies_as_memcpy(copy_fn *copy)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 63, 64, 65, 127, 128, 191, 1023, 1024, 4096 + 7 };
	static alignas(4096) char from[4096 + 256], wanted[4096 + 256];
	static alignas(4096) char to[4096 + 256];

	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (char)(i * 2654435761u >> 11);
	for (size_t at = 0; at < 65; at++)
		for (size_t of = 0; of < 17; of++)
			for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
				memset(to, 0x5a, sizeof(to));
				memset(wanted, 0x5a, sizeof(wanted));
				memcpy(wanted + at, from + of, sizes[i]);
				cr_assert_eq(copy(to + at, from + of, sizes[i]), to + at);
				cr_assert_arr_eq(to, wanted, sizeof(to), "%zu bytes from %zu to %zu", sizes[i], of, at);
			}
}

Test(stores, copies_as_memcpy_does)
{
	copies_as_memcpy(copy_past_caches);
	copies_as_memcpy(copy_through_caches);
}

struct end {
	struct stream s;
	struct wire_dir in, out;
};

static struct end *sender(void)
{
	struct end *e = aligned_alloc(64, (sizeof(*e) + 63) & ~(size_t)63);

	memset(e, 0, sizeof(*e));
	e->s.in = &e->in;
	e->s.out = &e->out;
	settings.store_past = true;
	return e;
}

/* One piece; its receiver says that it took it so long, by the way it was stored.  True: past the caches. */
static bool pass_piece(struct end *e, uint64_t cached, uint64_t past)
{
	struct storing w = stores_begin(&e->s, PIECE);
	bool is_past = w.copy == copy_past_caches;

	stores_end(&e->s, &w, PIECE);
	atomic_fetch_add(&e->out.took, is_past ? past : cached);
	atomic_fetch_add(&e->out.rr, PIECE);
	return is_past;
}

static unsigned past_of(struct end *e, unsigned n, uint64_t cached, uint64_t past)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < n; i++)
		taken += pass_piece(e, cached, past);
	return taken;
}

#if defined(__x86_64__)
Test(stores, the_cheaper_way_is_taken_and_a_change_is_followed)
{
	struct end *e = sender();
	unsigned n = 20000;

	cr_expect_gt(past_of(e, n, SLOW, SLOW / 8), n * 9 / 10, "stored through the caches although that costs more");
	past_of(e, n, SLOW / 8, SLOW);
	cr_expect_lt(past_of(e, n, SLOW / 8, SLOW), n / 10, "stored past the caches although that costs more");
	past_of(e, n, SLOW, SLOW / 8);
	cr_expect_gt(past_of(e, n, SLOW, SLOW / 8), n * 9 / 10, "did not come back");
	free(e);
}
#endif

Test(stores, little_or_not_wanted_goes_through_the_caches)
{
	struct end *e = sender();

	for (unsigned i = 0; i < 100000; i++)
		cr_assert_eq(stores_begin(&e->s, 512).copy, copy_through_caches);
	settings.store_past = false;
	cr_expect_eq(past_of(e, 10000, SLOW, 1), 0);
	free(e);
}

/* A receiver of another version says nothing; a hostile one anything. */
Test(stores, whatever_the_receiver_says)
{
	static const uint64_t said[] = { 0, 1, UINT64_MAX, UINT64_MAX / 2, 1ull << 40 };
	struct end *e = sender();
	uint32_t seed = 1;

	past_of(e, 10000, 0, 0);
	for (unsigned i = 0; i < 100000; i++) {
		pass_piece(e, 0, 0);
		seed = seed * 1664525 + 1013904223;
		if (seed >> 30)
			continue;
		atomic_store(&e->out.took, said[(seed >> 8) % 5]);
		atomic_store(&e->out.rr, said[(seed >> 16) % 5]);
	}
	free(e);
}
