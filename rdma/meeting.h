/*
 * How the two ends of a TCP connection between hosts find each other (verbs_meet.c).  As with a
 * rendezvous on one host the connecting side opens it and the accepting process calls; nothing waits.
 */
#pragma once
#include "handshake.h"

struct meeting;

/* Is it worth trying: another address, a device in this machine, a process that may use it? */
bool verbs_may_meet(const struct tuple *t);
/* Listens (role 0) or calls (role 1).  -errno: no use. */
int verbs_meet_open(const struct tuple *t, int role, struct meeting **ret_meeting);
/* 0: *ret_stream, and the meeting is the stream's; -EAGAIN: not yet; -ENOENT: nobody there; -EPERM: never. */
int verbs_meet_take(struct meeting *m, int role, struct stream **ret_stream);
/* In the child of a fork: the device and all that watches for it are the parent's. */
void verbs_after_fork(void);
/* Gives up one that no stream has taken. */
void verbs_meet_close(struct meeting *m);
