/*
 * What must be the same of two operations for one to be the other's node in a graph. Graphs are found by hashes of that, so
 * only two that collide would show it.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "node.h"

#define PARAMS 16

struct launch_memory {
	_Alignas(16) char bytes[sizeof(struct op_launch) + 2 * sizeof(struct cuda_launch_attribute) + PARAMS];
};

static const struct kernel one_kernel, another_kernel;

static struct op_launch *launch(struct launch_memory *m)
{
	struct op_launch *l = (struct op_launch *)m->bytes;

	memset(m, 0, sizeof(*m));
	*l = (struct op_launch){ .op = { .kind = OP_LAUNCH, .stream = (CUstream)0x5550 },
		.func = (CUfunction)0x1000, .kernel = &one_kernel, .grid = { 1, 2, 3 }, .block = { 4, 5, 6 }, .shared = 7,
		.attr_count = 2, .bytes = PARAMS };
	l->attrs[0].id = CU_LAUNCH_PRIORITY;
	l->attrs[1].id = CU_LAUNCH_CLUSTER_DIMENSION;
	return l;
}

#define DIFFERS(change)                                                                            \
	do {                                                                                       \
		struct op_launch *l = launch(&second);                                             \
		l->change;                                                                         \
		cr_expect_not(node_same_shape(&launch(&first)->op, &l->op), #change);              \
	} while (0)

Test(node, launch_shape)
{
	struct launch_memory first, second;

	cr_expect(node_same_shape(&launch(&first)->op, &launch(&second)->op));
	DIFFERS(op.kind = OP_FILL);
	DIFFERS(op.stream = (CUstream)0x5560);
	DIFFERS(func = (CUfunction)0x1010);
	DIFFERS(kernel = &another_kernel);
	DIFFERS(shared++);
	DIFFERS(bytes--);
	DIFFERS(attr_count--);
	for (int i = 0; i < 3; i++) {
		DIFFERS(grid[i]++);
		DIFFERS(block[i]++);
	}
	DIFFERS(attrs[0].value.priority = -1);
	DIFFERS(attrs[1].value.dim[2] = 2);
	DIFFERS(attrs[1].id = CU_LAUNCH_PREFERRED_CLUSTER);
}

Test(node, launch_params)
{
	struct launch_memory first, second;
	struct op_launch *a = launch(&first), *b = launch(&second);

	cr_expect(node_same_params(&a->op, &b->op));
	op_params(b)[PARAMS - 1] = 1;
	cr_expect(node_same_shape(&a->op, &b->op));
	cr_expect_not(node_same_params(&a->op, &b->op));
}

#define FILL { .op.kind = OP_FILL, .to = 0x1000, .count = 16, .width = 4, .value = 1 }
#define COPY { .op.kind = OP_COPY, .copy = COPY_HTOD, .to = 0x1000, .from = 0x2000, .bytes = 64 }

#define OTHER(type, made, same, change)                                                            \
	do {                                                                                       \
		struct type a = made, b = made;                                                    \
		cr_expect(same(&a.op, &b.op));                                                     \
		b.change;                                                                          \
		cr_expect_not(same(&a.op, &b.op), #change);                                        \
	} while (0)

Test(node, others)
{
	OTHER(op_fill, FILL, node_same_shape, count++);
	OTHER(op_fill, FILL, node_same_shape, width = 2);
	OTHER(op_fill, FILL, node_same_params, to++);
	OTHER(op_fill, FILL, node_same_params, value++);
	OTHER(op_copy, COPY, node_same_shape, copy = COPY_DTOH);
	OTHER(op_copy, COPY, node_same_shape, bytes++);
	OTHER(op_copy, COPY, node_same_shape, carried = true);
	OTHER(op_copy, COPY, node_same_params, to++);
	OTHER(op_copy, COPY, node_same_params, from++);
	OTHER(op_event, { .op.kind = OP_WAIT }, node_same_shape, source = (CUstream)0x5550);
	OTHER(op_event, { .op.kind = OP_EVENT }, node_same_params, event = (CUevent)0x77);
	OTHER(op_host, { .op.kind = OP_HOST }, node_same_params, fn = (cuda_host_fn *)0x77);
	OTHER(op_host, { .op.kind = OP_HOST }, node_same_params, data = (void *)0x77);
}
