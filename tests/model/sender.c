/* The sending half: rdma/produce.c and the sender of rdma/block.c, one shared operation a step. */
#include "explore.h"

#include <string.h>

enum { IDLE, OFFERED, CLAIMED, GO, PULLED, MOVED, WITHDRAWN, REVOKED }; /* MOVED: GO, and all chunks are flagged */

static bool edge(uint8_t seen)
{
	return scenario->edge || seen;
}

/* stream_peer_polls and may_elide: ret = 1 if nobody has to be woken */
static enum step may_elide(struct thread *t)
{
	BEGIN(F_ELIDE)
	OP(v[0] = load(t, POLLER));
	OP(v[1] = load(t, SLEEPERS));
	if (scenario->arms)
		OP(v[2] = load(t, EDGE));
	END(v[0] && !v[1] && !edge(v[2]));
}

static enum step doorbell(struct thread *t)
{
	static const uint8_t bell = 0;

	BEGIN(F_DOORBELL)
	if (scenario->closes) {
		store(t, RINGING, 1);
		if (!mutated("fence_ringing"))
			FENCE();
		OP(v[0] = load(t, CLOSING));
		if (v[0]) {
			store(t, RINGING, 0);
			RETURN(1);
		}
	}
	ATOMIC({ v[1] = tcp_room() > 0; if (v[1]) tcp_put(&bell, 1); });
	if (v[1])
		store(t, TX, ++t->tx); /* count_tx */
	if (scenario->closes)
		store(t, RINGING, 0);
	END(v[1]);
}

/* peer_takes_it_soon; how often it looks is the clock's choice */
static enum step takes_it_soon(struct thread *t)
{
	BEGIN(F_SOON)
	do {
		OP(v[0] = load(t, RR));
		if (v[0] == t->rw)
			RETURN(1);
		if (!mutated("fence_defer"))
			FENCE();
		CALL(may_elide(t));
		if (t->ret)
			RETURN(1);
		OP(v[0] = load(t, SLEEPERS));
		if (v[0])
			RETURN(0);
		OP(v[0] = (uint8_t)choose(2));
	} while (v[0]);
	END(0);
}

static enum step defer(struct thread *t)
{
	return scenario->may_defer ? takes_it_soon(t) : (t->ret = 0, DONE);
}

/* is_taken; ret = 1: there is nothing to be woken for */
static enum step is_taken(struct thread *t)
{
	BEGIN(F_SOON)
	OP(v[0] = load(t, RR));
	if (v[0] != t->rw || scenario->edge)
		RETURN(0);
	if (scenario->arms)
		OP(v[1] = load(t, EDGE));
	if (scenario->offers)
		OP(v[2] = load(t, BLOCK_STATE));
	END(!v[1] && v[2] == IDLE);
}

/* stream_notify */
static enum step notify(struct thread *t)
{
	BEGIN(F_NOTIFY)
	if (!mutated("fence_publish"))
		FENCE();
	CALL(is_taken(t));
	if (t->ret)
		RETURN(1);
	if (scenario->wants_inline && !mutated("taken_inline")) {
		OP(v[0] = load(t, WANT_INLINE));
		if (v[0]) {
			OP(v[0] = load(t, RR));
			if (v[0] == t->rw)
				RETURN(1);
		}
	}
	if (scenario->may_spin) {
		CALL(may_elide(t));
		if (t->ret)
			RETURN(1);
		OP(v[0] = load(t, SPINNER));
		OP(v[1] = load(t, SLEEPERS));
		OP(v[2] = load(t, TOKEN));
		if (v[0] && !v[1] && !scenario->edge && !scenario->arms && v[2] != t->segw) {
			CALL(defer(t));
			if (t->ret)
				RETURN(1);
		}
	}
	ATOMIC({ v[0] = now->mem[TOKEN]; now->mem[TOKEN] = t->segw; });
	if (scenario->arms)
		OP(v[1] = load(t, EDGE));
	if (v[0] == t->segw && !edge(scenario->arms ? v[1] : 0))
		RETURN(1);
	if (mutated("doorbell"))
		RETURN(1);
	do {
		CALL(doorbell(t));
		v[0] = t->ret || mutated("doorbell_gives_up");
		if (!v[0]) /* no room: there will be some, for what fills TCP is read or acknowledged in the end */
			WHEN(tcp_room() > 0, (void)0);
	} while (!v[0]);
	END(0);
}

static enum step tell(struct thread *t)
{
	BEGIN(F_TELL)
	if (t->untold)
		CALL(notify(t));
	t->untold = 0;
	END(0);
}

static enum step open_segment(struct thread *t)
{
	BEGIN(F_OPEN)
	store(t, SEG_X + t->segw % SEGMENTS, t->rw);
	store(t, SEG_A + t->segw % SEGMENTS, t->tx);
	store(t, SEG_B + t->segw % SEGMENTS, OPEN);
	store(t, SEGW, ++t->segw);
	t->ring_mode = 0;
	OP((void)0);
	END(0);
}

/* ret = 1: the ring may be written */
static enum step enter_ring(struct thread *t)
{
	BEGIN(F_ENTER_RING)
	if (t->ring_mode)
		RETURN(1);
	OP(v[0] = load(t, SEGR));
	if ((uint8_t)(t->segw - v[0]) > SEGMENTS - PATIENCE)
		RETURN(0);
	v[1] = SEG_B + (t->segw - 1) % SEGMENTS;
	ATOMIC({ v[2] = now->mem[v[1]] == OPEN; if (v[2]) now->mem[v[1]] = t->tx; }); /* close_segment */
	if (!v[2]) {
		store(t, WANT_SWITCH, 1);
		RETURN(0);
	}
	OP(v[0] = load(t, WANT_SWITCH));
	if (v[0])
		store(t, WANT_SWITCH, 0);
	t->ring_mode = 1;
	if (!mutated("fence_enter"))
		FENCE();
	if (scenario->may_spin) { /* may_leave_without_doorbell */
		CALL(may_elide(t));
		if (t->ret)
			RETURN(1);
		OP(v[0] = load(t, SPINNER));
		OP(v[2] = load(t, SLEEPERS));
		if (v[0] && !v[2] && !scenario->edge && !scenario->arms)
			RETURN(1);
	}
	ATOMIC(now->mem[TOKEN] = t->segw);
	if (mutated("first_doorbell"))
		RETURN(1);
	CALL(doorbell(t));
	if (t->ret)
		RETURN(1);
	CALL(open_segment(t));
	END(0);
}

/* block_let_go */
static enum step withdrawn_is_sent(struct thread *t)
{
	BEGIN(F_OPEN)
	if (scenario->offers)
		ATOMIC({ if (now->mem[BLOCK_STATE] == WITHDRAWN) now->mem[BLOCK_STATE] = IDLE; });
	END(0);
}

/* ret = 1: something was published; room is not waited for, which is the clock's business */
static enum step send_ring(struct thread *t)
{
	BEGIN(F_SEND_RING)
	OP(v[0] = load(t, RR));
	v[1] = scenario->ring - (uint8_t)(t->rw - v[0]);
	if (!v[1])
		RETURN(0);
	if (v[1] > t->left)
		v[1] = t->left;
	for (v[2] = 0; v[2] < v[1]; v[2]++)
		store(t, CELL + (t->rw + v[2]) % RING, ++now->sent);
	t->rw += v[1];
	t->left -= v[1];
	store(t, RW, t->rw);
	t->untold = 1;
	OP((void)0);
	CALL(withdrawn_is_sent(t));
	if (!t->left || choose(2)) /* an awake peer finds the rest by itself, or is told now */
		RETURN(1);
	CALL(tell(t));
	END(1);
}

/* The real send, which sleeps while TCP is full, or says so and is called again. */
static enum step send_inline(struct thread *t)
{
	static uint8_t bytes[QUEUE];

	BEGIN(F_SEND_INLINE)
	if (t->ring_mode)
		CALL(open_segment(t));
	WHEN(t->stores == 0 && tcp_room() > 0, {
		v[0] = (uint8_t)(tcp_room() < t->left ? tcp_room() : t->left);
		for (unsigned i = 0; i < v[0]; i++)
			bytes[i] = ++now->sent;
		tcp_put(bytes, v[0]);
	});
	t->left -= v[0];
	t->tx += v[0];
	store(t, TX, t->tx);
	CALL(withdrawn_is_sent(t));
	END(0);
}

/* block_offer with wait_for_receiver; ret = bytes that the reader took.  A dead sender's memory cannot be read. */
static enum step offer(struct thread *t)
{
	BEGIN(F_OFFER)
	ATOMIC({ now->mem[BLOCK_X] = t->rw; now->mem[BLOCK_LEN] = t->left; now->mem[BLOCK_N] = now->sent; });
	ATOMIC(now->mem[BLOCK_STATE] = OFFERED);
	if (!mutated("doorbell_offer"))
		CALL(notify(t));
	for (;;) {
		OP(v[0] = load(t, BLOCK_STATE));
		if (v[0] == OFFERED && choose(2)) { /* the bound has passed */
			ATOMIC({ v[0] = now->mem[BLOCK_STATE]; if (v[0] == OFFERED) now->mem[BLOCK_STATE] = mutated("told_of_withdrawn") ? IDLE : WITHDRAWN; });
			if (v[0] == OFFERED)
				RETURN(0);
		}
		if (v[0] == REVOKED)
			RETURN(0);
		if (v[0] == PULLED || v[0] == MOVED)
			break;
	}
	OP(v[1] = load(t, BLOCK_N));
	t->left -= v[1];
	if (v[0] == PULLED) {
		t->rw += v[1];
		store(t, RW, t->rw);
	}
	ATOMIC(now->mem[BLOCK_STATE] = IDLE);
	END(v[1]);
}

static enum step send_all(struct thread *t)
{
	BEGIN(F_SEND_ALL)
	while (t->left) {
		v[1] = 1;
		if (scenario->wants_inline) { /* ring_allowed */
			OP(v[1] = !load(t, WANT_INLINE));
		}
		/* wants_ring: how big, how fast and how awake the peer is */
		if (v[1] && (scenario->must_ring || choose(2))) {
			CALL(enter_ring(t));
			if (t->ret) {
				v[0] = scenario->offers && !v[2] && choose(2);
				if (v[0]) {
					v[2] = 1; /* once a send */
					CALL(offer(t));
					t->untold = 0;
					continue;
				}
				CALL(send_ring(t));
				if (t->ret)
					continue;
			}
		}
		if (!mutated("tell_before_inline"))
			CALL(tell(t));
		CALL(send_inline(t));
	}
	if (!mutated("tell_at_end"))
		CALL(tell(t));
	END(0);
}

/* plain_enter or sock_plain_begin, the plain call, plain_leave or sock_plain_end; a call that finds the direction handed over is over. */
static enum step plain_call(struct thread *t)
{
	BEGIN(F_SEND_INLINE)
	for (;;) {
		ATOMIC(now->mem[CALLING]++);
		OP(v[0] = load(t, AWAY));
		if (!v[0] || mutated("plain_recheck"))
			break;
		ATOMIC(now->mem[CALLING]--);
		OP(v[0] = load(t, AWAY));
		if (v[0] == ON)
			RETURN(0);
	}
	OP({ if (now->mem[AWAY] == ON) found("a plain call is under way in a direction that is handed over"); });
	ATOMIC(now->mem[CALLING]--);
	END(0);
}

enum step run_sender(struct thread *t)
{
	BEGIN(F_MAIN)
	if (scenario->handover) {
		CALL(plain_call(t));
		CALL(plain_call(t));
		RETURN(0);
	}
	while (scenario->messages[t->message]) {
		t->left = scenario->messages[t->message++];
		CALL(send_all(t));
		if (scenario->leaves && t->ring_mode && choose(2))
			CALL(open_segment(t));
	}
	if (scenario->fin)
		ATOMIC(now->fin = true);
	else
		FENCE();
	END(0);
}
