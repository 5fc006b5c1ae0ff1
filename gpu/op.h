/* One operation in a queue: a record in the ring, `kind` says which structure it is. */
#pragma once
#include "cuda_abi.h"

#include <stdbool.h>

enum op_kind { OP_LAUNCH, OP_FILL, OP_COPY, OP_EVENT, OP_WAIT, OP_HOST };

#define OP_HEAD(k, t, s) { .kind = (k), .token = (t), .stream = (s) }

#define OP_PARAMS_MAX 32768
#define OP_COPY_MAX 65536
#define OP_MAX (OP_COPY_MAX + 4096)

struct op {
	uint8_t kind;
	bool begins_step; /* DLACCEL_STEP_MARK */
	uint32_t token; /* same function and shape, same token: what windows are found by */
	CUstream stream;
};

struct kernel_param {
	uint32_t offset, size;
};

/* What is known of a function: where its parameters lie. Lives until modules are unloaded. */
struct kernel {
	uint32_t count, bytes;
	bool is_kern; /* a CUkernel, launched as if it were a CUfunction */
	bool has_holes; /* between parameters */
	struct kernel_param param[];
};

struct op_launch {
	struct op op;
	CUfunction func;
	const struct kernel *kernel; /* NULL: the parameters came as one buffer (`extra`) */
	uint32_t grid[3], block[3], shared;
	uint32_t attr_count, bytes;
	struct cuda_launch_attribute attrs[]; /* then `bytes` of parameters */
};

struct op_fill {
	struct op op;
	CUdeviceptr to;
	size_t count;
	uint32_t width, value;
};

enum copy_kind { COPY_HTOD, COPY_DTOH, COPY_DTOD, COPY_ANY };

struct op_copy {
	struct op op;
	uint32_t copy;
	bool carried; /* the source lies behind this record */
	uint64_t to, from;
	size_t bytes;
	char data[];
};

struct op_event {
	struct op op;
	CUevent event;
	CUstream source; /* of a wait: the stream that the event was recorded on last */
};

struct op_host {
	struct op op;
	cuda_host_fn *fn;
	void *data;
};

static inline char *op_params(struct op_launch *l)
{
	return (char *)&l->attrs[l->attr_count];
}

/* Of the record, with all that lies behind it. */
size_t op_bytes(const struct op *op);
/* Tells the driver; its answer. */
CUresult op_submit(struct op *op);
