/*
 * The life of descriptors and processes: which calls make, share and end connections, and which of
 * them bring a connection back to plain TCP.  Results as libc's.
 */
#pragma once
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

int life_accept(int listener, struct sockaddr *addr, socklen_t *len, int flags);
int life_connect(int fd, const struct sockaddr *addr, socklen_t len);
int life_shutdown(int fd, int how);
int life_getsockopt(int fd, int level, int name, void *val, socklen_t *len);
int life_setsockopt(int fd, int level, int name, const void *val, socklen_t len);
int life_close(int fd);
int life_close_range(unsigned first, unsigned last, int flags);
int life_dup(int fd);
int life_dup3(int fd, int to, int flags);
int life_dup2(int fd, int to);
int life_fcntl(int fd, int cmd, void *arg);
int life_ioctl(int fd, unsigned long req, void *arg);
/* stdio, exec and the like: descriptors that leave our sight. */
void life_leaves(int fd, int why);
int life_fclose(FILE *f);
/* Closed in a way that leaves only the bookkeeping to us. */
void life_forget(int fd);
/* The process becomes another program, if it is one that may. */
void life_before_exec(void);
void life_init(void);
void life_exit(void);
