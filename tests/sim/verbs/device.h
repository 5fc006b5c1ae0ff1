/*
 * Two verbs devices and the wire between them, in one process: what rdma/ calls of rdma-core, done by a thread
 * for each device.  Packets, retries, lost acknowledgements, queue pairs in error, keys and their ends are as
 * strict as the specification lets a device be, which is stricter than any one device is:
 *  - memory is read and written at any moment between a request's posting and its completion;
 *  - a queue pair that is moved to error finishes the packet in hand, as requester and as responder: only its
 *    flushed completion, a reset or its destruction says that it touches nothing any more;
 *  - what was on the wire when a request failed may still arrive;
 *  - a responder that is asked for what it does not have, or has in another protection domain, is in error, and says so to its own
 *    side alone;
 *  - a message that finds no receive is told to come again, for as long as that takes, and all behind it waits.
 *
 * Threading: any.  The wire's faults are set for all; one conversation at a time.
 */
#pragma once
#include "verbs_api.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sim_wire {
	_Atomic uint64_t packets;     /* carried so far */
	_Atomic uint64_t hole_from;   /* from this packet on nothing is carried ... */
	_Atomic uint64_t hole_us;     /* ... for so long; UINT64_MAX: for good */
	_Atomic uint64_t retry_us;    /* a request that nobody answers fails after so long */
	_Atomic unsigned ack_loss;    /* of 256 packets, executed but not known to be */
	_Atomic unsigned slow;        /* of 256 packets, on their way for a while */
	_Atomic uint64_t lockable;    /* bytes that device 0 registers at most */
	_Atomic uint64_t locked;      /* and has registered */
	_Atomic bool hold;            /* the last answer to a READ of device 0, a READ of its memory, a packet for a window, stays on the wire ... */
	_Atomic bool held;            /* ... and one does */
	_Atomic bool blind;           /* device 0 shows no completion, of what it goes on doing */
	_Atomic uint64_t completions; /* that device 0 has told, or will */
	_Atomic uint64_t bad_keys;    /* requests for memory that is not registered */
	_Atomic uint64_t not_ready_us; /* whoever found no receive was last told to come again after so long; 0: nobody */
	_Atomic uint64_t not_found;   /* ids that looked for a device that has been removed */
};
extern struct sim_wire sim_wire;

/* What must not be is a defect of the library's: said, and the end of the test. */
void __attribute__((noreturn, format(printf, 1, 2))) sim_wrong(const char *fmt, ...);
/* Fills the table of verbs_api: devices, and with cm.c their connection manager. */
void sim_verbs_install(void);
void sim_cm_install(void);
/* ---- events.c */
void sim_events_install(void);
/* Their descriptor, a new one, with nothing in it. */
void sim_open_events(struct ibv_context *c);
/* As the device says it. */
void sim_event(struct ibv_context *c, struct ibv_async_event e);

/* Device 0 or 1. */
struct ibv_context *sim_context(int device);
/* It is removed: its ids are told, and nothing is found on it; and there again, a new one, once all have let go of it. */
void sim_remove(int device);
void sim_add(int device);
/* Its descriptors, which whoever had it open has done with. */
void sim_renew(int device);
/* An id on device 0 or 1, as rdma_cm would have resolved it. */
struct rdma_cm_id *sim_id_create(int device);
void sim_id_destroy(struct rdma_cm_id *id);
/* Their queue pairs are each other's, ready to send. */
void sim_connect(struct rdma_cm_id *a, struct rdma_cm_id *b);
/* The next request of the queue pair fails by itself. */
void sim_break(struct rdma_cm_id *id);
/* All that has been asked for has ended. */
bool sim_is_idle(void);
/* What destroyed queue pairs have left: when there are none of the living. */
void sim_reap(void);
/* Packets and completions of the queue pairs of both devices, with their faults. */
void sim_start(uint64_t seed);
