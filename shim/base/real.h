/*
 * The real libc functions behind every hook, from hooks_libc.def.  Each pointer first leads to a
 * trampoline that resolves the whole table, so that a call that comes before our constructor (from
 * another library's) finds its way.  Resolved with RTLD_NEXT: other preloaded libraries stay in
 * the chain.
 */
#pragma once
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct real {
#define HOOK(presence, ret, name, params, args) ret(*name) params;
#include "hooks_libc.def"
#undef HOOK
};

extern struct real real;

/* It is the C library's, not that of another library in the chain: a system call does the same. */
extern bool real_epoll_ctl_is_libcs;
/*
 * So are read, write, send, recv and their like, and no thread of the process has been cancelled yet: for one that does
 * not wait a system call does the same.
 */
extern _Atomic bool real_data_is_direct;

/* Resolves all pointers; idempotent, safe from any thread.  Returns how many REQUIRED are missing. */
int real_init(void);

/* dlsym as libc has it, although the shim exports a dlsym of its own. */
void *real_dlsym(void *handle, const char *name);
