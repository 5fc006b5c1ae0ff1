/* The way to another host: would a connection there find an RDMA device? */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* True: yes, as far as this end can tell.  ret_text says by what, or why not. */
bool peer_has_rdma(const char *host, char *ret_text, size_t room);
