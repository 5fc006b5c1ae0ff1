/* The table of the one-host transport, and what of it is a line or two. */
#include "shm.h"
#include "spin.h"

static bool is_edge(struct stream *s)
{
	return load_rlx(s->in->edge);
}

static void adopted(struct stream *s, int fd)
{
	cma_self_test(s);
}

static void take_tx(struct stream *s, int fd, uint64_t carried)
{
	store_rlx(s->side->tx, carried);
	store_rel(s->out->tx, carried);
}

/* From `counted` on the peer may leave TCP. */
static void take_rx(struct stream *s, int fd, uint64_t carried)
{
	store_rlx(s->side->rx, carried);
	store_rel(s->in->rx, carried);
	store_rel(s->in->counted, 1);
}

const struct transport_ops transport_shm = {
	.name = "shared memory",
	.stat = STAT_net_shm,
	.raw_sends = true,
	.send = shm_send,
	.recv = shm_recv,
	.recvmsg_inline = shm_recvmsg_inline,
	.shutdown_write = shm_shutdown_write,
	.available = shm_available,
	.begin_raw_send = shm_begin_raw_send,
	.end_raw_send = shm_end_raw_send,
	.wait_ready = shm_wait_ready,
	.really_readable = shm_really_readable,
	.set_lowat = shm_set_lowat,
	.lowat_drained = shm_lowat_drained,
	.make_plain = shm_make_plain,
	.quiesce = shm_quiesce,
	.set_edge = shm_set_edge,
	.is_edge = is_edge,
	.close_means_reset = shm_close_means_reset,
	.sleep_begin = shm_sleep_begin,
	.sleep_end = shm_sleep_end,
	.poll_begin = shm_poll_begin,
	.poll_end = shm_poll_end,
	.may_spin = shm_may_spin,
	.spin_result = spin_result,
	.spin_preempted = spin_preempted,
	.adopted = adopted,
	.take_tx = take_tx,
	.take_rx = take_rx,
	.destroy = shm_destroy,
};
