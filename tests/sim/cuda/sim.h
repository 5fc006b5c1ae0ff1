/*
 * The driver half: contexts, modules, streams, events. Exported entries lie in api_*.c and keep to
 * checking arguments; what they do is here and in the files named below.
 *
 * One lock, sim_lock, guards every handle's state. Workers drop it while an operation runs.
 */
#ifndef SIMCUDA_SIM_H
#define SIMCUDA_SIM_H

#include <pthread.h>
#include <stdbool.h>

#include "cuda_abi.h"
#include "exec.h"
#include "mem.h"
#include "watch.h"

#define CUAPI __attribute__((visibility("default")))

struct settings {
	uint64_t memory;      /* bytes of device memory */
	uint64_t graph_bytes; /* of it that each node of an instantiated graph takes */
	int devices, cc, driver_version;
	uint64_t seed;
	int delay_us;         /* longest random delay before an operation, 0 = none */
	int resident;         /* blocks resident on the device */
	bool interleave, starve, strict, race, stale, trace, virtual_clock;
	uint64_t watchdog;    /* instructions a grid may take, 0 = any number */
	int poison;           /* byte that new memory is filled with, -1 = leave it */
	const char *stats, *cost;
};
extern struct settings settings;
void settings_load(void);

extern pthread_mutex_t sim_lock;
extern pthread_cond_t sim_cond; /* a fence that somebody waits for is reached */
static inline void lock(void) { pthread_mutex_lock(&sim_lock); }
static inline void unlock(void) { pthread_mutex_unlock(&sim_lock); }

/* Live handles: a stale or foreign one is an error, not a crash. Called with the lock held. */
enum kind { H_CTX = 1, H_STREAM, H_EVENT, H_MODULE, H_FUNC, H_LIBRARY, H_GRAPH, H_NODE, H_EXEC, H_LINK, H_POOL, H_VMM };
void handle_add(const void *p, enum kind k);
void handle_remove(const void *p);
bool handle_is(const void *p, enum kind k);
/* A copy that lives as long as the process: operations and graphs outlive the modules they came from. */
const char *name_intern(const char *name);

/* A point on a stream's way; shared by the operation, events, and whoever waits. */
struct fence {
	int refs;
	bool done, awaited;
	uint64_t vend;  /* virtual time at which it is reached */
	uint64_t seq;   /* order of submission */
	double wall;    /* seconds, when it was reached */
	uint32_t *vc;   /* race detection: what is ordered before this point, and the point itself */
	struct fence *graph; /* of a record inside a graph: its end, the only point of it that races are looked for by */
};
struct fence *fence_get(struct fence *f);
void fence_put(struct fence *f);
void fence_set(struct fence **to, struct fence *f);
void fence_reach(struct fence *f);

enum op_type { OPT_KERNEL, OPT_MEMCPY, OPT_MEMSET, OPT_HOST, OPT_EVENT, OPT_WAIT, OPT_VALUE, OPT_EMPTY, OPT_GRAPH, OPT_COUNT };

struct op {
	struct op *next;
	enum op_type type;
	struct fence *done, **deps;
	int ndeps;
	int (*run)(struct op *op); /* without the lock; returns a CUresult that becomes the context's sticky error */
	void (*drop)(struct op *op);
	const char *name;
	uint64_t cost;     /* virtual nanoseconds */
	uint64_t vstart;
	bool always;       /* runs also after the context has failed */
	void *data;
	struct stream *stream;
	struct watch_key key;
	uint32_t steps;    /* of a graph */
};
struct op *op_create(enum op_type type, int (*run)(struct op *), void (*drop)(struct op *), void *data, const char *name);
void op_depend(struct op *op, struct fence *f);
void op_free(struct op *op);
int op_submit(struct stream *s, struct op *op); /* to the stream, or to the capture that holds it */

#define ATTRS 15
struct attrs {
	unsigned set; /* which, by number */
	CUlaunchAttributeValue value[ATTRS];
};

struct stream {
	struct ctx *ctx;
	unsigned flags;
	int priority;
	struct attrs *attrs; /* NULL: none was ever set */
	bool legacy, per_thread, destroyed, started, busy;
	uint64_t id;
	struct op *head, **tail;
	pthread_cond_t more; /* the queue has grown, or the stream is destroyed */
	struct fence *last;
	struct stream *next; /* of the context */
	struct capture *capture;
	uint64_t rng;
	uint32_t slot, seq; /* race detection */
};

struct event {
	struct ctx *ctx;
	uint64_t id;         /* of this one and no other at the same address */
	unsigned flags;
	struct fence *fence; /* of the last record, NULL before the first */
	struct op *record;   /* for captured events: see graph.c */
	struct capture *capture;
	struct node **cap_nodes;
	int ncap_nodes;
	bool destroyed;
	struct event *next;
};

struct ctx {
	int device;
	unsigned flags;
	bool primary, destroyed;
	int refs; /* primary retains */
	int sticky;
	char why[256];
	struct stream *streams, *null_stream;
	struct fence *legacy_last;
	struct event *events;
	struct module *modules;
	size_t limits[CU_LIMIT_MAX];
	uint64_t id;
	int captures;
	struct ctx *buried;
};

struct func {
	const char *name;
	struct module *mod;
	struct code *code;
	int max_dyn_shared, carveout, cache;
	bool is_kernel; /* a CUkernel rather than a CUfunction */
	struct func *twin, *next;
	uint64_t workspace;
};

struct global {
	char *name;
	uint64_t addr, size;
	struct global *next;
};

struct module {
	struct ctx *ctx;
	struct ptx_module *ptx;
	struct func *funcs;
	struct global *globals;
	struct module *next;
	bool from_library;
	struct library *lib;
};

/* Per thread: the context stack, the per-thread streams, whether a _ptsz entry is being served. */
struct tls {
	struct ctx *stack[64];
	int depth;
	int ptds;
	struct { struct ctx *ctx; struct stream *s; } own[16];
	int nown;
	int capture_mode;
	uint64_t vnow;
	bool in_callback;
	bool late; /* the next call is held before it takes effect */
	bool told; /* why this call is refused */
	const char *entry;
};
extern __thread struct tls tls;

/* Checks that open nearly every entry: initialised, a current context that lives, no sticky error. */
int enter(struct ctx **ret_ctx);
int enter_init(void);
/* The stream behind a handle for the calling thread; lock held. */
int stream_of(struct ctx *ctx, CUstream h, struct stream **ret_stream);
#define REFUSE(code) ((CUresult)refused(__func__, (int)(code)))
#define ENTER(ctx) do { int rc_; (ctx) = NULL; rc_ = enter(&(ctx)); if (rc_) return REFUSE(rc_); } while (0)
#define ENTER_INIT() do { int rc_ = enter_init(); if (rc_) return REFUSE(rc_); } while (0)
/* Unlocks on the way out: every return between ENTER and the end goes through LEAVE. */
#define LEAVE(code) do { int leave_ = (int)(code); unlock(); return REFUSE(leave_); } while (0)

/* stream.c, lock held unless said otherwise */
struct stream *stream_create(struct ctx *ctx, unsigned flags, int priority);
void stream_destroy(struct stream *s);
/* Takes the operation over; returns its fence without a new reference. */
struct fence *stream_submit(struct stream *s, struct op *op);
void fence_wait(struct fence *f);           /* drops the lock while it waits */
int stream_wait(struct stream *s);          /* returns the sticky error */
int ctx_wait(struct ctx *ctx);
bool fence_reached(const struct fence *f);  /* as a query of the host sees it */
void stream_started(void);
struct fence *stream_tail(struct stream *s); /* what a synchronise of this stream must wait for; may be NULL */
int ctx_tails(struct ctx *ctx, struct fence **ret_list, int cap);

/* clock.c */
void clock_init(void);
void clock_call(const char *entry);          /* the host's time goes on by one call */
void clock_place(struct op *op, uint64_t ready);
void clock_host_reaches(uint64_t v);
uint64_t clock_kernel_cost(const char *name, uint64_t blocks);
uint64_t clock_cost(const char *what);
uint64_t clock_copy_cost(uint64_t bytes);
double wall_seconds(void);
void clock_spend(uint64_t ns); /* of the calling thread */

/* stats.c */
void stats_count(const char *entry);
void stats_op(const struct op *op);
void stats_nodes(int n);
void strict_report(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int misuse(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* On the way out of an entry: an error that is a misuse is told, if its reason was not. Returns the code. */
int refused(const char *function, int code);
#define CALL() stats_count(__func__)

/* launch.c */
struct kernel_args {
	struct func *fn;
	unsigned grid[3], block[3], shared;
	bool cooperative;
	uint8_t *params;
	void **list; /* pointers into params, made for whoever asks a graph node for them */
};
int kernel_args_make(struct ctx *ctx, CUfunction f, const unsigned grid[3], const unsigned block[3], unsigned shared,
		     void **params, void **extra, bool cooperative, struct kernel_args **ret_args);
void kernel_args_destroy(struct kernel_args *a);
struct op *kernel_op(struct ctx *ctx, struct kernel_args *a); /* takes a over */
int kernel_run(const struct kernel_args *a, const struct watch_key *key, char *why, size_t n);
void ctx_fail(struct ctx *ctx, int code, const char *why); /* without the lock */

/* copy.c */
struct copy {
	uint8_t *dst, *src;           /* host view, resolved when the copy runs if NULL */
	uint64_t dst_dev, src_dev;
	uint64_t width, height, depth, dst_pitch, src_pitch, dst_slice, src_slice;
	bool owned; /* src is a private copy */
	bool kept;  /* belongs to a graph */
};
int copy_run(const struct copy *c, const struct watch_key *key);
struct op *copy_op(const struct copy *c);
int copy_from_3d(const CUDA_MEMCPY3D *p, struct copy *ret_copy);
void copy_to_3d(const struct copy *c, CUDA_MEMCPY3D *ret_p);

struct fill {
	uint64_t dst, pitch, width, height;
	unsigned value, size;
};
int fill_check(const struct fill *f);
int fill_run(const struct fill *f, const struct watch_key *key);
struct op *fill_op(const struct fill *f);

/* module.c */
int module_load(struct ctx *ctx, const char *ptx, char *log, size_t loglen, struct module **ret_module);
void module_destroy(struct module *m);
struct func *module_func(struct module *m, const char *name);
int image_to_ptx(const void *image, size_t size, char **ret_text); /* fatbin.c; free it */
bool zstd_unpack(const uint8_t *s, size_t n, uint8_t *d, size_t cap, size_t *ret_n); /* zstd.c */

/* api_attr.c */
void attrs_copy(struct attrs **to, const struct attrs *from, unsigned mask);
void attrs_of_stream(struct attrs **to, const struct stream *s); /* that a kernel launched there runs with */
int attrs_priority(const struct attrs *a);

/* api_launch.c */
struct op *host_op(CUhostFn fn, CUstreamCallback cb, CUstream h, void *user);
void host_params(const void *data, CUDA_HOST_NODE_PARAMS *ret_p);

/* capture.c: an operation met a capturing stream; returns true when it has been dealt with. */
struct capture;
bool capture_takes(struct stream *s, struct op *op, int *ret_code);
bool capture_event(struct stream *s, struct event *e, int *ret_code);
bool capture_wait(struct stream *s, struct event *e, int *ret_code);
int capture_blocks(struct ctx *ctx, struct stream *s, bool unsafe_call);
void capture_stream_gone(struct stream *s);

#endif
