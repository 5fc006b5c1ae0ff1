/* What the coordinator knows about the sockets, and the small steps that all random steps are made
 * of. The model says which calls cannot block and what the sockets show once they have settled. */
#ifndef FUZZ_STEP_MODEL_H
#define FUZZ_STEP_MODEL_H

#include "step_run.h"

/* One descriptor of one process, at one end of a connection. */
struct end {
	int conn, side, proc, k;
	struct conn *c;
};

int handle(const struct end *e);
uint32_t pick(struct run *r, uint32_t n);
int chance(struct run *r, int percent);
uint64_t dir_key(const struct run *r, const struct end *e, int sender);
uint64_t unread(const struct conn *c, int side);
int holds_unread(const struct run *r, int side, int proc);
int side_holds(const struct conn *c, int side);
int pick_handle(struct run *r, int conn, int side, struct end *ret);
int pick_end(struct run *r, struct end *ret);
int pick_peer(struct run *r, const struct end *e, struct end *ret);
int at_end(const struct end *e);
int idle_and_alive(const struct end *e);
void set_reset(struct conn *c);
short expected_events(const struct conn *c, int side);
void settle(struct run *r, int conn);
void side_closed(struct run *r, int conn, int side);
int pick_proc(struct run *r, int side);
int room_for(const struct end *e, int n);
void sent(struct run *r, const struct end *e, int64_t n);
int64_t send_once(struct run *r, const struct end *e, int kind, int n, int flags);
int whole_send(struct run *r);
void received(struct conn *c, int side, int64_t n);
struct cmd recv_cmd(struct run *r, const struct end *e, int kind, int n, int flags);
void count_moved(struct conn *c, int from, int64_t n);
int pick_epoll(struct run *r, int side, int proc);
int free_handle(const struct end *e);
void proc_gone(struct run *r, int side, int proc);

/* The random steps. Each may find that it cannot be done now, and does nothing. */
void step_connect(struct run *r);
void step_send(struct run *r);
void step_corked(struct run *r);
void step_recv(struct run *r);
void step_drain_some(struct run *r);
void step_bulk(struct run *r);
void step_fill(struct run *r);
void step_oob(struct run *r);
void step_outq(struct run *r);
void step_refused(struct run *r);
void step_wait(struct run *r);
void step_rcvtimeo(struct run *r);
void step_ep_create(struct run *r);
void step_ep_ctl(struct run *r);
void step_ep_nest(struct run *r);
void step_ep_wait(struct run *r);
void step_ep_close(struct run *r);
void step_blocked(struct run *r);
void step_waitall(struct run *r);
void step_signalled(struct run *r);
void step_uring(struct run *r);
void step_shutdown(struct run *r);
void step_close(struct run *r);
void step_dup(struct run *r);
void step_nonblock(struct run *r);
void step_setopt(struct run *r);
void step_lowat(struct run *r);
void step_getopt(struct run *r);
void step_fork(struct run *r);
void step_child_ends(struct run *r);
void step_pass(struct run *r);
void step_exec(struct run *r);

#endif
