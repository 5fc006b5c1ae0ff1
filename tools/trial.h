/*
 * Things tried for real instead of being deduced: each does once what the library will do, between
 * processes where it does it between processes.  0, or -errno of what was refused.
 */
#pragma once
#include <stddef.h>

int trial_memfd(void);	   /* a sealed, shared, sparse memfd */
int trial_copy(void);	   /* process_vm_readv and writev between two siblings, both ways */
int trial_abstract(void);  /* an abstract unix socket, with credentials and an fd passed over it */
int trial_counters(void);  /* TCP_INFO's byte counters agree with what was sent; -ENODATA: they do not */
int trial_pidfd(void);
int trial_library(const char *soname); /* dlopen, in a process of its own; -ENOENT */

/*
 * Lets the program's own loader map the program with `library` preloaded, without running any of its
 * code.  ret_said: what the loader had to say, whole.  -ENOEXEC: it gave up.
 */
int trial_load(const char *loader, const char *library, const char *program, char *ret_said, size_t room);
