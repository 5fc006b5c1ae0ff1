/*
 * Launches with attributes, on a driver that writes down what it was told: those that change how a
 * kernel runs are deferred and arrive, one by one and as nodes of a graph, which also has the priority
 * of the stream and what was set of that; those that change when it runs, and what only the driver can judge, go straight.
 */
#include "api.h"
#include "counters.h"
#include "driver.h"
#include "stub.h"

#include <stdbool.h>
#include <string.h>

#define WINDOW 100
#define IDS 40 /* programmatic dependencies and all others that say when a kernel starts, and unknown ones */

static uint64_t next = 1;

static void launch(CUfunction f, struct cuda_launch_attribute *attr, CUstream s)
{
	struct cuda_launch_config c = { { 6, 1, 1 }, { 32, 1, 1 }, 0, s, attr, attr != NULL };
	int n = 0;
	void *params[] = { &next, &n };

	OK(cu.cuLaunchKernelEx(&c, f, params, NULL));
	next++;
}

static struct cuda_launch_attribute attribute(uint32_t id, uint32_t x)
{
	struct cuda_launch_attribute a = { .id = id };

	a.value.dim[0] = x;
	a.value.dim[1] = a.value.dim[2] = 1;
	return a;
}

/* Of four launches: how many went straight. Each arrives with its attribute, in its place. */
static uint64_t straight(uint32_t id, uint32_t x)
{
	struct cuda_launch_attribute a = attribute(id, x);
	uint64_t before = counter("cuda.direct");
	unsigned from = stub.count, seen = 0;

	stub.busy = 1;
	for (int i = 0; i < 4; i++)
		launch((CUfunction)(uintptr_t)(0x1000 * (id + 1)), &a, NULL);
	OK(cu.cuCtxSynchronize());
	CHECK_EQ(stub.ran, next - 1);
	for (unsigned i = 0; i < stub.ran; i++)
		CHECK_EQ(stub.param[i], i + 1);
	for (unsigned i = from; i < stub.count; i++)
		if (stub.call[i].row == ROW_cuLaunchKernelEx) {
			CHECK_EQ(stub.call[i].arg[1], id);
			CHECK_EQ(stub.call[i].arg[2], x);
			seen++;
		}
	CHECK_EQ(seen, 4);
	return counter("cuda.direct") - before;
}

/* They say how a kernel runs, not when. */
static bool may_wait(uint32_t id)
{
	static const uint32_t known[] = { CU_LAUNCH_IGNORE, CU_LAUNCH_ACCESS_POLICY_WINDOW, CU_LAUNCH_CLUSTER_DIMENSION,
		CU_LAUNCH_CLUSTER_SCHEDULING, CU_LAUNCH_PRIORITY, CU_LAUNCH_MEM_SYNC_DOMAIN_MAP,
		CU_LAUNCH_MEM_SYNC_DOMAIN, CU_LAUNCH_PREFERRED_CLUSTER, CU_LAUNCH_CARVEOUT };

	for (unsigned i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (known[i] == id)
			return true;
	return false;
}

static unsigned nodes_with(uint32_t id, int value)
{
	unsigned n = 0;

	for (unsigned i = 0; i < stub.count; i++)
		n += stub.call[i].row == ROW_cuGraphKernelNodeSetAttribute && stub.call[i].arg[1] == id &&
		     (int)stub.call[i].arg[2] == value;
	return n;
}

static void window(CUstream s, struct cuda_launch_attribute *fourth, struct cuda_launch_attribute *third)
{
	for (int round = 0; round < 6; round++) {
		for (uint32_t i = 0; i < WINDOW; i++) {
			uint32_t x = (i + 1) * 2654435761u;
			x = (x ^ x >> 15) * 2246822519u;
			launch((CUfunction)(uintptr_t)(0x20000 + 16 * (x >> 16) % 61),
				i % 4 == 0 ? fourth : i % 4 == 2 ? third : NULL, s);
		}
		OK(cu.cuCtxSynchronize());
	}
}

/* Every fourth launch has a priority of its own, every fourth is of clusters; these have that of their stream. */
static void in_graphs(void)
{
	struct cuda_launch_attribute own = attribute(CU_LAUNCH_PRIORITY, 0);
	struct cuda_launch_attribute clusters = attribute(CU_LAUNCH_CLUSTER_DIMENSION, 3);
	CUstream s = (CUstream)0x5550;
	uint64_t batched = counter("cuda.batched");

	own.value.priority = -2;
	stub.count = 0;
	stub.stream_priority = -5;
	stub.busy = 1;
	window(s, &own, &clusters);
	CHECK(counter("cuda.batched") > batched + WINDOW);
	unsigned of_stream = nodes_with(CU_LAUNCH_PRIORITY, -5), with_own = nodes_with(CU_LAUNCH_PRIORITY, -2);
	unsigned of_clusters = nodes_with(CU_LAUNCH_CLUSTER_DIMENSION, 3);
	printf("%u nodes with the stream's priority, %u with their own, %u of clusters\n", of_stream, with_own,
		of_clusters);
	CHECK(of_stream >= WINDOW / 2);
	CHECK(with_own >= of_stream / 5);
	CHECK(of_clusters >= of_stream / 5);
}

/* A launch has what was set of its stream, and so has its node; one of its own comes after. */
static void of_the_stream(const char *setter)
{
	CUresult (*set)(uint64_t, uint64_t, void *) = (CUresult(*)(uint64_t, uint64_t, void *))dlsym(api_driver, setter);
	struct cuda_launch_attribute own = attribute(CU_LAUNCH_MEM_SYNC_DOMAIN, 7);
	CUstream s = (CUstream)0x5550;
	uint64_t with_own = 0;

	window(s, &own, NULL);
	CHECK(stub.live_graphs > 0);
	OK(set((uintptr_t)s, CU_LAUNCH_MEM_SYNC_DOMAIN, &own.value));
	CHECK_EQ(stub.live_graphs, 0);
	stub.stream_attribute = 5;
	stub.count = 0;
	window(s, &own, NULL);
	CHECK(nodes_with(CU_LAUNCH_ACCESS_POLICY_WINDOW, 5) >= WINDOW / 2);
	CHECK(nodes_with(CU_LAUNCH_MEM_SYNC_DOMAIN_MAP, 5) >= WINDOW / 2);
	CHECK(nodes_with(CU_LAUNCH_MEM_SYNC_DOMAIN, 5) >= WINDOW / 2);
	CHECK(nodes_with(CU_LAUNCH_MEM_SYNC_DOMAIN, 7) >= WINDOW / 8);
	for (unsigned i = 0; i < stub.count; i++) {
		const struct stub_call *c = &stub.call[i];
		if (c->row != ROW_cuGraphKernelNodeSetAttribute || c->arg[1] != CU_LAUNCH_MEM_SYNC_DOMAIN)
			continue;
		CHECK(c->arg[2] != 5 || c->arg[0] != with_own);
		with_own = c->arg[2] == 7 ? c->arg[0] : 0;
	}
}

int main(void)
{
	CHECK(!api_load());
	OK(cu.cuInit(0));
	CHECK_EQ(straight(CU_LAUNCH_PRIORITY, 3), 1);
	CHECK_EQ(straight(CU_LAUNCH_PRIORITY, 4), 1); /* another value is another launch */
	CHECK_EQ(straight(CU_LAUNCH_CLUSTER_DIMENSION, 2), 1);
	CHECK_EQ(straight(CU_LAUNCH_CARVEOUT, 50), 1);
	CHECK_EQ(straight(CU_LAUNCH_CLUSTER_DIMENSION, 4), 4); /* six blocks are no whole number of them */
	CHECK_EQ(straight(CU_LAUNCH_COOPERATIVE, 1), 4);
	for (uint32_t id = 0; id < IDS; id++)
		if (!may_wait(id))
			CHECK_EQ(straight(id, 1), 4);
	in_graphs();
	CHECK_EQ(nodes_with(CU_LAUNCH_MEM_SYNC_DOMAIN, 0), 0);
	of_the_stream("cuStreamSetAttribute");
	of_the_stream("cuStreamCopyAttributes");
	return 0;
}
