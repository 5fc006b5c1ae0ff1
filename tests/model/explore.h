/*
 * An explicit-state model checker, and the machine that the model's threads run on: shared memory
 * with a store buffer for each thread (x86's total store order), one direction of a TCP connection,
 * and ghost state for the properties.  Every interleaving of single shared operations is tried,
 * breadth first, so that the interleaving that is printed for a fault is a shortest one.
 *
 * A thread is a nest of functions that mirror the C functions of the same name.  Each remembers where
 * it stands (`pc`), performs one shared operation and yields; its locals live in the state and are
 * forgotten at its end, so that states that differ only in the past are one.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SENDER, READER, OTHER, THREADS };
enum { SEGMENTS = 5, PATIENCE = 3, RING = 4, BUFFERED = 10, QUEUE = 8, LOCALS = 6 };
enum { OPEN = 255, READING = 254 };
enum { SWITCHING = 1, ON = 2 }; /* of AWAY */

/* Shared memory, one byte a location; segments and ring cells are arrays. */
enum loc {
	RW, TX, SEGW, RINGING, RR, RX, SEGR, POLLER, SLEEPERS, SPINNER, WANT_INLINE, WANT_SWITCH, CLOSING, TOKEN,
	BLOCK_STATE, BLOCK_X, BLOCK_LEN, BLOCK_N, LOCK, READER_ID, EDGE, CALLING, AWAY,
	SEG_X, SEG_A = SEG_X + SEGMENTS, SEG_B = SEG_A + SEGMENTS, CELL = SEG_B + SEGMENTS, LOCATIONS = CELL + RING,
};

enum frame {
	F_MAIN, F_SEND_ALL, F_SEND_RING, F_SEND_INLINE, F_TELL, F_NOTIFY, F_SOON, F_ELIDE, F_DOORBELL, F_ENTER_RING,
	F_OPEN, F_OFFER,
	F_RECEIVE = F_SEND_ALL, F_DIRECT = F_SEND_RING, F_TAKE_LOCKED, F_TAKE, F_TAKE_INLINE, F_MARK, F_SWALLOW,
	F_SETTLE, F_LATE, F_SETTLE_LATE, F_READY, F_SLEEP, F_SPIN, F_CLAIM, F_INLINE_OPEN, F_QUIESCE, F_NEWS,
	F_CLEAR, F_RESTORE, F_LOCK, F_READABLE, F_AVAILABLE, FRAMES,
};

struct thread {
	uint16_t pc[FRAMES];
	uint8_t v[FRAMES][LOCALS]; /* locals of each function */
	uint8_t ret;          /* what the last function returned */
	uint8_t stores;
	uint8_t store[BUFFERED][2];
	bool done;
	/* of a sender */
	uint8_t ring_mode, segw, rw, tx, message, left, untold;
	/* of a reader */
	uint8_t room, got, calls;
	bool eof, blocking, no_cma, told;
};

struct state {
	struct thread t[THREADS];
	uint8_t mem[LOCATIONS];
	/* TCP: 0 is a doorbell, other bytes are payload, numbered from 1 */
	uint8_t queue[QUEUE], queued, unacked;
	bool fin, closed, arrived, killed;
	uint8_t sent, delivered; /* payload bytes accepted from the sender's program, handed to the reader's */
};

enum step { BUSY, BLOCKED, DONE };

enum polling { POLLS_OR_NOT, NEVER, ALWAYS };

struct scenario {
	const char *name, *says;
	uint8_t messages[4];
	uint8_t tcp, ring;       /* bytes that fit */
	bool inline_start;       /* the first message's direction is not closed yet */
	bool edge, edge_triggered; /* the reader waits where nobody sees it */
	bool kill, fin, lazy_ack, may_spin, may_defer, offers, closes, must_ring, wants_inline, arms, handover, waits, leaves;
	struct { bool blocking; uint8_t room, calls; enum polling polls; } reader[2]; /* room 0: no such reader; calls 0: until the end */
};

extern const struct scenario *scenario;
extern const char *mutation; /* what is left out; NULL: nothing */
extern struct state *now;
extern const char *fault;
extern const char *did_in, *did_what;

bool mutated(const char *name);
unsigned choose(unsigned n);
void found(const char *what);

/* Memory as this thread sees it. */
uint8_t load(const struct thread *t, unsigned loc);
void store(struct thread *t, unsigned loc, uint8_t v);

/* Explores the scenario from `start`; the fault or NULL.  *ret_states: how many states there are. */
const char *explore(const struct state *start, bool show, size_t *ret_states);

enum step run_sender(struct thread *t);
enum step run_reader(struct thread *t);

void tcp_put(const uint8_t *bytes, unsigned n);
unsigned tcp_take(uint8_t *bytes, unsigned n);
unsigned tcp_room(void);

#define BEGIN(f) uint16_t *pc = &t->pc[f]; uint8_t *v = t->v[f]; (void)v; switch (*pc) { case 0:
/* The end of a function: back to its caller without a step of its own. */
#define RETURN(value) do { t->ret = (value); *pc = 0; for (int i_ = 0; i_ < LOCALS; i_++) v[i_] = 0; return DONE; } while (0)
#define END(value) } RETURN(value)
#define NOTE(text) (did_in = __func__, did_what = text)
#define YIELD do { *pc = __LINE__; return BUSY; case __LINE__:; } while (0)
/* One operation on what others see. */
#define OP(what) do { what; NOTE(#what); YIELD; } while (0)
/* One on what only a second reader could see. */
#define OP2(what) do { what; NOTE(#what); if (scenario->reader[1].room) { *pc = __LINE__; return BUSY; case __LINE__:; } } while (0)
/* Waits until cond; `what` is done in the same step. */
#define WHEN(cond, what) do { *pc = __LINE__; case __LINE__: if (!(cond)) return BLOCKED; OP_AFTER(what); } while (0)
#define OP_AFTER(what) what; NOTE(#what); *pc = __LINE__ + 10000; return BUSY; case __LINE__ + 10000:;
/* Read-modify-write, fence, system call: what was stored is seen before. */
#define ATOMIC(what) WHEN(t->stores == 0, what)
#define FENCE() WHEN(t->stores == 0, (void)0)
#define CALL(f) do { *pc = __LINE__; case __LINE__:; enum step s_ = (f); if (s_ != DONE) return s_; } while (0)
