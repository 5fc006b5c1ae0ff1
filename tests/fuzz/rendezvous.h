/* Where two ends of a connection meet, worked out without the library's code, for who means ill (rdma/handshake.h). */
#ifndef FUZZ_RENDEZVOUS_H
#define FUZZ_RENDEZVOUS_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct tuple;

void tuple_read(int fd, int role, struct tuple *ret_tuple);
void boot_id_read(uint8_t *ret_id);
socklen_t rendezvous_name(int fd, int role, struct sockaddr_un *ret_name);

#endif
