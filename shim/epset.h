/*
 * epoll sets as the program registered them, for connections only, and what is known of each.  epset.c
 * keeps them in epset_table.c's tables; wait_epoll.c waits on them.
 *
 * Lock order: the lock of the list of sets, which is also that of what is nested, then epset.lock, a leaf;
 * no stream lock is taken under either.
 */
#pragma once
#include "section_lock.h"
#include "wait.h"

/* Keys are what programs register, mostly pointers: one multiplication spreads them. */
static inline unsigned epset_hash(const uint64_t *key)
{
	return (unsigned)((*key * 0x9e3779b97f4a7c15u) >> 32);
}

#define HASH_FUNCTION(key, len, hashv) ((hashv) = epset_hash(key))
/* Without memory a registration stays unknown (the library would end the program): its handle has no table. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum { HOT_MOST = 8 };

/*
 * What is registered under a number; its place in the table is made with the first registration and stays as
 * long as the set: programs delete and add for every request.  All that such a call touches is in one line.
 */
struct reg {
	struct sock *sock; /* NULL: not registered now */
	uint64_t data;
	struct data_key *key;
	uint32_t events;
	int fd : 31;
	bool force : 1; /* edge-triggered, armed while data lay there unrung for: owes one event */
};

enum { PLACES = 16 }; /* in a chunk of the table */

struct data_key {
	uint64_t data;
	struct reg *reg;
	unsigned turn; /* of the wait that last looked at an event of it */
	UT_hash_handle hh;
};

/* A set registered in another one. */
struct nest {
	int fd;
	uint32_t events;
	uint64_t data;
	struct epset *set;
	bool owed; /* edge-triggered: its event for what nobody rang for is not told yet */
	struct nest *next;
};

struct epset {
	alignas(8) struct epset_head head;
	_Atomic int lock;
	_Atomic int waiters;
	_Atomic bool unseen;    /* nested, inherited, polled: waits that do not come here */
	_Atomic bool unrung;    /* data that nobody rang for may lie there since it became so or was registered */
	_Atomic int forced;
	_Atomic int others;     /* registrations that are none of ours */
	_Atomic unsigned seen;  /* adoptions when `any` was found out */
	_Atomic bool any;       /* some connection of the set has a stream */
	_Atomic unsigned plain_at; /* adoptions when it was found to have neither that nor another set in it */
	_Atomic unsigned waits; /* without one, roughly */
	_Atomic int turns;      /* waits whose events were looked at */
	_Atomic unsigned vain;  /* waits in a row that told only what had been told before and was not taken */
	bool indexed;           /* by_data is kept */
	bool ambiguous;         /* two registrations share their data: events cannot be told apart */
	bool stands;            /* the kernel's set has our stand-in for a registration with what nobody rang for */
	int hots, chunks;
	struct reg **chunk;     /* places by number; NULL where none was registered */
	int hot[HOT_MOST];      /* numbers */
	struct data_key *by_data;
	int stand_in, stands_for, stands_in; /* its number, the registration's, and the set's when it was made */
	struct nest *nests;     /* under the lock of the list of sets */
	struct epset *next, *prev;
};

static inline struct epset *epset_of(int ep)
{
	uintptr_t e = fd_get(ep);

	return fd_kind(e) == FD_EPOLL ? fd_object(e) : NULL;
}

/* NULL: never registered here. */
static inline struct reg *epset_place(struct epset *set, int fd)
{
	unsigned c = (unsigned)fd / PLACES;
	struct reg *chunk = c < (unsigned)set->chunks ? set->chunk[c] : NULL;

	return chunk ? &chunk[(unsigned)fd % PLACES] : NULL;
}

static inline struct reg *epset_find_fd(struct epset *set, int fd)
{
	struct reg *r = epset_place(set, fd);

	return r && r->sock ? r : NULL;
}

/* NULL: there is no memory for it. */
struct reg *epset_make_place(struct epset *set, int fd);
/* False: there is no memory for the index. */
bool epset_set_data(struct epset *set, struct reg *r, uint64_t data);
void epset_unindex(struct epset *set, struct reg *r);
void epset_free_places(struct epset *set);
/* The registered one behind r, or the first; NULL: no more. */
struct reg *epset_next(struct epset *set, const struct reg *r);
#define EPSET_EACH(set, r) for (struct reg *r = NULL; (r = epset_next(set, r));)

static inline int epset_count(struct epset *set)
{
	return load_rlx(set->head.regs);
}

/* The registration of an event; NULL: none, or it cannot be told. */
struct reg *epset_find_data(struct epset *set, uint64_t data);

/* After what makes it so. */
static inline void epset_not_plain(struct epset *set)
{
	atomic_store(&set->plain_at, 0);
}

static inline bool wants_edges(uint32_t events)
{
	return events & (EPOLLET | EPOLLONESHOT);
}

static inline bool level_input(const struct reg *r)
{
	return (r->events & EPOLLIN) && !wants_edges(r->events);
}

/* The stand-in of this registration is needed no more: its event came, or is none of the program's. False: it has none. */
bool epset_stand_down(struct epset *set, int fd);
/* Registered edge-triggered over unread data that nobody rang for: owes one event, or no more. */
void epset_set_force(struct epset *set, struct reg *r, bool yes);
/* The kernel itself has something to be read there. */
bool epset_kernel_shows(int fd);
/* A one-shot registration was told of an event that the kernel does not know of: as it would have been with it. */
void epset_disarm(int ep, int fd, uint32_t events, uint64_t data);
/* A level-triggered registration with unread data by what is in shared memory; the lock is held. */
bool epset_any_readable(struct epset *set);

/* What nobody rang for in the sets within this one has to be told; `tell` returns false when there is no room. */
bool epset_nest_due(struct epset *set);
void epset_tell_nests(struct epset *set, int ep, bool (*tell)(void *arg, uint64_t data), void *arg);
