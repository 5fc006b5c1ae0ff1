/* The receiving half: rdma/consume.c, stream_spin, and block_claim, one shared operation a step. */
#include "explore.h"

enum { NO, YES, KERNEL }; /* enum readiness */
enum { IDLE, OFFERED, CLAIMED, GO, PULLED, MOVED, WITHDRAWN, REVOKED };
enum { LOOKS = 8 };

static uint8_t me(const struct thread *t)
{
	return (uint8_t)(t - now->t);
}

/* The program has got this byte. */
static void deliver(struct thread *t, uint8_t byte)
{
	if (!byte)
		found("a doorbell was delivered as payload");
	else if (byte != now->delivered + 1)
		found("a byte was lost, repeated or out of order");
	now->delivered = byte;
	t->got++;
}

static void count_rx(struct thread *t, uint8_t n)
{
	store(t, RX, load(t, RX) + n);
}

static bool offered(uint8_t st)
{
	return st == OFFERED || st == WITHDRAWN;
}

/* stream_ready: ret = NO, YES, KERNEL */
static enum step ready(struct thread *t)
{
	BEGIN(F_READY)
	OP(v[0] = load(t, RW));
	OP(v[1] = load(t, SEGW));
	OP2(v[2] = load(t, SEGR));
	OP2(v[3] = load(t, RR));
	while (v[2] != v[1]) {
		OP2(v[4] = load(t, SEG_X + v[2] % SEGMENTS));
		if (v[4] != v[3])
			RETURN(YES);
		OP(v[4] = load(t, SEG_B + v[2] % SEGMENTS));
		OP2(v[5] = load(t, RX));
		if (v[4] >= READING || v[5] != v[4] || (mutated("looks_behind_one") && (uint8_t)(v[1] - v[2]) > 1))
			RETURN(KERNEL);
		v[2]++;
	}
	if (v[0] != v[3])
		RETURN(YES);
	if (scenario->offers) {
		OP(v[4] = load(t, BLOCK_STATE));
		if (offered(v[4]))
			RETURN(YES);
	}
	END(NO);
}

/* stream_inline_open */
static enum step inline_open(struct thread *t)
{
	BEGIN(F_INLINE_OPEN)
	OP2(v[0] = load(t, SEGR) % SEGMENTS);
	OP(v[1] = load(t, SEG_B + v[0]));
	if (v[1] < READING)
		RETURN(0);
	OP2(v[2] = load(t, SEG_X + v[0]) == load(t, RR) && load(t, RX) >= load(t, SEG_A + v[0]));
	END(v[2]);
}

/* Doorbells up to TCP position `upto`; ret = 1: any. */
static enum step swallow(struct thread *t, uint8_t upto)
{
	uint8_t bytes[QUEUE];

	BEGIN(F_SWALLOW)
	if (load(t, RX) < upto) {
		ATOMIC({
			v[1] = (uint8_t)tcp_take(bytes, (unsigned)upto - load(t, RX));
			for (unsigned i = 0; i < v[1]; i++)
				if (bytes[i])
					found("payload was swallowed");
		});
		count_rx(t, v[1]);
	}
	END(v[1] > 0);
}

static enum step restore_token(struct thread *t, uint8_t epoch)
{
	BEGIN(F_RESTORE)
	OP(v[0] = load(t, SEGW));
	if (v[0] == epoch)
		ATOMIC({ if (now->mem[TOKEN] == 0) now->mem[TOKEN] = epoch; });
	END(0);
}

/* ret = 1: something has come since the ring stood at rw, the table at r */
static enum step news(struct thread *t, uint8_t rw, uint8_t r)
{
	BEGIN(F_NEWS)
	OP(v[0] = load(t, RW));
	OP(v[1] = load(t, SEGW));
	if (scenario->offers) {
		OP(v[2] = load(t, BLOCK_STATE));
		if (offered(v[2]))
			RETURN(1);
	}
	END(v[0] != rw || v[1] != r);
}

/*
 * The token is given back.  Without the fence that follows it, later loads may be made earlier: not on
 * x86, where the exchange is a fence, but in the language.  ret = 1: it was ours to give.
 */
static enum step clear_token(struct thread *t, uint8_t epoch)
{
	BEGIN(F_CLEAR)
	OP(v[0] = load(t, TOKEN));
	if (v[0] == epoch) {
		ATOMIC({ v[1] = now->mem[TOKEN] == epoch; if (v[1]) now->mem[TOKEN] = 0; });
	}
	END(v[1]);
}

/* stream_settle; ret = 1: something was swallowed.  v: 0 rw, 1 any and cleared, 2 r, 3 tx, 4 segw or news */
static enum step settle(struct thread *t)
{
	BEGIN(F_SETTLE)
	for (;;) {
		OP(v[0] = load(t, RW));
		OP(v[4] = load(t, SEGW));
		v[2] = load(t, SEGR);
		if (v[2] != v[4]) {
			if (load(t, SEG_X + v[2] % SEGMENTS) != load(t, RR))
				RETURN(v[1]);
			if (!mutated("drain_segment")) {
				CALL(swallow(t, load(t, SEG_A + v[2] % SEGMENTS)));
				v[1] |= t->ret;
			}
			OP(v[4] = load(t, SEG_B + v[2] % SEGMENTS));
			if (v[4] >= READING || load(t, RX) != v[4])
				RETURN(v[1]);
			store(t, SEGR, v[2] + 1); /* next_segment */
			v[2] = v[4] = 0;
			continue;
		}
		if (v[0] != load(t, RR))
			RETURN(v[1]);
		if (scenario->offers) {
			OP(v[4] = load(t, BLOCK_STATE));
			if (offered(v[4]))
				RETURN(v[1]);
		}
		if (!mutated("tx_after_clear"))
			OP(v[3] = load(t, TX));
		v[4] = 0;
		if (mutated("fence_settle")) {
			CALL(news(t, v[0], v[2]));
			v[4] = t->ret;
		}
		CALL(clear_token(t, v[2]));
		v[5] = t->ret;
		if (!mutated("fence_settle")) {
			CALL(news(t, v[0], v[2]));
			v[4] = t->ret;
		}
		if (mutated("tx_after_clear"))
			OP(v[3] = load(t, TX));
		if (v[4] && !mutated("settle_recheck")) {
			if ((v[5] || mutated("restore_unasked")) && !mutated("restore_token"))
				CALL(restore_token(t, v[2]));
			RETURN(v[1]);
		}
		if (!mutated("drain_settle")) {
			CALL(swallow(t, v[3]));
			v[1] |= t->ret;
		}
		RETURN(v[1]);
	}
	END(0);
}

/* ret = 1: TCP has something, or had */
static enum step swallow_late(struct thread *t)
{
	uint8_t bytes[QUEUE];

	BEGIN(F_LATE)
	v[0] = load(t, SEGR);
	v[1] = load(t, RR);
	ATOMIC(v[2] = now->queued);
	if (!v[2])
		RETURN(now->fin);
	if (mutated("fence_late")) {
		CALL(news(t, v[1], v[0]));
		v[3] = t->ret;
	}
	CALL(clear_token(t, v[0]));
	if (!mutated("fence_late")) {
		CALL(news(t, v[1], v[0]));
		v[3] = t->ret;
	}
	if (v[3] && !mutated("late_recheck")) {
		CALL(restore_token(t, v[0]));
		RETURN(1);
	}
	ATOMIC({
		v[2] = (uint8_t)tcp_take(bytes, v[2]);
		for (unsigned i = 0; i < v[2]; i++)
			if (bytes[i])
				found("payload was swallowed");
	});
	count_rx(t, v[2]);
	END(1);
}

/* side_lock and side_unlock of side->c */
static enum step lock(struct thread *t)
{
	BEGIN(F_LOCK)
	if (scenario->reader[1].room)
		WHEN(t->stores == 0 && !now->mem[LOCK], now->mem[LOCK] = 1);
	END(0);
}

static enum step unlock(struct thread *t)
{
	BEGIN(F_LOCK)
	if (scenario->reader[1].room)
		ATOMIC(now->mem[LOCK] = 0);
	END(0);
}

static enum step settle_late(struct thread *t)
{
	BEGIN(F_SETTLE_LATE)
	CALL(lock(t));
	CALL(settle(t));
	if (!t->ret) {
		CALL(ready(t));
		if (t->ret == NO && !mutated("drain_late"))
			CALL(swallow_late(t));
	}
	CALL(unlock(t));
	END(0);
}

/* mark_reading; ret = 1: the open segment is ours */
static enum step mark(struct thread *t, uint8_t slot)
{
	BEGIN(F_MARK)
	ATOMIC({ v[0] = now->mem[SEG_B + slot]; if (v[0] == OPEN) now->mem[SEG_B + slot] = READING; });
	if (v[0] == OPEN) {
		store(t, READER_ID, me(t));
		OP2((void)0);
		RETURN(1);
	}
	OP2(v[1] = load(t, READER_ID));
	END(v[0] == READING && v[1] == me(t));
}

static enum step unmark(struct thread *t, uint8_t slot)
{
	BEGIN(F_MARK)
	if (!mutated("stale_reader"))
		store(t, READER_ID, 0);
	store(t, SEG_B + slot, OPEN);
	OP((void)0);
	END(0);
}

/* The kernel's answer: bytes for the program, the end, or nothing. */
static uint8_t kernel_recv(struct thread *t, unsigned limit)
{
	uint8_t bytes[QUEUE];
	unsigned n = (unsigned)t->room - t->got;

	n = tcp_take(bytes, n < limit ? n : limit);
	for (unsigned i = 0; i < n; i++)
		deliver(t, bytes[i]);
	if (!n && now->fin)
		t->eof = true;
	return (uint8_t)n;
}

/* ret = 1: go on taking.  v: 0 slot, 1 b, 2 reading, 3 asked, 4 k */
static enum step take_inline(struct thread *t, uint8_t slot)
{
	BEGIN(F_TAKE_INLINE)
	v[0] = slot;
	if (!mutated("drain_inline"))
		CALL(swallow(t, load(t, SEG_A + v[0])));
	if (load(t, SEG_A + v[0]) > load(t, RX))
		RETURN(0);
	OP(v[1] = load(t, SEG_B + v[0]));
	v[3] = t->room - t->got;
	if (v[1] < READING) {
		if (v[1] <= load(t, RX)) {
			store(t, SEGR, load(t, SEGR) + 1);
			RETURN(1);
		}
		if (v[3] > v[1] - load(t, RX))
			v[3] = v[1] - load(t, RX);
	} else {
		CALL(mark(t, v[0]));
		v[2] = t->ret;
		if (!v[2]) {
			OP(v[1] = load(t, SEG_B + v[0]));
			RETURN(v[1] < READING);
		}
	}
	ATOMIC(v[4] = kernel_recv(t, v[3]));
	count_rx(t, v[4]);
	if (v[2])
		CALL(unmark(t, v[0]));
	END(v[4] && (!v[2] || v[4] == v[3]));
}

/*
 * block_claim: 0 nothing to be had, 1 something was placed or changed.  With room for two bytes the
 * block is copied straight, else one byte of it is pulled into the ring.  v: 0 x, 1 n, 2 len, 3 the first byte's
 * number less one
 */
static enum step claim(struct thread *t)
{
	BEGIN(F_CLAIM)
	OP(v[0] = load(t, BLOCK_STATE));
	if (v[0] == WITHDRAWN) { /* await_withdrawn */
		WHEN(now->mem[BLOCK_STATE] != WITHDRAWN || now->mem[RW] != load(t, RR) || now->mem[SEGW] != load(t, SEGR) ||
			now->killed, {
			v[1] = now->killed && now->mem[BLOCK_STATE] == WITHDRAWN;
			if (v[1])
				now->mem[BLOCK_STATE] = IDLE;
		});
		RETURN(!v[1]);
	}
	if (t->no_cma) { /* refuse */
		ATOMIC({ v[1] = !mutated("offer_of_the_dead"); if (v[1] && now->mem[BLOCK_STATE] == OFFERED) now->mem[BLOCK_STATE] = REVOKED; });
		RETURN(v[1]);
	}
	ATOMIC({ v[0] = now->mem[BLOCK_STATE]; if (v[0] == OFFERED) now->mem[BLOCK_STATE] = CLAIMED; });
	if (v[0] != OFFERED)
		RETURN(1);
	OP(v[0] = load(t, BLOCK_X); v[2] = load(t, BLOCK_LEN); v[3] = load(t, BLOCK_N));
	OP(v[4] = load(t, RW));
	OP(v[5] = load(t, SEGW));
	if (!mutated("claim_recheck") && (v[4] != load(t, RR) || v[5] != load(t, SEGR))) {
		ATOMIC(now->mem[BLOCK_STATE] = OFFERED);
		RETURN(1);
	}
	if (!mutated("claim_recheck") && v[0] != load(t, RR))
		found("a block is offered out of its place");
	v[1] = t->room - t->got;
	if (v[1] > v[2])
		v[1] = v[2];
	if (v[1] >= 2) {
		ATOMIC(now->mem[BLOCK_STATE] = GO);
		if (now->killed) {
			t->no_cma = true;
			RETURN(0);
		}
		for (v[4] = 0; v[4] < v[1]; v[4]++)
			deliver(t, ++now->sent);
		ATOMIC({ now->mem[BLOCK_N] = v[1]; now->mem[BLOCK_STATE] = MOVED; });
		RETURN(1);
	}
	if (now->killed) { /* process_vm_readv: ESRCH */
		t->no_cma = true;
		ATOMIC(now->mem[BLOCK_STATE] = mutated("offer_of_the_dead") ? OFFERED : REVOKED);
		RETURN(!mutated("offer_of_the_dead"));
	}
	ATOMIC(now->mem[CELL + v[0] % RING] = ++now->sent);
	ATOMIC({ now->mem[BLOCK_N] = 1; now->mem[RW] = v[0] + 1; });
	ATOMIC(now->mem[BLOCK_STATE] = PULLED);
	END(1);
}

/* Everything that is there now.  v: 0 rw, 1 segw, 2 segr, 3 n */
static enum step take(struct thread *t)
{
	BEGIN(F_TAKE)
	while (t->got < t->room && !t->eof) {
		if (mutated("segw_before_rw"))
			OP(v[1] = load(t, SEGW));
		OP(v[0] = load(t, RW));
		if (!mutated("segw_before_rw"))
			OP(v[1] = load(t, SEGW));
		v[2] = load(t, SEGR);
		v[3] = (v[2] != v[1] ? load(t, SEG_X + v[2] % SEGMENTS) : v[0]) - load(t, RR);
		if (v[3] > scenario->ring)
			found("a ring position is out of range");
		if (v[3]) { /* take_ring */
			if (v[3] > t->room - t->got)
				v[3] = t->room - t->got;
			OP(for (unsigned i = 0; i < v[3]; i++) deliver(t, now->mem[CELL + (load(t, RR) + i) % RING]));
			store(t, RR, load(t, RR) + v[3]);
			v[0] = v[1] = v[2] = v[3] = 0;
			continue;
		}
		if (v[2] != v[1]) {
			CALL(take_inline(t, v[2] % SEGMENTS));
			if (!t->ret)
				RETURN(0);
			v[0] = v[1] = v[2] = v[3] = 0;
			continue;
		}
		if (!scenario->offers)
			RETURN(0);
		OP(v[3] = load(t, BLOCK_STATE));
		if (!offered(v[3])) {
			OP(v[3] = load(t, RW) == v[0]);
			OP(v[3] = v[3] && load(t, SEGW) == v[1]);
			if (v[3])
				RETURN(0);
			v[0] = v[1] = v[2] = v[3] = 0;
			continue;
		}
		CALL(claim(t));
		if (!t->ret)
			RETURN(0);
		v[0] = v[1] = v[2] = v[3] = 0;
	}
	END(0);
}

static enum step take_locked(struct thread *t)
{
	BEGIN(F_TAKE_LOCKED)
	CALL(lock(t));
	CALL(take(t));
	CALL(settle(t));
	CALL(unlock(t));
	END(0);
}

/* receive_direct: 0 not possible, 1 bytes, 2 the kernel's answer is the program's.  v: 0 slot, 1 r, 2 k */
static enum step receive_direct(struct thread *t)
{
	BEGIN(F_DIRECT)
	v[1] = load(t, SEGR);
	v[0] = v[1] % SEGMENTS;
	CALL(inline_open(t));
	if (!t->ret)
		RETURN(0);
	CALL(mark(t, v[0]));
	if (!t->ret)
		RETURN(0);
	OP2(v[2] = load(t, SEGR) == v[1]);
	if (!v[2] && !mutated("direct_recheck")) {
		CALL(unmark(t, v[0]));
		RETURN(0);
	}
	WHEN(t->stores == 0 && (!t->blocking || now->queued || now->fin), v[2] = kernel_recv(t, QUEUE));
	count_rx(t, v[2]);
	CALL(unmark(t, v[0]));
	END(v[2] ? 1 : 2);
}

static enum polling polling(const struct thread *t)
{
	return scenario->reader[me(t) - READER].polls;
}

static bool may_spin(const struct thread *t)
{
	return scenario->may_spin && polling(t) != NEVER && (polling(t) == ALWAYS || choose(2));
}

/* stream_spin: ret = 1: data.  How long it spins is the clock's choice. */
static enum step spin(struct thread *t)
{
	BEGIN(F_SPIN)
	ATOMIC(now->mem[POLLER]++);
	store(t, SPINNER, 1);
	do {
		CALL(ready(t));
		v[0] = t->ret == YES || (t->ret == KERNEL && (now->queued || now->fin));
		OP(v[1] = !v[0] && choose(2));
	} while (v[1]);
	if (mutated("fence_poll_end")) { /* as fence_settle: the loads behind it are made before */
		CALL(ready(t));
		v[2] = t->ret;
	}
	ATOMIC(now->mem[POLLER]--);
	if (!v[0] && !mutated("fence_poll_end")) {
		CALL(ready(t));
		v[2] = t->ret;
	}
	v[0] |= v[2] == YES;
	if (!v[0] && polling(t) != ALWAYS)
		OP(if (choose(2)) store(t, SPINNER, 0));
	END(v[0]);
}

/* sleep_on_token; ret = 1: the kernel's answer is the program's.  v: 0 readiness, 1 kernel's bytes, 2 again */
static enum step sleep_on_token(struct thread *t)
{
	BEGIN(F_SLEEP)
	if (mutated("fence_sleep")) { /* as fence_settle: the loads behind it are made before */
		CALL(ready(t));
		v[0] = t->ret;
	}
	if (!mutated("sleepers"))
		ATOMIC(now->mem[SLEEPERS]++);
	if (!mutated("recheck_before_sleep") && !mutated("fence_sleep")) {
		CALL(ready(t));
		v[0] = t->ret;
	}
	if (v[0] != YES)
		WHEN(t->stores == 0 && (!t->blocking || now->queued || now->fin), {
			v[1] = now->queued > 0;
			v[2] = !v[1] && !now->fin;
		});
	if (!mutated("sleepers"))
		ATOMIC(now->mem[SLEEPERS]--);
	if (v[0] == YES)
		RETURN(0);
	CALL(ready(t));
	if (v[2]) /* EAGAIN */
		RETURN(t->ret != YES);
	if (v[1]) {
		if (t->ret == NO)
			CALL(settle_late(t));
		RETURN(0);
	}
	if (t->ret == YES)
		RETURN(0);
	CALL(lock(t));
	CALL(settle(t));
	CALL(unlock(t));
	CALL(ready(t));
	t->eof = t->ret != YES;
	END(t->eof);
}

static bool satisfied(const struct thread *t)
{
	return t->got > 0;
}

static enum step receive(struct thread *t)
{
	BEGIN(F_RECEIVE)
	for (;;) {
		v[0] = 0;
		if (t->blocking) {
			OP(v[0] = load(t, WANT_SWITCH) || may_spin(t));
		}
		if (!v[0]) {
			CALL(receive_direct(t));
			if (t->ret == 2)
				RETURN(0);
			if (t->ret && satisfied(t))
				RETURN(0);
		}
		CALL(take_locked(t));
		if (satisfied(t))
			RETURN(0);
		if (t->eof) {
			CALL(ready(t));
			if (t->ret != YES)
				RETURN(0);
			t->eof = false;
			continue;
		}
		if (t->blocking) {
			v[1] = may_spin(t);
			if (v[1]) {
				CALL(spin(t));
				v[1] = t->ret;
			}
			if (v[1])
				continue;
			OP(v[0] = load(t, WANT_SWITCH));
			if (!v[0]) {
				CALL(receive_direct(t));
				if (t->ret)
					RETURN(0);
			}
		}
		CALL(sleep_on_token(t));
		if (t->ret)
			RETURN(0);
	}
	END(0);
}

/* stream_quiesce and close() */
static enum step close_socket(struct thread *t)
{
	BEGIN(F_QUIESCE)
	store(t, CLOSING, 1);
	if (!mutated("fence_closing"))
		FENCE();
	if (!mutated("wait_ringing"))
		WHEN(!now->mem[RINGING] || now->killed, (void)0);
	if (!mutated("drain_closing"))
		CALL(settle_late(t));
	ATOMIC({
		if (now->queued && now->delivered == now->sent)
			found("a doorbell is unread at close: the end becomes a reset");
		now->closed = true;
	});
	END(0);
}

static void at_the_end(void)
{
	if (now->mem[RW] != now->mem[RR] || (!now->killed && now->delivered != now->sent))
		found("the end was told before the data");
}

/* inline_available; ret: payload that has arrived.  v: 0 in TCP, 1 segment, 2 segw, 3 b, 4 sum, 5 from */
static enum step available(struct thread *t)
{
	BEGIN(F_AVAILABLE)
	OP(v[2] = load(t, SEGW));
	ATOMIC(v[0] = now->queued);
	for (v[1] = load(t, SEGR); v[1] != v[2]; v[1]++) {
		OP(v[3] = load(t, SEG_B + v[1] % SEGMENTS));
		v[5] = load(t, SEG_A + v[1] % SEGMENTS);
		if (v[5] < load(t, RX))
			v[5] = load(t, RX);
		if (v[3] >= READING || v[3] > load(t, RX) + v[0])
			v[3] = load(t, RX) + v[0];
		if (v[3] > v[5])
			v[4] += v[3] - v[5];
	}
	END(v[4]);
}

/* shm_really_readable; ret = 1: the program is told.  v: 0 looks, 1 bytes in TCP */
static enum step really_readable(struct thread *t)
{
	BEGIN(F_READABLE)
	for (v[0] = 0; v[0] < LOOKS; v[0]++) {
		CALL(ready(t));
		if (t->ret == YES)
			RETURN(1);
		CALL(inline_open(t));
		if (t->ret)
			RETURN(1);
		CALL(settle_late(t));
		CALL(ready(t));
		if (t->ret == YES)
			RETURN(1);
		ATOMIC({ v[1] = now->queued; v[2] = now->fin; });
		if (!v[1] && v[2])
			RETURN(1);
		CALL(ready(t));
		if (!v[1])
			RETURN(t->ret == YES);
		if (t->ret == KERNEL) {
			if (mutated("told_of_doorbell"))
				RETURN(1);
			CALL(available(t));
			if (t->ret)
				RETURN(1);
		}
	}
	END(1);
}

/* A level-triggered wait of ours, which asks the kernel and corrects its answer. */
static enum step seen_wait(struct thread *t)
{
	BEGIN(F_SPIN)
	do {
		WHEN(t->stores == 0 && (now->fin || now->queued), (void)0);
		CALL(really_readable(t));
	} while (!t->ret);
	t->told = true;
	END(0);
}

/* A wait that the library does not see. */
static enum step unseen_wait(struct thread *t)
{
	BEGIN(F_SPIN)
	WHEN(t->stores == 0 && (now->fin || (scenario->edge_triggered ? now->arrived : now->queued)), now->arrived = false);
	END(0);
}

/* wait_epoll_ctl with EPOLLET: what lies there is told once, what comes later must ring. */
static enum step arm(struct thread *t)
{
	BEGIN(F_SPIN)
	store(t, EDGE, 1);
	if (!mutated("fence_edge"))
		FENCE();
	CALL(ready(t));
	END(t->ret == YES);
}

/* try_switch of shim/upgrade.c, by another thread than the one that calls */
static enum step try_switch(struct thread *t)
{
	BEGIN(F_SPIN)
	store(t, AWAY, SWITCHING);
	if (!mutated("fence_switch"))
		FENCE();
	OP(v[0] = load(t, CALLING));
	if (!v[0] || mutated("switch_recheck"))
		store(t, AWAY, ON);
	else
		store(t, AWAY, 0);
	FENCE();
	END(0);
}

enum step run_reader(struct thread *t)
{
	BEGIN(F_MAIN)
	if (scenario->handover) {
		CALL(try_switch(t));
		RETURN(0);
	}
	t->blocking = scenario->reader[me(t) - READER].blocking;
	t->room = scenario->reader[me(t) - READER].room;
	do {
		CALL(receive(t));
		if (t->eof)
			at_the_end();
		v[0] = t->got;
		t->got = 0;
		if (t->told && !v[0] && !t->eof)
			found("the program was told of input where there was none");
		t->told = false;
		if (scenario->wants_inline && !t->calls) {
			store(t, WANT_INLINE, 1);
			if (!mutated("fence_plain") && !mutated("fence_prefer"))
				FENCE();
		}
		if (t->calls < scenario->reader[me(t) - READER].calls || scenario->wants_inline)
			t->calls = t->calls < 9 ? t->calls + 1 : 9;
		if (!v[0] && !t->eof && scenario->arms && !load(t, EDGE)) {
			CALL(arm(t));
			v[1] = t->ret;
		}
		if (!v[0] && !v[1] && !t->eof && (scenario->edge || scenario->arms))
			CALL(unseen_wait(t));
		if (!v[0] && !t->eof && scenario->waits)
			CALL(seen_wait(t));
		v[1] = 0;
	} while (!t->eof && (!scenario->reader[me(t) - READER].calls || t->calls != scenario->reader[me(t) - READER].calls));
	if (scenario->closes)
		CALL(close_socket(t));
	END(0);
}
