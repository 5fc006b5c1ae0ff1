/*
 * A READ into the program's buffer is under way, and its last packet on the wire: whatever ends or interrupts the call, a failure of the
 * link or the device, a time-out, a signal, the descriptor's end, it does not return before the device has come to rest.
 */
#include "peer.h"

#include "settings.h"
#include "signals.h"
#include "verbs_io.h"

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEAD_US = 20000, SOON_US = 200000, IDLE_US = 120000000, BLOCK = 2 * PEER_RING, GONE = 0xa5, PATIENCE = 4000 };

static struct peer p;
static char buffer[BLOCK];
static _Atomic bool returned;
static _Atomic pthread_t reader;

static void *reads(void *unused)
{
	struct iovec v = { buffer, BLOCK };
	ssize_t r = stream_recv(p.stream, p.lib_fd, &v, 1, (struct stream_opts){ .flags = MSG_WAITALL, .mark = signal_mark() });

	if (r == BLOCK && memcmp(buffer, p.memory, BLOCK))
		sim_wrong("other bytes than the peer's");
	memset(buffer, GONE, BLOCK);
	returned = true;
	return (void *)r;
}

static void handler(int unused)
{
}

/* ---- what goes on beside the READ */

static void link_fails(void)
{
	link_fail(link_in(verbs_of(p.stream)), FALLBACK_RDMA_PORT);
}

static void device_goes(void)
{
	sim_remove(0);
}

static void signal_comes(void)
{
	pthread_kill(reader, SIGUSR1);
}

static void descriptor_ends(void)
{
	close(p.lib_fd);
	p.lib_fd = -1;
}

static void time_passes(void)
{
}

static const struct {
	void (*happens)(void);
	bool whole; /* the READ ends well */
	uint64_t dead_us; /* a busy machine must have begun it by then */
} deeds[] = {
	{ link_fails, false, SOON_US }, { device_goes, false, SOON_US }, { time_passes, false, SOON_US },
	{ signal_comes, true, IDLE_US }, { descriptor_ends, true, IDLE_US }, { time_passes, true, IDLE_US },
};

static void offer(void)
{
	struct { struct frame_head head; struct frame_block block; } f = {
		.head = { .type = FRAME_BLOCK, .ring = (uint32_t)p.ring_w, .at = p.out_at },
		.block = { .address = (uintptr_t)p.memory, .length = BLOCK, .rkey = p.mr->rkey, .id = 1 },
	};

	memset(p.memory, 'b', BLOCK);
	if (send(p.fd, &f, sizeof(f), MSG_NOSIGNAL) != sizeof(f))
		sim_wrong("no block can be offered");
}

static void rests_before_it_returns(int which)
{
	struct timeval soon = { .tv_usec = 1000 };
	struct sigaction act = { .sa_handler = handler };
	pthread_t t;
	void *got;

	signals_sigaction(SIGUSR1, &act, NULL);
	peer_start(&p, 0);
	peer_meet(&p);
	peer_agree(&p);
	offer();
	setsockopt(p.lib_fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	settings.rdma_dead = deeds[which].dead_us;
	sim_wire.hold = true;
	if (pthread_create(&t, NULL, reads, NULL))
		sim_wrong("no thread");
	reader = t;
	PEER_WAIT(sim_wire.held);
	deeds[which].happens();
	for (int i = 0; i < PATIENCE && !returned; i++)
		peer_nap();
	if (returned)
		sim_wrong("deed %d: a call has returned, and its buffer is written", which);
	shutdown(p.fd, SHUT_WR);
	sim_wire.hold = false;
	pthread_join(t, &got);
	if (deeds[which].whole ? (ssize_t)got != BLOCK : (ssize_t)got > 0)
		sim_wrong("deed %d: %zd", which, (ssize_t)got);
	for (size_t i = 0; i < BLOCK; i++)
		if ((uint8_t)buffer[i] != GONE)
			sim_wrong("deed %d: byte %zu written behind the call", which, i);
	peer_end(&p);
	PEER_WAIT(!atomic_load(&dlaccel_stats.slot[STAT_net_ring_pages].value)); /* the thread has given all back */
}

int main(void)
{
	for (int which = 0; which < (int)(sizeof(deeds) / sizeof(*deeds)); which++)
		peer_apart(DEAD_US, IDLE_US, rests_before_it_returns, which);
	return 0;
}
