#include "proof.h"

#include "sys.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

enum { TRIES = 20, STATE_ESTABLISHED = 1 };

static bool tcp_info(int fd, struct tcp_info *ret_info)
{
	uint32_t len = sizeof(*ret_info);

	memset(ret_info, 0, sizeof(*ret_info));
	return !sys_call(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, ret_info, &len) &&
	       len >= offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(ret_info->tcpi_bytes_received);
}

/* The kernel counts the SYN of the connecting side (role 0) as a byte acknowledged. */
static enum proof match_tx(int fd, uint64_t counted, int role)
{
	struct tcp_info a, b;
	int queued = 0;

	if (!tcp_info(fd, &a) || sys_call(SYS_ioctl, fd, SIOCOUTQ, &queued) || !tcp_info(fd, &b))
		return PROOF_DIFFERS;
	/* a SYN that is not acknowledged yet, or a FIN, counts too */
	if (a.tcpi_bytes_acked != b.tcpi_bytes_acked || b.tcpi_state != STATE_ESTABLISHED)
		return PROOF_MOVING;
	return a.tcpi_bytes_acked + (uint64_t)queued == counted + (role == 0) ? PROOF_MATCH : PROOF_DIFFERS;
}

static enum proof match_rx(int fd, uint64_t counted)
{
	struct tcp_info a, b;
	int queued = 0;

	if (!tcp_info(fd, &a) || sys_call(SYS_ioctl, fd, FIONREAD, &queued) || !tcp_info(fd, &b))
		return PROOF_DIFFERS;
	if (a.tcpi_bytes_received != b.tcpi_bytes_received || b.tcpi_state != STATE_ESTABLISHED)
		return PROOF_MOVING;
	return a.tcpi_bytes_received == counted + (uint64_t)queued ? PROOF_MATCH : PROOF_DIFFERS;
}

enum proof proof_tx(int fd, uint64_t counted, int role)
{
	enum proof r = PROOF_MOVING;

	for (int i = 0; i < TRIES && r == PROOF_MOVING; i++)
		r = match_tx(fd, counted, role);
	return r;
}

enum proof proof_rx(int fd, uint64_t counted)
{
	enum proof r = PROOF_MOVING;

	for (int i = 0; i < TRIES && r == PROOF_MOVING; i++)
		r = match_rx(fd, counted);
	return r;
}
