/* Streams of tokens for the tests of the finder, each with the truth about its steps beside it. */
#pragma once

#include <stdint.h>

/* The autograd thread issues the backward pass; what comes before and after it is the main one's.
 */
struct trace_step {
	uint32_t from, count;
	uint32_t forward, optimizer; /* where the forward pass ends and the optimizer begins */
};

/* A recorded run: tokens and times, and where the program itself said that steps begin. */
struct trace {
	uint32_t count, steps;
	uint32_t *token;
	uint64_t *ns;
	struct trace_step step[16];
};

struct stream_token {
	uint32_t token;
	int32_t step;  /* -1: belongs to no step */
	int32_t phase; /* place in the unchanged step; -1: not from the trace */
	uint64_t ns;
};

struct stream {
	uint32_t count, room;
	int32_t steps;
	uint64_t now, order;
	struct stream_token *t;
};

struct change {
	uint32_t ppm; /* share of changed tokens: substituted, deleted, extra, a third each */
	uint64_t seed;
	int only_substitute;
};

extern const char *const trace_names[];
extern const unsigned trace_name_count;

struct trace *trace_load(const char *name); /* folder in $DLACCEL_TRACES */
void trace_free(struct trace *tr);

uint64_t random_next(uint64_t *state);

struct stream *stream_new(void);
void stream_free(struct stream *s);
void stream_add(struct stream *s, uint32_t token, uint64_t ns, int32_t step, int32_t phase);
/* n whole steps, drawn at random from the recorded ones: no order of theirs comes back */
void stream_steps(struct stream *s, const struct trace *tr, int n);
/* batches of a forward pass, no truth in it: its phases are -1 */
void stream_evaluation(struct stream *s, const struct trace *tr, int batches);
/* one step of `micro` forward and backward passes and then the optimizer */
void stream_accumulated(struct stream *s, const struct trace *tr, int n, int micro);
uint32_t accumulated_period(const struct trace *tr, int micro);
struct stream *stream_changed(const struct stream *s, const struct change *c);
