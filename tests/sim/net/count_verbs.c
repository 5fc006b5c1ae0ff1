/* Preloaded before the library that is measured: what a process does between its first getppid and its last that no
 * system call shows.  The figures go to the standard error with the last.
 *
 * Copies are the bytes that pass through memcpy, of whichever library; what the kernel copies is not among them.  Verbs are
 * inline calls through their context's table: that of the one device is changed when the first queue pair on it is made. */
#include <dlfcn.h>
#include <infiniband/verbs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic uint64_t copied, completions, sends, receives, arms;
static struct ibv_context_ops real;

static void *copy(void *to, const void *from, size_t n)
{
	void *d = to;

	atomic_fetch_add_explicit(&copied, n, memory_order_relaxed);
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n)::"memory");
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	return copy(to, from, n);
}

void *__memcpy_chk(void *to, const void *from, size_t n, size_t room)
{
	return copy(to, from, n);
}

static int poll_cq(struct ibv_cq *cq, int most, struct ibv_wc *wc)
{
	int n = real.poll_cq(cq, most, wc);

	if (n > 0)
		completions += (uint64_t)n;
	return n;
}

static int req_notify_cq(struct ibv_cq *cq, int solicited)
{
	arms++;
	return real.req_notify_cq(cq, solicited);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	sends++;
	return real.post_send(qp, wr, bad);
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	receives++;
	return real.post_recv(qp, wr, bad);
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	receives++;
	return real.post_srq_recv(srq, wr, bad);
}

static void watch(struct ibv_context_ops *ops)
{
	if (ops->poll_cq == poll_cq)
		return;
	real = *ops;
	ops->poll_cq = poll_cq;
	ops->req_notify_cq = req_notify_cq;
	ops->post_send = post_send;
	ops->post_recv = post_recv;
	ops->post_srq_recv = post_srq_recv;
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	void *lib = dlopen("libibverbs.so.1", RTLD_LAZY | RTLD_NOLOAD);
	struct ibv_qp *(*make)(struct ibv_pd *, struct ibv_qp_init_attr *) = dlsym(lib, "ibv_create_qp");

	watch(&pd->context->ops);
	return make(pd, attr);
}

static void show(void)
{
	fprintf(stderr, "counted {\"copied\": %lu, \"completions\": %lu, \"sends\": %lu, \"receives\": %lu, \"arms\": %lu}\n",
		copied, completions, sends, receives, arms);
}

pid_t getppid(void)
{
	static bool began;

	if (began)
		show();
	else
		copied = completions = sends = receives = arms = 0;
	began = true;
	return (pid_t)syscall(SYS_getppid);
}
