/*
 * The transport between hosts.  Files follow the data: `verbs_meet` (finding each other), `verbs_return` (and again),
 * `verbs_thread` (the progress thread), `verbs_link` (devices, queue pairs), `verbs_completions`, `verbs_send`, `verbs_offer` and
 * `verbs_place`, `verbs_recv`, `verbs_stream` (the transport's table).
 *
 * Threading: the thread owns connections being made and unmade; streams post and poll from any thread
 * of the process that made the link, and only from that process: a fork's child has the mapping, not the
 * device.  Lock order: side locks, then device.cq_lock, then link.sq_lock; under cq_lock no side lock is
 * taken, so what a completion means is left in atomics of the link.
 */
#pragma once
#include "meeting.h"
#include "memreg.h"
#include "stream.h"
#include "sys.h"
#include "verbs_frame.h"
#include "verbs_wire.h"

#include <pthread.h>
#include <sched.h>

struct ibv_qp;
struct ibv_context;
struct rdma_cm_id;
struct meeting;
struct device;
struct links;

enum link_state { LINK_MAKING, LINK_UP, LINK_DOWN };

enum { PACE_LAST = 4, PACE_BYTES = 65536 };

/* Ticks that the last few waits of a kind have taken, for each PACE_BYTES of what was waited for. */
struct pace {
	_Atomic uint64_t took[PACE_LAST];
	_Atomic unsigned next;
};

/*
 * One queue pair and the memory around it.  Lies, with both rings, in a mapping that a fork's child shares:
 * it goes on reading what has arrived, and asks for the link to be taken down (`wanted_down`).
 */
struct link {
	struct links *links;
	_Atomic uint32_t state;
	_Atomic bool wanted_down;
	_Atomic bool news;            /* a message for the thread */
	uint64_t pinged;              /* thread only */
	struct device *device;        /* NULL: none yet */
	struct rdma_cm_id *id;
	struct ibv_qp *qp;
	uint32_t qpn, name;           /* name: what both ends call it, NAME_BITS wide */
	struct link *next;            /* device's list, under cq_lock */
	uint64_t heard_turn;          /* under cq_lock: messages taken in one turn, and in which */
	unsigned heard;
	bool adverts, calms;          /* the peer knows what they are */
	void *memory;                 /* struct ibv_mr of both rings */
	void *_Atomic bounce_memory;  /* and of the bounce buffer, once it is used; made under side.c */
	void *window;                 /* struct ibv_mw, once a buffer is advertised; under sq_lock */
	uint32_t window_rkey;         /* that it was last bound with; under side.c */
	struct memreg_hold *_Atomic window_memory; /* what it is bound to */
	void *block_window;           /* struct ibv_mw, once a block is offered; under sq_lock */
	uint32_t block_rkey;          /* by which that can be read now, 0: by none; under side.p */
	void *ring_window;            /* struct ibv_mw, for the peer's queue pair alone; NULL: whoever has rkey may write to the ring */
	uint32_t lkey, rkey;
	uint64_t ring_bytes;          /* of each */
	_Atomic uint64_t counted;     /* within DLACCEL_NET_MEMORY */
	char *staging, *ring, *bounce; /* ours to send from; the peer's to write; ours to read blocks into */
	struct peer_words *words;      /* the peer's to write; the claim: to be looked at when the link is quiet */
	uint64_t peer_ring;
	uint32_t peer_rkey;

	alignas(64) _Atomic int sq_lock;
	uint64_t posted, unsignalled; /* work requests */
	_Atomic uint64_t acked;       /* of these, known to be done */
	_Atomic uint64_t completed;   /* or known to have failed */
	_Atomic uint64_t ack_ticks;   /* how long an acknowledgement has taken lately */
	struct pace acks, reads, places, blocks; /* blocks: of ours */

	/* sending: side->p; what completions tell */
	alignas(64) uint64_t ring_w;
	_Atomic uint64_t peer_taken;   /* ring position */
	_Atomic uint64_t peer_at;      /* stream offset */
	_Atomic uint64_t peer_counted; /* 1 + CONTROL_COUNTED's offset; 0: not said */
	_Atomic bool peer_inline, peer_here; /* peer_here: to the peer, too, it is up */
	_Atomic uint64_t done_bytes;   /* CONTROL_DONE */
	_Atomic uint32_t done_id;      /* a futex */
	_Atomic uint32_t done_waits;   /* somebody sleeps on it */
	_Atomic uint32_t advert_turn;  /* odd: advert[] is being written, under cq_lock */
	_Atomic uint64_t advert[sizeof(struct advert) / 8]; /* the last that came */
	uint32_t advert_done;          /* id of the last that was written to, or given up */
	_Atomic uint32_t recall;       /* the peer wants that one back */
	uint32_t recall_answered;

	/* receiving: side->c; records from `arrived` on are not there, whatever lies in the memory */
	alignas(64) _Atomic uint64_t arrived;
	_Atomic uint64_t ring_r;       /* verbs_ring_has looks without the lock */
	uint64_t told;
	uint64_t unrung;               /* ring position up to which records were taken for what they are, without a doorbell */
	_Atomic bool told_polls;       /* the peer may leave its doorbells out */
	uint64_t told_seq;             /* the request that took that back */
	_Atomic uint32_t withdrawn;    /* block id that the peer takes back */
	_Atomic uint32_t recalled;     /* advert id that the peer writes to no more */
	_Atomic bool advert_out;       /* a call may yet look at `placed`, and revoke its window: the room is not made another link's */
	_Atomic bool broken;           /* the peer said what cannot be */
	struct intro intro;            /* the peer's, once intro_here */
	_Atomic bool intro_here;
};

enum { LINKS = 3, LOCK_YIELDS = 8, LOCK_DOUBLINGS = 6 };

/* A stream's links, one at a time but for what is left to read of one that has failed; with their memory in one mapping. */
struct links {
	_Atomic int lock;            /* the thread and the stream's end: `reader` */
	struct verbs_stream *reader; /* whose they are; NULL: nobody's any more */
	struct meeting *meeting;
	_Atomic int poll_lock;       /* what the peer is told of our polling, and: */
	_Atomic int sleepers;        /* threads in the kernel; then nobody polls */
	uint64_t ring_bytes;         /* there is room for */
	size_t room, bytes;          /* of each link behind this structure; of all */
	struct link link[LINKS];
};

/* What of a verbs stream a fork family shares, beyond the peer's reach. */
struct verbs_side {
	struct side side; /* first: stream->side points to it */

	/* sending, under side.p */
	struct frame_out out;
	_Atomic uint64_t tx_at;
	uint64_t frames_from;  /* offset at which frames begin; UINT64_MAX: not agreed */
	_Atomic uint32_t sends_by; /* the newest of the stream's links */
	bool failed_over;      /* FRAME_FAILOVER is sent */
	bool returning;        /* to `sends_by`, and on no link until FRAME_RETURN is sent */
	uint64_t left_ring;    /* until then heads say where the ring was left that was sent by before */
	uint32_t name;         /* of the link that was last sent by */
	_Atomic bool left;     /* FRAME_PLAIN is sent */
	uint32_t finishing;    /* the thread whose call must end before any other sends; 0: none */
	uint32_t block_id;     /* of the last block offered */

	/* receiving, under side.c */
	struct frame_in in;
	_Atomic uint32_t reads_by; /* the link that heads speak of */
	bool link_over;         /* FRAME_FAILOVER has come: nothing of it but what lies there */
	_Atomic uint32_t peer_name; /* of the link that the peer said it sends by */
	_Atomic uint32_t last_up;   /* the newest that has been up; thread only writes */
	_Atomic uint32_t taken; /* how often something has been taken out of TCP */
	_Atomic uint32_t direct; /* receives that take plain TCP by the kernel's own call; one that never came back stays counted */
	_Atomic uint64_t rx_at;
	_Atomic uint64_t mark_at; /* where the mark may stand; UINT64_MAX: nowhere */
	uint64_t mark_gap;
	uint32_t mark_seen;    /* bytes of it that have been taken out of TCP */
	uint32_t spare_at, spare_end; /* these turned out to be payload: of mark[] */
	_Atomic bool framed, peer_left;
	struct {               /* the offered block whose head stands next in TCP; length 0: none */
		uint64_t at, address, length, taken;
		uint32_t rkey, id;
		bool over;     /* taken back */
	} block;
	uint32_t finished;     /* the last block that was read to its end */
	uint32_t answered;     /* the last block whose taking back was answered */
	uint32_t bounce_at, bounce_end; /* bytes read from it that the program has not had */
	struct {               /* the buffer that a call waits with, and has told the peer of */
		uint64_t at, length;
		uint32_t id, link;
		_Atomic uint32_t owner; /* thread; 0: none is out */
	} advert;
	uint32_t advert_id;    /* of the last */
	uint8_t mark_in[MARK_BYTES], mark_out[MARK_BYTES];
	_Atomic bool edge;
	_Atomic bool forked; /* used by a process that has no device: no new link */
};

/*
 * Receives of so many bytes that had to wait: what came then was long, more often than not.  Where it has been both, each place
 * in the program that waits for so many has its own; `site` 0 is all of them.
 */
enum { HABITS = 16 };
struct habit {
	size_t length;
	uint64_t site;
	unsigned worth, seen; /* seen: bit 0 short, bit 1 long */
};

struct verbs_stream {
	struct stream base;
	struct verbs_side *v;
	struct links *links;
	uint64_t last_look;   /* at the kernel's state of the connection, by a sender that rings for nothing; side->p */
	_Atomic unsigned unrung; /* hint: so many in a row came without a doorbell */
	_Atomic bool frames_pay; /* hints, while plain: what we receive is worth frames; */
	_Atomic uint64_t slept_at; /* since when somebody sleeps, and */
	_Atomic unsigned short_sleeps; /* how many in a row ended within a spin's time */
	uint64_t aside_at;       /* what had been received when a send last stepped aside, and how often it has since; side->p */
	unsigned asides;
	struct habit habits[HABITS]; /* under side.c */
	unsigned habit_next;         /* that gives its place to a new one */
	bool large_sent;         /* while plain; and how many large pieces go before a place for the mark is waited for again: side->p */
	unsigned place_skip, place_backoff;
	unsigned small_row, calm_after; /* small messages in a row through TCP, in frames; so many are enough to leave those: side->p */
};

static inline struct verbs_stream *verbs_of(struct stream *s)
{
	return (struct verbs_stream *)s;
}

static inline struct link *link_out(const struct verbs_stream *vs)
{
	return &vs->links->link[load_acq(vs->v->sends_by)];
}

static inline struct link *link_in(const struct verbs_stream *vs)
{
	return &vs->links->link[load_acq(vs->v->reads_by)];
}

extern const struct transport_ops transport_verbs;
int verbs_stream_create(struct link *l, int role, const uint8_t mark[2][MARK_BYTES], struct stream **ret_stream);

/* Somebody else has it, for the i-th time that we look: a doorbell that is a system call, or a thread that has lost its core, takes long. */
static inline void verbs_lock_pause(int i)
{
	int doubled = i - LOCK_YIELDS;

	if (doubled < 0) {
		sched_yield();
		return;
	}
	struct timespec nap = { .tv_nsec = 20000L << (doubled < LOCK_DOUBLINGS ? doubled : LOCK_DOUBLINGS) };
	sys_call(SYS_nanosleep, &nap, 0);
}

/* For a few instructions, and a doorbell; no handler of the program runs meanwhile. */
static inline void verbs_lock(_Atomic int *l)
{
	section_enter();
	for (int i = 0; atomic_exchange_explicit(l, 1, memory_order_acquire); i++)
		verbs_lock_pause(i);
}

static inline void verbs_unlock(_Atomic int *l)
{
	atomic_store_explicit(l, 0, memory_order_release);
	section_leave();
}

/* ---- link */
enum { LINK_SENDS = 256, LINK_INLINE = 128 }; /* sends under way; bytes that go with the request itself */

/* This process may use the device. */
bool verbs_is_ours(void);

static inline bool link_is_up(struct link *l)
{
	return load_acq(l->state) == LINK_UP && verbs_is_ours();
}

/* A fork's child: the parent takes the link down before anything goes on. */
void link_leave_to_parent(struct link *l);
/* How large a ring may be, the smaller the more memory is in use; 0: DLACCEL_NET_MEMORY is. */
uint64_t link_ring_wish(void);
int links_map(struct meeting *m, uint64_t ring_bytes, struct links **ret_links);
/* What a process that has no device may do. */
void links_unmap(struct links *ls);
/* Of ours, before the device knows of it; agreed is no more than that. */
void link_lay_out(struct link *l, uint64_t ring_bytes);
void link_agree(struct link *l, uint64_t ring_bytes);
/* Its memory, of which no device knows any more; as if it had never been. */
void link_give_back(struct link *l);
void link_clear(struct link *l);
/* What is registered from the beginning; more, and whether there may be. */
uint64_t link_rings_bytes(uint64_t ring_bytes);
void link_count(struct link *l, uint64_t bytes);
bool link_fits(uint64_t more, uint64_t limit);
/* `windowed`: the peer writes nothing before it has had our introduction by SEND, so that a window is open by then. */
int link_open(struct link *l, struct device *d, struct rdma_cm_id *id, bool windowed);
/* The first of a stream. */
int link_create(struct device *d, struct rdma_cm_id *id, struct meeting *m, uint64_t ring_bytes, bool windowed, struct link **ret_link);
/* The key of the bounce buffer, 0: it cannot be used. */
uint32_t link_bounce(struct link *l);
/* Thread only; the id is the caller's to destroy.  let_go: the device's part, the memory stays. */
void link_let_go(struct link *l);
void links_destroy(struct links *ls);
/* Its memory is not registered for it any more; nothing can be written there. */
void link_close_window(struct link *l);
enum { BOUNCE_BYTES = 65536 };

/* The peer's records lie in the ring up to here. */
void link_arrived(struct link *l, uint64_t ring);
/* A message of the peer: the first may be a struct intro, all others are struct control. */
void link_told(struct link *l, const void *p, uint32_t n);
/* Its queue pair is connected. */
void link_connected(struct link *l);
/* Nothing is begun over it from here on; what the devices have in hand they may still finish. */
void link_fail(struct link *l, enum stat_id why);
/* Of a link that is down: from here on no device touches the program's memory over it. */
void link_quiet(struct link *l);
/* Such a link, whose receiver had said that it polled. */
void link_polls_no_more(struct link *l);
/*
 * A range of the ring, of bytes that lie at the same place in `staging`; `last` of a
 * row: its completion will be waited for.  -errno.
 */
int link_write(struct link *l, uint64_t pos, size_t n, bool last, uint64_t *ret_seq);
/* One record of which the head alone lies there, its n bytes at p. */
int link_write_in_place(struct link *l, uint64_t pos, const void *p, uint32_t lkey, size_t n, bool last, uint64_t *ret_seq);
struct block_part {
	void *to;
	uint32_t lkey, rkey, id;
	uint64_t address, from; /* of the block, and what of it has been read */
	size_t bytes;
	bool ends;              /* nothing of the block comes behind it: its sender is told so */
};
/*
 * By one doorbell the claim, by which the peer knows that there may have been a READ, that READ, and, once it has ended, DONE.  Where the link
 * fails, *ret_seq is known to be acknowledged or not when it is quiet.
 */
int link_read_block(struct link *l, const struct block_part *b, uint64_t *ret_seq);
/*
 * A window onto that buffer is opened to the peer, of which it is told.  -EAGAIN, -ENOTSUP: it is not; else the link is of no use any more.
 * Revoked, nothing more is written there, whatever the peer says.  False: the link is down, see link_quiet.
 */
int link_advertise(struct link *l, struct advert *a, struct memreg_hold *h);
bool link_revoke(struct link *l, uint32_t rkey);
/*
 * These bytes are opened to the peer's READs and no one else's; 0, or the key.  Closed, nobody reads there, whatever he knows; that comes before
 * the registration is given back.
 */
uint32_t link_open_block(struct link *l, const void *p, size_t n, const struct memreg_hold *h);
void link_close_block(struct link *l);
/* The last that the peer has sent; id 0: none. */
struct advert link_advert(struct link *l);
struct placement {
	const void *from;
	uint32_t lkey, rkey, id;
	uint64_t to;
	size_t bytes;
};
/* Those bytes, and behind them `placed`; one doorbell. */
int link_place(struct link *l, const struct placement *p, uint64_t *ret_seq);
/* RECALLED has come; false: the link is down. */
bool link_wait_recalled(struct link *l, uint32_t id);
int link_control(struct link *l, const struct control *c);
/* One that the peer looks for when it wants it: it is not woken. */
int link_control_quietly(struct link *l, const struct control *c);
/* One that the peer waits for: a link that has no room for it in the time that a failure may take is down. */
void link_answer(struct link *l, const struct control *c);
int link_introduce(struct link *l, const struct intro *i);
int link_ping(struct link *l, uint64_t *ret_seq);
/* We look at our ring, or will before we sleep; taken back: its acknowledgement will be waited for. */
int link_tell_polls(struct link *l, bool yes, uint64_t *ret_seq);
bool link_is_acked(struct link *l, uint64_t seq);
/* Until it is acknowledged; false: the link is down. */
bool link_wait(struct link *l, uint64_t seq);
/* A READ, or a WRITE into an advertised buffer, of so many of n bytes is expected to end in a small part of the time that a failure may take. */
size_t link_bulk_part(const struct pace *p, size_t n);
/* The same for one of no more. */
bool link_wait_bulk(struct link *l, struct pace *p, uint64_t seq, size_t bytes);
/* Ticks that something of that length will take at least, by what the last few have taken. */
uint64_t link_expected(const struct pace *p, size_t bytes);
void link_learn(struct pace *p, size_t bytes, uint64_t took);
struct pause {
	uint64_t start, expected, yield_at; /* ticks, the latter two from start on */
};
/* A wait for what is expected to take so many ticks; and between two looks at what the peer's device does. */
struct pause link_pause_begin(uint64_t expected);
void link_pause(struct pause *p);
/* The same while only the peer's program can help: its answer about a block may wake. */
void link_pause_for_done(struct pause *p, struct link *l, uint32_t seen_id);
/* Takes in what has completed; whoever else is at it does it for us. */
void link_poll(struct link *l);

/* ---- devices (thread only, but for device_poll and device_drain) */
int device_of(struct rdma_cm_id *id, struct device **ret_device);
struct device *device_next(struct device *d); /* NULL: the first */
void device_close(struct ibv_context *context);
/* From here on we are told when it is removed; then, when nothing of ours is on it any more, the kernel is. */
void device_watch(const struct rdma_cm_id *on);
void device_leave(struct ibv_context *context);
int device_completion_fd(struct device *d);
int device_async_fd(struct device *d);
void device_completions(struct device *d);
void device_async(struct device *d);
/* From when on connections may be made by that port; UINT64_MAX: it is down. */
uint64_t device_usable_ns(const struct device *d, uint8_t port);
void device_poll(struct device *d);
/* Waits for whoever else is at it: what had completed is known. */
void device_drain(struct device *d);
void device_each_link(struct device *d, void (*call)(struct link *l));
/* A registration of the program's memory, for as long as the device stays; NULL: none to be had. */
struct memreg_hold *device_register(struct device *d, const void *p, size_t n);
void device_unregister(struct device *d, struct memreg_hold *h);
/* Thread only: memory that the program has given back is unlocked.  True: there is some that it may give back yet. */
bool device_sweep(struct device *d);

/* ---- thread */
int thread_start(void);
void thread_wake(void);
struct rdma_event_channel *thread_channel(void);
/* One turn of what it does for links that are up: withdrawals, a child's wish, heartbeats. */
void thread_tend_links(void);

/* ---- return, thread only */
/* A room for the next link, and sending waits for that; *ret_name: of the link that was sent by.  NULL: not now. */
struct link *verbs_return_prepare(struct links *ls, uint32_t *ret_name);
/* It is up, with its name, to a peer that has said what it sends by.  False: it cannot be used. */
bool verbs_return_up(struct link *l, uint32_t peer_name);
/* And the peer is told so. */
void verbs_return_tell(struct link *l);
/* Memory of links that nobody needs any more. */
void verbs_return_release(struct links *ls);

/* ---- meeting, the thread's part */
struct rdma_cm_event;
void meeting_event(const struct rdma_cm_event *e, struct rdma_cm_id *id);
void meeting_steps(void);
/* Until there is something to do without an event; -1: for good. */
int meeting_patience_ms(void);

/* The stream that took the link is gone. */
void verbs_meet_end(struct meeting *m);

/* 0: *ret_bytes of the key (0: none asked for); -EPERM: the file is not fit, RDMA stays off. */
int verbs_secret(uint8_t ret_key[64], size_t *ret_bytes);
