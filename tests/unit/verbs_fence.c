/*
 * A READ into the program's buffer is under way, and its last packet on the wire: whatever ends or interrupts the call, a failure of the
 * link or the device, a time-out, a signal, the descriptor's end, it does not return before the device has come to rest.  Nor is the peer told
 * that it has ended.  The same of a READ out of the program's buffer, by the peer, and the call that sends.
 */
#include "peer.h"

#include "settings.h"
#include "signals.h"
#include "verbs_io.h"

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEAD_US = 20000, LATER_US = 2000000, IDLE_US = 120000000, BLOCK = 2 * PEER_RING, SENT = 65536, PART = 4096, GONE = 0xa5, PATIENCE = 1500, AGAIN = 20 };

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

/* Without an answer; a busy machine must have begun it by then. */
static void is_given_up(void)
{
	PEER_WAIT(load_acq(link_in(verbs_of(p.stream))->state) == LINK_DOWN);
}

/* Of the packet that is held, again and again: what was asked for behind the READ must not be done meanwhile. */
static void answer_is_lost(void)
{
	uint64_t before = sim_wire.packets;

	sim_wire.ack_loss = 256;
	sim_wire.hold = false;
	PEER_WAIT(sim_wire.packets > before + AGAIN);
	for (bool message; peer_listen(&p, &message);)
		if (message && p.heard.type == CONTROL_DONE)
			sim_wrong("a READ that is under way is said to have ended");
	sim_wire.hold = true;
	PEER_WAIT(sim_wire.held);
	sim_wire.ack_loss = 0;
}

static const struct {
	void (*happens)(void);
	bool whole; /* the READ ends well */
	uint64_t dead_us;
} deeds[] = {
	{ link_fails, false, IDLE_US }, { device_goes, false, IDLE_US }, { is_given_up, false, LATER_US },
	{ signal_comes, true, IDLE_US }, { descriptor_ends, true, IDLE_US }, { time_passes, true, IDLE_US }, { answer_is_lost, true, IDLE_US },
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

static void may_not_return(const char *what, int which)
{
	for (int i = 0; i < PATIENCE && !returned; i++)
		peer_nap();
	if (returned)
		sim_wrong("%s %d: a call has returned, and its buffer is in use", what, which);
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
	peer_patience(deeds[which].dead_us);
	sim_wire.hold = true;
	if (pthread_create(&t, NULL, reads, NULL))
		sim_wrong("no thread");
	reader = t;
	PEER_WAIT(sim_wire.held);
	deeds[which].happens();
	if (!deeds[which].whole)
		peer_patience(DEAD_US); /* for completions */
	may_not_return("deed", which);
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

/* ---- the library sends */

static char sent[SENT];

static void *sends(void *unused)
{
	struct iovec v = { sent, SENT };
	ssize_t r = stream_send(p.stream, p.lib_fd, &v, 1, (struct stream_opts){ .mark = signal_mark() });

	memset(sent, GONE, SENT);
	returned = true;
	return (void *)r;
}

static struct frame_block offered(void)
{
	struct { struct frame_head head; struct frame_block block; } f;

	if (recv(p.fd, &f, sizeof(f), MSG_WAITALL) != sizeof(f) || f.head.type != FRAME_BLOCK || f.block.length != SENT)
		sim_wrong("no block is offered");
	return f.block;
}

static void meets_to_send(void)
{
	peer_start(&p, 0);
	peer_meet(&p);
	peer_agree(&p);
	memset(sent, 's', SENT);
}

/* The link fails, or the block is taken back in vain. */
static void rests_before_it_has_sent(int in_vain)
{
	pthread_t t;
	void *got;

	meets_to_send();
	sim_wire.hold = true;
	peer_patience(in_vain ? LATER_US : IDLE_US);
	if (pthread_create(&t, NULL, sends, NULL))
		sim_wrong("no thread");
	struct frame_block b = offered();
	struct block_claim *claim = (struct block_claim *)p.memory;
	*claim = (struct block_claim){ .upto = PART, .id = b.id };
	peer_write(&p, claim, p.theirs.ring_address + PEER_RING + offsetof(struct peer_words, claim), sizeof(*claim));
	peer_read_by(&p, b.rkey, p.bulk, b.address, PART);
	PEER_WAIT(sim_wire.held);
	if (in_vain)
		is_given_up();
	else
		link_fails();
	peer_patience(DEAD_US);
	may_not_return("send", in_vain);
	sim_wire.hold = false;
	pthread_join(t, &got);
	if ((ssize_t)got != SENT)
		sim_wrong("send %d: %zd", in_vain, (ssize_t)got);
	for (size_t i = 0; i < PART; i++)
		if (p.bulk[i] && p.bulk[i] != 's')
			sim_wrong("send %d: byte %zu read behind the call", in_vain, i);
	peer_end(&p);
}

/* The peer hears of a block by TCP, and may read it at once: not before the device is known to have opened it. */
static void opens_before_it_offers(int unused)
{
	char byte;
	pthread_t t;
	void *got;

	meets_to_send();
	peer_patience(IDLE_US);
	sim_wire.blind = true;
	uint64_t before = sim_wire.completions;
	if (pthread_create(&t, NULL, sends, NULL))
		sim_wrong("no thread");
	PEER_WAIT(sim_wire.completions > before);
	for (int i = 0; i < AGAIN; i++)
		peer_nap();
	if (recv(p.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		sim_wrong("a block is offered, and is not open yet");
	sim_wire.blind = false;
	struct frame_block b = offered();
	peer_read_by(&p, b.rkey, p.bulk, b.address, SENT);
	peer_await(&p, false);
	struct control c = { .type = CONTROL_DONE, .id = b.id, .ring = SENT };
	peer_message(&p, &c, sizeof(c));
	pthread_join(t, &got);
	if ((ssize_t)got != SENT || p.bulk[0] != 's')
		sim_wrong("%zd of a block", (ssize_t)got);
	peer_end(&p);
}

int main(void)
{
	for (int which = 0; which < (int)(sizeof(deeds) / sizeof(*deeds)); which++)
		peer_apart(DEAD_US, IDLE_US, rests_before_it_returns, which);
	for (int in_vain = 0; in_vain < 2; in_vain++)
		peer_apart(DEAD_US, IDLE_US, rests_before_it_has_sent, in_vain);
	peer_apart(DEAD_US, IDLE_US, opens_before_it_offers, 0);
	return 0;
}
