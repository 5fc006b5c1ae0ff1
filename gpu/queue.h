/*
 * One queue per CUDA context: what the program asked for and the driver has not been told yet, in
 * the order of the calls. README.md says what may wait here and what drains it.
 *
 * Threading: `put` serialises those who add (the ticket of the total order) and protects what was
 * learned; `submit` serialises those who talk to the driver: the context's submitter, a thread that
 * drains, or the thread that finds everything idle and launches inline. `put` is taken first.
 */
#pragma once
#include "driver.h"
#include "handles.h"
#include "futex.h"
#include "op.h"
#include "ring.h"

#include <pthread.h>

#define MAX_QUEUES 64

struct batch;

struct gpu_queue {
	_Atomic(CUcontext) ctx; /* may change while `put` is not held: closed, and used again */
	_Atomic bool live;
	struct lock put, submit;
	struct ring ring;
	_Atomic uint64_t put_n, done_n; /* operations taken in, handed to the driver */
	_Atomic int error;              /* of an operation whose call had returned; told once */

	/* put: what succeeded before and may therefore be deferred */
	struct handles streams, events, combos, kernels, attributes;
	struct handles recorded; /* event: the stream of its last record */
	struct handles marks;    /* functions that begin a step */
	unsigned attributes_by; /* the row that set one of a function last */
	char *arena;
	size_t arena_used;

	/* submit */
	CUstream last_stream;
	_Atomic bool quiet; /* nothing was submitted since the program last waited for the GPU */
	_Atomic bool failed; /* the context is broken for good: the driver answers every call itself */
	struct batch *batch;
	_Atomic bool owing; /* streams still have to wait for the end of a graph */
	_Atomic bool passed_by; /* a call went to the driver past the queue */
	_Atomic bool waited; /* the last such call waited for all streams */

	/* The thread that calls, as long as it is always the same one. */
	_Atomic(pthread_t) caller;
	_Atomic bool shared;

	/* the submitter */
	pthread_t thread;
	_Atomic bool started;
	_Atomic bool stop;
	_Atomic uint32_t asleep, wakes;
};

extern _Atomic bool gpu_deferring; /* false: every call goes straight to the driver */
extern struct gpu_queue gpu_queues[MAX_QUEUES];
extern _Atomic unsigned gpu_queue_count;

/*
 * The current context's queue with `put` held, when the call of this row on this stream may be
 * deferred; otherwise NULL, and the caller goes queue_direct ... real ... queue_direct_done.
 */
struct gpu_queue *queue_enter(unsigned row, CUstream stream);
bool queue_may_defer(unsigned row, CUstream stream);
void queue_leave(struct gpu_queue *q);
void queue_direct(unsigned row);
/*
 * A call of this row goes to the driver past the queue, with nothing queued before it, and is through: what it puts
 * on a stream may come at any moment between the two.
 */
void queue_pass(unsigned row);
void queue_passed(unsigned row);
/* The same of one whose end we do not see. */
void queue_pass_unseen(void);
/* Another thread's may be under way. With `submit` held; what began later waits for that lock, or for nothing of ours. */
bool queue_is_passed(struct gpu_queue *q);
/* Learns that this stream is a good one. */
void queue_direct_done(unsigned row, CUstream stream, CUresult result);

/* The place in the order of the operation that is put next. */
uint64_t queue_ticket(const struct gpu_queue *q);
/* Room for an operation; never NULL for sizes up to OP_MAX: a full queue is submitted first. */
void *queue_reserve(struct gpu_queue *q, size_t bytes);
/* Takes the operation in and drops `put`. The result is the driver's if it ran inline. */
CUresult queue_commit(struct gpu_queue *q, struct op *op, size_t bytes);

void queue_drain(struct gpu_queue *q);
void gpu_drain_all(void);
/*
 * The error of a deferred operation that nobody was told of yet: of this context (NULL: the current one), and of
 * that of the stream or event that the program waits for, if it names one (else 0).
 */
CUresult queue_take_error(CUcontext ctx, uint64_t waits_for, struct gpu_queue **ret_from);
/* Nobody was told after all. */
void queue_put_back_error(struct gpu_queue *from, CUresult late);
/* The program waits for the GPU now: what follows finds it idle. */
void queue_note_sync(void);
/* For all streams of the current context, with nothing of theirs queued. */
void queue_note_sync_all(void);

/* The queue of a context, made on first use; NULL if there is no room. */
struct gpu_queue *queue_of(CUcontext ctx);
struct gpu_queue *queue_of_current(void);

/* Forgets what was learned: of one stream or event, or (modules, contexts) everything. */
void queues_forget_stream(CUstream stream);
void queues_forget_event(CUevent event);
void queues_forget_events(void);
void queues_forget_all(void);
/* With `put` held. */
void queue_forget(struct gpu_queue *q);
/* Attributes of a stream are set: graphs have what their streams had when they were made. */
void queues_stream_attributes(void);
/*
 * An attribute of a function or context was set: launches must prove themselves again. `by`: the row, where
 * another can set the same; else 0.
 */
void queues_attribute(unsigned by, uint64_t what, uint64_t value);
/*
 * The context goes away: its submitter ends, its graphs are given back. Returns the error of a deferred operation
 * that nobody was told of.
 */
CUresult queues_close(CUcontext ctx);
/* The primary context of the device, as the program was last told it; NULL: never. */
void queues_note_primary(CUdevice device, CUcontext ctx);
CUcontext queues_primary(CUdevice device);
/* Device memory of ours, given back; false if there was none. */
bool queues_give_back(void);

/* In the child of a fork: nothing of ours happens any more. */
void queues_after_fork(void);
