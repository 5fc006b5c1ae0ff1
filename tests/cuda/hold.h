/*
 * On the stub driver: a launch is held inside the driver, and goes on once another call has come through to it, waits
 * for that launch, or has returned.
 */
#pragma once
#include "api.h"
#include "driver.h"
#include "stub.h"

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

typedef CUresult any_fn(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
	uint64_t, uint64_t, uint64_t);

/* Emptied: a record that another thread is about to write must not be taken for what lay there before. */
static inline void clear_log(void)
{
	for (unsigned i = 0; i < stub.count && i < STUB_LOG; i++)
		stub.call[i].row = -1;
	stub.count = 0;
}

static struct {
	pid_t caller;
	unsigned from;
	int row;
} watched;

static inline bool caller_sleeps(void)
{
	char path[64], text[256], *p;
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", watched.caller);
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	p = strrchr(text, ')');
	return p && p[2] == 'S';
}

/* The longest entries take eleven arguments; no entry takes what happens to lie on the stack. */
static inline CUresult call(unsigned row, const uint64_t *a)
{
	any_fn *entry = (any_fn *)dlsym(api_driver, cuda_rows[row].name);

	return entry(a[0], a[1], a[2], a[3], a[4], a[5], 0, 0, 0, 0, 0);
}

static inline int place_of(int row)
{
	for (unsigned i = watched.from; i < stub.count; i++)
		if (__atomic_load_n(&stub.call[i].row, __ATOMIC_ACQUIRE) == row)
			return (int)i;
	return -1;
}

/* Lets the driver go on once the call has come through to it, or waits for it to go on. */
static inline void *releaser(void *arg)
{
	while (place_of(watched.row) < 0 && !caller_sleeps() &&
		!__atomic_load_n((bool *)arg, __ATOMIC_SEQ_CST))
		sched_yield();
	__atomic_store_n(&stub.hold, 0, __ATOMIC_SEQ_CST);
	return NULL;
}

