/*
 * How the two ends of a TCP connection on one host find each other without a byte in the program's
 * stream.  The connecting side opens an abstract unix socket whose name both derive from the
 * connection's addresses; the process that really holds the accepted end calls it, and sends a
 * sealed memfd with everything that must agree.  Nothing here waits.
 *
 * All return 0 or -errno; -EAGAIN: not yet; -ENOENT: nobody there (yet).  Anything that does not
 * agree is logged and counted where it is found, and ends as -EPERM: plain TCP.
 */
#pragma once
#include "stream.h"

#include <netinet/in.h>
#include <stddef.h>

struct tuple {
	uint8_t connect_addr[16], accept_addr[16];
	uint16_t connect_port, accept_port; /* network order */
	uint32_t scope; /* this end's number of the device that link-local addresses are of */
};
enum { TUPLE_BYTES = offsetof(struct tuple, scope) }; /* what both ends know */

/* The connection's addresses as both ends see them; role 0 connects.  -EINVAL for a self-connect. */
int tuple_of(int fd, int role, struct tuple *ret_tuple);

/* 16 bytes that name this boot of this host; as they were if it cannot be known. */
void boot_id(uint8_t *ret_id);

/* Hidden descriptors; -1: none. */
struct rendezvous {
	int listener, call;
};

/* Connecting side: opens the rendezvous. */
int rendezvous_open(const struct tuple *t, struct rendezvous *r);
/* Connecting side: takes a call that has come in. */
int rendezvous_take(struct rendezvous *r, const struct tuple *t, struct stream **ret_stream);
void rendezvous_close(struct rendezvous *r);
/* Accepting side: calls. */
int rendezvous_call(const struct tuple *t, struct stream **ret_stream);
