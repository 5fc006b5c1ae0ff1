/*
 * Large blocks: both sides copy.  The sender publishes the block from inside its own call and rings;
 * a receiver claims it from inside its recv, and both copy chunks at the same time, the receiver with
 * process_vm_readv, the sender with process_vm_writev, until they meet.  Nobody claims: the sender
 * withdraws and goes on as if nothing had been.  Both compute what was moved from the same flags, so
 * a chunk that failed on either side ends the block at the same byte for both.
 *
 * Neither returns while the other is inside a chunk, since that one reads or writes the buffer; a
 * receiver without progress is revoked, a dead peer is seen through its pidfd; only a receiver waits for
 * a sender that is stopped inside a chunk.
 */
#include "clock.h"
#include "process.h"
#include "settings.h"
#include "shm.h"
#include "stats.h"
#include "sys.h"

#include <sched.h>

enum {
	DIRECT_MIN = 32768,  /* a smaller recv does not claim but pulls into the ring */
	PULL = 65536,
	CHUNK_MIN = 65536, CHUNK_MAX = 262144, /* and between them, by doubling: */
	CHUNK_SIZES = 3,
	TUNED_LEAST = 1 << 20,
	POLITE_US = 20,      /* then the core is offered to others while waiting */
	TIE_US = 30,
	CLAIM_US = 100,      /* a peer in its loop claims within this, plus ... */
	BYTES_PER_US = 2000, /* ... the time it needs for what is still before the block */
	PATIENCE_US = 50000, /* without progress of a peer that lives */
	CHUNK_DONE = 1, CHUNK_FAILED = 2,
};

size_t block_min(void)
{
	return settings.block_min < DIRECT_MIN ? DIRECT_MIN : settings.block_min;
}

bool block_wanted(struct stream *s, size_t run)
{
	if (run < block_min() || load_rlx(s->cma) == CMA_FAILED || s->self)
		return false;
	if (load_rlx(s->cma) == CMA_UNKNOWN)
		cma_self_test(s);
	return load_rlx(s->cma) == CMA_WORKS && load_acq(s->out->block.state) == BLOCK_IDLE &&
	       load_acq(s->map->probe[!s->role].result) == CMA_WORKS &&
	       load_rlx(s->map->probe[s->role].pid) == (uint32_t)process_id;
}

static bool flagged(struct wire_block *b, uint32_t chunks)
{
	for (uint32_t i = 0; i < chunks; i++)
		if (!load_acq(b->flag[i]))
			return false;
	return true;
}

/* What both will say has been moved: the chunks up to the first that is not done. */
static size_t prefix(struct wire_block *b, size_t n, uint32_t chunk, uint32_t chunks)
{
	uint32_t i = 0;

	while (i < chunks && load_acq(b->flag[i]) == CHUNK_DONE)
		i++;
	return i == chunks ? n : (size_t)i * chunk;
}

struct copying {
	struct stream *s;
	struct wire_block *b;
	uint32_t pid, chunk, chunks;
	size_t n;
	char *mine;
	uint64_t theirs;
	bool revoked;
	size_t moved;
	ssize_t (*copy)(struct copying *w, size_t off, size_t k);
};

static ssize_t pull_chunk(struct copying *w, size_t off, size_t k)
{
	return cma_read(w->pid, w->mine + off, w->theirs + off, k);
}

static ssize_t push_chunk(struct copying *w, size_t off, size_t k)
{
	return cma_write(w->pid, w->theirs + off, w->mine + off, k);
}

static bool copy_chunk(struct copying *w, uint32_t i)
{
	size_t off = (size_t)i * w->chunk, end = off + w->chunk < w->n ? off + w->chunk : w->n;

	while (off < end) {
		ssize_t k = w->copy(w, off, end - off);
		if (k <= 0)
			return false;
		off += (size_t)k;
	}
	return true;
}

/* A short spin, then the core for others, then sleep.  False: the peer is gone. */
static bool pause_for_peer(struct stream *s, uint64_t waited)
{
	struct timespec nap = { .tv_nsec = 200000 };

	if (waited < us_to_ticks(POLITE_US)) {
		cpu_relax();
		return true;
	}
	if (stream_peer_gone(s))
		return false;
	if (waited < us_to_ticks(PATIENCE_US / 10))
		sched_yield();
	else
		sys_call(SYS_nanosleep, &nap, 0);
	return true;
}

static uint32_t chunks_done(struct wire_block *b, uint32_t chunks)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < chunks; i++)
		n += load_acq(b->flag[i]) != 0;
	return n;
}

/* The sender's buffer must not stay with a receiver that is stopped: what is done counts, no more. */
static bool take_back(struct copying *w)
{
	uint32_t go = BLOCK_GO;

	w->moved = prefix(w->b, w->n, w->chunk, w->chunks);
	store_rlx(w->b->n, w->moved);
	w->revoked = atomic_compare_exchange_strong(&w->b->state, &go, BLOCK_REVOKED);
	stat_add(STAT_net_revoked, w->revoked);
	return w->revoked;
}

/*
 * False: the peer is gone.  A sender takes the block back from a receiver without progress; a
 * receiver has to wait, since a chunk under way writes into its buffer.
 */
static bool wait_for_peers_chunks(struct copying *w, bool may_revoke)
{
	uint64_t start = clock_ticks();
	uint32_t seen = 0;

	while (!flagged(w->b, w->chunks)) {
		uint64_t waited = clock_ticks() - start;
		if (!pause_for_peer(w->s, waited))
			return false;
		if (waited < us_to_ticks(PATIENCE_US))
			continue;
		uint32_t now = chunks_done(w->b, w->chunks);
		if (now == seen && may_revoke && take_back(w))
			return true;
		seen = now;
		start = clock_ticks();
	}
	return true;
}

static bool copy_together(struct copying *w)
{
	uint32_t i;

	while ((i = atomic_fetch_add(&w->b->next, 1)) < w->chunks) {
		bool ok = copy_chunk(w, i);
		store_rel(w->b->flag[i], ok ? CHUNK_DONE : CHUNK_FAILED);
		if (!ok)
			store_rlx(w->s->cma, CMA_FAILED);
	}
	return wait_for_peers_chunks(w, w->copy == push_chunk);
}

/* ---- the sender, side->p held */

static void publish(struct stream *s, const char *p, size_t len)
{
	struct wire_block *b = &s->out->block;

	store_rlx(b->src, (uint64_t)(uintptr_t)p);
	store_rlx(b->len, len);
	store_rlx(b->x, load_rlx(s->side->rw));
	store_rlx(b->src_pid, (uint32_t)process_id);
	atomic_store(&b->state, BLOCK_OFFERED);
	stat_inc(STAT_net_offers);
}

static bool withdraw(struct stream *s)
{
	uint32_t st = BLOCK_OFFERED;

	if (!atomic_compare_exchange_strong(&s->out->block.state, &st, BLOCK_WITHDRAWN))
		return false;
	stat_inc(STAT_net_withdrawn);
	unsigned backoff = load_rlx(s->offer_backoff) ? load_rlx(s->offer_backoff) * 2 : 1;
	backoff = backoff > 64 ? 64 : backoff;
	store_rlx(s->offer_backoff, backoff);
	store_rlx(s->offer_skip, backoff);
	return true;
}

void block_let_go(struct stream *s)
{
	uint32_t st = BLOCK_WITHDRAWN;

	atomic_compare_exchange_strong(&s->out->block.state, &st, BLOCK_IDLE);
}

/* Both ends offer to each other: the accepting side steps back. */
static bool tie(struct stream *s, uint64_t waited)
{
	if (!s->role || waited < us_to_ticks(TIE_US) || load_acq(s->in->block.state) != BLOCK_OFFERED)
		return false;
	stat_inc(STAT_net_ties);
	return true;
}

static uint64_t claim_bound(struct stream *s, size_t len)
{
	uint64_t before = load_rlx(s->side->tx) - load_acq(s->out->rx) + stream_unread(s);

	if ((int64_t)before < 0)
		before = 0;
	if (before > 64u << 20)
		before = 64u << 20;
	return us_to_ticks(CLAIM_US + (len / 16 + before) / BYTES_PER_US);
}

/* The state once somebody has claimed, or BLOCK_OFFERED when nobody did within the bound. */
static uint32_t wait_for_claim(struct stream *s, size_t len)
{
	struct wire_block *b = &s->out->block;
	uint64_t start = clock_ticks(), bound = claim_bound(s, len);
	uint32_t st;

	while ((st = load_acq(b->state)) == BLOCK_OFFERED) {
		uint64_t waited = clock_ticks() - start;
		if (waited > bound || tie(s, waited))
			return st;
		if (waited > us_to_ticks(POLITE_US))
			sched_yield();
		else
			cpu_relax();
	}
	return st;
}

/*
 * Out of CLAIMED the receiver goes within a few instructions, unless it dies or is stopped there: then
 * the block is taken back.  BLOCK_IDLE: nothing comes of it.
 */
static uint32_t wait_for_decision(struct stream *s)
{
	struct wire_block *b = &s->out->block;
	uint64_t start = clock_ticks();
	uint32_t st;

	while ((st = load_acq(b->state)) == BLOCK_CLAIMED || st == BLOCK_PULLING) {
		uint64_t waited = clock_ticks() - start;
		if (!pause_for_peer(s, waited))
			return BLOCK_IDLE;
		if (waited < us_to_ticks(PATIENCE_US))
			continue;
		bool pulls = st == BLOCK_PULLING;
		if (!pulls)
			store_rlx(b->n, 0);
		if (atomic_compare_exchange_strong(&b->state, &st, BLOCK_REVOKED))
			return pulls ? BLOCK_IDLE : BLOCK_REVOKED; /* it still writes into the ring, which is of no use any more */
	}
	return st;
}

static size_t push_block(struct stream *s, const char *p, size_t len, bool *ret_revoked)
{
	struct wire_block *b = &s->out->block;
	struct copying w = { .s = s, .b = b, .pid = s->peer_pid, .mine = (char *)p, .copy = push_chunk };

	w.n = load_rlx(b->n);
	w.chunk = load_rlx(b->chunk);
	w.chunks = load_rlx(b->chunks);
	w.theirs = load_rlx(b->dst);
	if (!w.n || w.n > len || w.chunk < 4096 || !w.chunks || w.chunks > WIRE_CHUNKS ||
	    (uint64_t)w.chunk * w.chunks < w.n || (uint64_t)w.chunk * (w.chunks - 1) >= w.n) {
		s->side->dead = true;
		return 0;
	}
	if (load_rlx(b->dst_pid) == w.pid ? !copy_together(&w) : !wait_for_peers_chunks(&w, true))
		s->side->dead = true;
	*ret_revoked = w.revoked;
	size_t n = w.revoked ? w.moved : prefix(b, w.n, w.chunk, w.chunks);
	return n <= len ? n : 0;
}

/* Until somebody has decided about the block; BLOCK_IDLE: it is withdrawn, or the peer is gone. */
static uint32_t wait_for_receiver(struct stream *s, size_t len)
{
	for (;;) {
		uint32_t st = wait_for_claim(s, len);
		if (st == BLOCK_OFFERED) {
			if (withdraw(s))
				return BLOCK_IDLE;
			continue;
		}
		st = wait_for_decision(s);
		if (st == BLOCK_IDLE)
			s->side->dead = true;
		if (st != BLOCK_OFFERED) /* else put back: it had something else to read first */
			return st;
	}
}

/* The receiver has put the first bytes into the ring; we count them as ours. */
static size_t pulled(struct stream *s, size_t len)
{
	size_t n = load_rlx(s->out->block.n);
	uint64_t rw = load_rlx(s->side->rw) + n;

	if (n > len || n > PULL)
		return 0;
	store_rlx(s->side->rw, rw);
	store_rel(s->out->rw, rw);
	return n;
}

size_t block_offer(struct stream *s, int fd, const char *p, size_t len)
{
	size_t moved = 0;

	while (len - moved >= block_min() && !load_rlx(s->side->dead) && load_rlx(s->cma) == CMA_WORKS) {
		publish(s, p + moved, len - moved);
		stream_notify(s, fd, false); /* MUTATE: doorbell_offer */
		uint32_t st = wait_for_receiver(s, len - moved);
		if (st == BLOCK_IDLE || st == BLOCK_REVOKED)
			break;
		bool revoked = false;
		/* DONE: the receiver has copied all of it before we looked */
		size_t n = st == BLOCK_PULLED ? pulled(s, len - moved) : push_block(s, p + moved, len - moved, &revoked);
		if (!n && !revoked)
			s->side->dead |= load_rlx(s->cma) == CMA_WORKS;
		moved += n;
		stat_inc(STAT_net_blocks);
		store_rlx(s->offer_backoff, 0);
		if (revoked)
			break;
		atomic_store(&s->out->block.state, BLOCK_IDLE);
	}
	return moved;
}

/* ---- the receiver, side->c held */

/* The block's first n bytes into the ring, where it is offered: in the hot area, which is empty. */
static bool pull(struct stream *s, struct wire_block *b, uint64_t x, size_t n)
{
	uint64_t off = (x - load_acq(s->in->origin)) & (ring_hot(s) - 1);
	size_t first = ring_hot(s) - off < n ? ring_hot(s) - off : n;
	uint64_t src = load_rlx(b->src);

	if (!ring_populate(s, s->ring_in, off & ~(uint64_t)4095, off + first) ||
	    (n > first && !ring_populate(s, s->ring_in, 0, n - first)))
		return false;
	if (cma_read(s->peer_pid, s->ring_in + off, src, first) != (ssize_t)first ||
	    (n > first && cma_read(s->peer_pid, s->ring_in, src + first, n - first) != (ssize_t)(n - first)))
		return false;
	stat_inc(STAT_net_pulls);
	return true;
}

/* Small ones so that both ends have something to do; of large ones as measured. */
static uint32_t chunk_size(struct stream *s, size_t n)
{
	size_t c = n / 16;

	if (n >= TUNED_LEAST)
		return CHUNK_MIN << tuner_choose(&s->chunks, CHUNK_SIZES);
	c = c < CHUNK_MIN ? CHUNK_MIN : c > CHUNK_MAX ? CHUNK_MAX : c;
	return (uint32_t)((c + 4095) & ~(size_t)4095);
}

/* The two ends keep each other company in here: nobody was waited for. */
static void measure_chunks(struct stream *s, const struct copying *w, uint64_t start)
{
	if (w->n >= TUNED_LEAST)
		tuner_took(&s->chunks, (unsigned)__builtin_ctz(w->chunk / CHUNK_MIN), w->n, clock_ticks() - start);
}

/* The program was told of it, and is to find it: its sender has only to publish it otherwise. False: it takes too long, or is gone. */
static bool comes_otherwise(struct stream *s, struct wire_block *b, uint32_t state)
{
	uint64_t start = clock_ticks(), waited = 0, rr = load_rlx(s->side->rr);
	uint32_t r = load_rlx(s->side->segr);

	while (waited < us_to_ticks(PATIENCE_US) && pause_for_peer(s, waited)) {
		if (load_acq(b->state) != state || load_acq(s->in->rw) != rr || load_acq(s->in->segw) != r)
			return true;
		waited = clock_ticks() - start;
	}
	return false;
}

static ssize_t await_withdrawn(struct stream *s, struct wire_block *b)
{
	uint32_t st = BLOCK_WITHDRAWN;

	if (comes_otherwise(s, b, st))
		return BLOCK_AGAIN;
	return atomic_compare_exchange_strong(&b->state, &st, BLOCK_IDLE) ? 0 : BLOCK_AGAIN;
}

/* The sender has gone on without us. */
static ssize_t let_go_of_revoked(struct stream *s, struct wire_block *b)
{
	uint32_t st = BLOCK_REVOKED;

	if (atomic_compare_exchange_strong(&b->state, &st, BLOCK_IDLE))
		comes_otherwise(s, b, BLOCK_IDLE);
	return BLOCK_AGAIN;
}

static ssize_t pull_block(struct stream *s, struct wire_block *b, char *dst, size_t n)
{
	struct copying w = { .s = s, .b = b, .pid = s->peer_pid, .mine = dst, .copy = pull_chunk };

	w.chunk = chunk_size(s, n);
	w.n = n < (size_t)w.chunk * WIRE_CHUNKS ? n : (size_t)w.chunk * WIRE_CHUNKS;
	w.chunks = (uint32_t)((w.n + w.chunk - 1) / w.chunk);
	w.theirs = load_rlx(b->src);
	for (uint32_t i = 0; i < w.chunks; i++)
		store_rlx(b->flag[i], 0);
	store_rlx(b->dst, (uint64_t)(uintptr_t)dst);
	store_rlx(b->dst_pid, (uint32_t)process_id);
	store_rlx(b->n, w.n);
	store_rlx(b->chunk, w.chunk);
	store_rlx(b->chunks, w.chunks);
	store_rlx(b->next, 0);
	uint32_t st = BLOCK_CLAIMED;
	if (!atomic_compare_exchange_strong(&b->state, &st, BLOCK_GO))
		return let_go_of_revoked(s, b);
	uint64_t start = clock_ticks();
	if (!copy_together(&w)) {
		store_rlx(s->cma, CMA_FAILED);
		fallback(FALLBACK_PEER_DIED);
	} else {
		measure_chunks(s, &w, start);
	}
	st = BLOCK_GO; /* decided here and in take_back, by one CAS: all of it, or what was taken back */
	if (!atomic_compare_exchange_strong(&b->state, &st, BLOCK_DONE) && st == BLOCK_REVOKED) {
		size_t n = load_rlx(b->n);
		if (!n)
			return let_go_of_revoked(s, b);
		atomic_compare_exchange_strong(&b->state, &st, BLOCK_IDLE);
		return n <= w.n ? (ssize_t)n : BLOCK_AGAIN;
	}
	return (ssize_t)prefix(b, w.n, w.chunk, w.chunks);
}

/* It cannot be had, by this process: its sender, if there is one any more, goes on without, and offers no other. */
static ssize_t refuse(struct wire_block *b, uint32_t from)
{
	atomic_compare_exchange_strong(&b->state, &from, BLOCK_REVOKED);
	return BLOCK_AGAIN;
}

/*
 * For a small recv, FIONREAD or MSG_PEEK.  The sender counts the bytes as its own once it sees PULLED, and may have
 * written behind them by the time that we do.
 */
static ssize_t pull_first(struct stream *s, struct wire_block *b, uint64_t x, size_t n)
{
	uint32_t st = BLOCK_CLAIMED;

	if (!atomic_compare_exchange_strong(&b->state, &st, BLOCK_PULLING))
		return let_go_of_revoked(s, b);
	if (!pull(s, b, x, n)) {
		store_rlx(s->cma, CMA_FAILED);
		return refuse(b, BLOCK_PULLING);
	}
	store_rlx(b->n, n);
	st = BLOCK_PULLING;
	if (!atomic_compare_exchange_strong(&b->state, &st, BLOCK_PULLED))
		return let_go_of_revoked(s, b);
	atomic_compare_exchange_strong(&s->in->rw, &x, x + n);
	return BLOCK_AGAIN;
}

/*
 * Bytes placed at dst; BLOCK_AGAIN: something changed, look again; 0: nothing to be had.  room 0 or
 * small: the bytes come through the ring.
 */
ssize_t block_claim(struct stream *s, int fd, char *dst, size_t room)
{
	struct wire_block *b = &s->in->block;
	uint32_t st = BLOCK_OFFERED;

	if (load_rlx(s->cma) == CMA_UNKNOWN)
		cma_self_test(s);
	if (load_acq(b->state) == BLOCK_WITHDRAWN)
		return await_withdrawn(s, b);
	if (load_rlx(s->cma) != CMA_WORKS || load_rlx(b->src_pid) != s->peer_pid)
		return refuse(b, BLOCK_OFFERED);
	if (!atomic_compare_exchange_strong(&b->state, &st, BLOCK_CLAIMED))
		return BLOCK_AGAIN;
	uint64_t rr = load_rlx(s->side->rr), len = load_rlx(b->len);
	if (load_acq(s->in->rw) != rr || load_acq(s->in->segw) != load_rlx(s->side->segr)) { /* MUTATE: claim_recheck */
		st = BLOCK_CLAIMED;
		if (!atomic_compare_exchange_strong(&b->state, &st, BLOCK_OFFERED))
			let_go_of_revoked(s, b);
		return BLOCK_AGAIN;
	}
	if (!len || load_rlx(b->x) != rr) {
		stream_violation(s, fd, "empty block, or out of its place");
		return 0;
	}
	if (room >= DIRECT_MIN)
		return pull_block(s, b, dst, len < room ? len : room);
	return pull_first(s, b, rr, len < PULL ? len : PULL);
}
