/*
 * The stream protocol of rdma/produce.c and rdma/consume.c, in all interleavings of small scenarios.
 *
 *   protocol                       every scenario, as the protocol is: no fault may be found
 *   protocol --without NAME|all    leaves NAME out: its scenario must notice
 *   protocol --mutations           the names
 *   ... --scenario NAME            only this one
 *   ... --show                     prints the interleaving that leads to a fault
 *
 * Exit status: 0 as expected, 1 not.
 */
#include "explore.h"

#include <stdio.h>
#include <string.h>

static const struct scenario scenarios[] = {
	{
		.name = "ring", .says = "one blocking reader that never polls",
		.messages = { 1, 1, 1 }, .tcp = 3, .ring = 2, .reader = { { true, 3 } },
	},
	{
		.name = "end", .says = "the same, with an end",
		.messages = { 1, 2 }, .tcp = 3, .ring = 2, .fin = true, .reader = { { true, 2 } },
	},
	{
		.name = "spin", .says = "a reader that polls, a sender that elides and defers",
		.messages = { 1, 1 }, .tcp = 2, .ring = 2, .may_spin = true, .may_defer = true, .reader = { { true, 2 } },
	},
	{
		.name = "edge", .says = "an edge-triggered wait that nobody sees",
		.messages = { 1, 1, 1 }, .tcp = 3, .ring = 2, .edge = true, .edge_triggered = true, .reader = { { false, 1 } },
	},
	{
		.name = "unseen", .says = "a level-triggered wait that nobody sees",
		.messages = { 1, 2 }, .tcp = 2, .ring = 2, .edge = true, .reader = { { false, 2 } },
	},
	{
		.name = "waits", .says = "a level-triggered wait of ours",
		.messages = { 1, 1, 1 }, .tcp = 3, .ring = 2, .waits = true, .reader = { { false, 1 } },
	},
	{
		.name = "waits-full", .says = "the same, TCP has room for a byte",
		.messages = { 1, 1 }, .tcp = 1, .ring = 1, .waits = true, .reader = { { false, 2 } },
	},
	{
		.name = "arms", .says = "a reader that polls comes to wait for edges where nobody sees it",
		.messages = { 1, 1 }, .tcp = 2, .ring = 2, .arms = true, .edge_triggered = true, .must_ring = true,
		.may_spin = true, .reader = { { false, 1, 0, ALWAYS } },
	},
	{
		.name = "two", .says = "one reader sleeps, another takes a byte and goes",
		.messages = { 2 }, .tcp = 2, .ring = 2, .must_ring = true, .reader = { { true, 2 }, { false, 1, 1 } },
	},
	{
		.name = "two-spin", .says = "one reader sleeps, another polls, takes a byte and goes",
		.messages = { 2 }, .tcp = 2, .ring = 2, .must_ring = true, .may_spin = true,
		.reader = { { true, 2, 0, NEVER }, { true, 1, 1, ALWAYS } },
	},
	{
		.name = "two-offer", .says = "the same two, and a block that may be withdrawn",
		.messages = { 2 }, .tcp = 2, .ring = 2, .must_ring = true, .offers = true,
		.reader = { { true, 2 }, { false, 1, 1 } },
	},
	{
		.name = "two-inline", .says = "two readers in the kernel's recv",
		.messages = { 1 }, .tcp = 2, .ring = 1, .reader = { { true, 1 }, { false, 1, 2 } },
	},
	{
		.name = "full", .says = "TCP has room for a byte, the ring for one, acknowledgements come late",
		.messages = { 1, 1, 1 }, .tcp = 1, .ring = 1, .lazy_ack = true, .reader = { { true, 1 } },
	},
	{
		.name = "full-spin", .says = "the same with a reader that polls",
		.messages = { 1, 1 }, .tcp = 1, .ring = 1, .may_spin = true, .reader = { { true, 1 } },
	},
	{
		.name = "killed", .says = "the sender dies between any two operations",
		.messages = { 1, 2 }, .tcp = 3, .ring = 2, .kill = true, .fin = true, .reader = { { true, 2 } },
	},
	{
		.name = "close", .says = "the reader takes what it wants and closes",
		.messages = { 1, 1 }, .tcp = 3, .ring = 2, .must_ring = true, .closes = true, .reader = { { true, 2, 1 } },
	},
	{
		.name = "offer", .says = "blocks offered, pulled, taken, withdrawn",
		.messages = { 3 }, .tcp = 2, .ring = 1, .must_ring = true, .offers = true, .reader = { { true, 2 } },
	},
	{
		.name = "offer-killed", .says = "the sender of a block dies",
		.messages = { 2 }, .tcp = 2, .ring = 1, .must_ring = true, .offers = true, .kill = true, .fin = true,
		.reader = { { true, 2 } },
	},
	{
		.name = "waits-offer", .says = "a level-triggered wait of ours, and a block that may be withdrawn",
		.messages = { 3 }, .tcp = 2, .ring = 4, .must_ring = true, .offers = true, .waits = true,
		.reader = { { false, 2 } },
	},
	{
		.name = "handover", .says = "a direction changes hands while another thread makes plain calls",
		.messages = { 1 }, .tcp = 1, .ring = 1, .handover = true, .reader = { { false, 1 } },
	},
	{
		.name = "inline", .says = "the reader comes to want no ring",
		.messages = { 1, 1, 1 }, .tcp = 3, .ring = 2, .wants_inline = true, .reader = { { true, 1 } },
	},
	{
		.name = "leaves", .says = "the sender leaves the ring with nothing to send inline",
		.messages = { 1, 1 }, .tcp = 2, .ring = 2, .may_spin = true, .leaves = true, .reader = { { true, 1 } },
	},
};

static void begin(struct state *s)
{
	struct thread *t = &s->t[SENDER];

	memset(s, 0, sizeof(*s));
	s->mem[SEGW] = 1;
	s->mem[SEG_B] = OPEN;
	t->segw = 1;
	for (int i = 0; i < 2; i++)
		s->t[READER + i].done = !scenario->reader[i].room;
}

/*
 * What is left out, and the scenario that must notice.  The first part are the marks in rdma/ and shim/, which
 * tags.py compares with this list; the second, faults that were once in the code or in a draft.
 */
static const struct {
	const char *name, *scenario;
	const char *harmless; /* why no scenario notices */
} mutations[] = {
	{ "fence_edge", "arms", "whoever polls takes what was elided; only a waiter that leaves it to another could lose it" },
	{ "fence_sleep", "two-spin" },
	{ "fence_switch", "handover" },
	{ "switch_recheck", "handover" },
	{ "plain_recheck", "handover" },
	{ "tell_at_end", "ring" },
	{ "drain_settle", "close", "swallow_late takes what is left in TCP" },
	{ "drain_segment", "ring", "drain_inline does the same one step later" },
	{ "drain_inline", "ring", "drain_segment does the same one step later" },
	{ "drain_late", "killed" },
	{ "drain_closing", "close" },
	{ "wait_ringing", "close" },
	{ "direct_recheck", "two-inline", "the mark can be set on an open segment only, and that is the last one" },
	{ "late_recheck", "two-offer" },
	{ "doorbell_offer", "offer", "the block is withdrawn and goes by the ring" },
	{ "taken_inline", "inline", "a reader of ours swallows the doorbell; only a foreign one would read it" },
	{ "fence_plain", "inline", "the sender learns of it one send later" },
	{ "fence_prefer", "inline", "the sender learns of it one send later" },
	{ "fence_enter", "spin", "nothing is published yet: fence_publish and another look come before anybody relies on it" },
	{ "fence_poll_end", "spin", "fence_sleep and another look come before every sleep" },
	{ "fence_publish", "spin" },
	{ "doorbell", "ring" },
	{ "first_doorbell", "ring" },
	{ "tell_before_inline", "end" },
	{ "fence_ringing", "close" },
	{ "fence_closing", "close" },
	{ "fence_settle", "two" },
	{ "settle_recheck", "ring" },
	{ "fence_late", "two-offer" },
	{ "sleepers", "two-spin" },
	{ "recheck_before_sleep", "two-spin" },
	{ "claim_recheck", "offer" },
	{ "fence_defer", "spin", "the loads that it precedes come after fence_publish already" },
	{ "restore_token", "two", "the next publish rings once more than it needs to" },

	{ "tx_after_clear", "ring" },       /* tx loaded after the token is given back */
	{ "segw_before_rw", "ring" },       /* the table looked at before the ring */
	{ "restore_unasked", "two" },       /* a token set for a doorbell that nobody has sent */
	{ "stale_reader", "two-inline" },   /* a READING mark taken for one's own because it once was */
	{ "offer_of_the_dead", "offer-killed" }, /* a block of a dead sender offered for ever */
	{ "told_of_doorbell", "waits" },     /* a doorbell told of as the inline bytes that will follow it */
	{ "told_of_withdrawn", "waits-offer" }, /* a block told of that is withdrawn before it is claimed */
	{ "looks_behind_one", "leaves" },    /* ring bytes behind a segment that is done, before another one, are not ready */
	{ "doorbell_gives_up", "full" },    /* a doorbell that found no room is not sent later */
};

static const char *explore_all(const char *only, bool show, bool tell)
{
	const char *what = NULL;

	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]) && !what; i++) {
		struct state s;
		size_t states;
		scenario = &scenarios[i];
		if (only && strcmp(only, scenario->name))
			continue;
		begin(&s);
		what = explore(&s, show, &states);
		if (tell || what)
			printf("%-14s %8zu states  %s\n", scenario->name, states, what ? what : "no fault");
		fflush(stdout);
	}
	return what;
}

static int check_mutation(size_t i, const char *only, bool show)
{
	const char *harmless = mutations[i].harmless;

	mutation = mutations[i].name;
	bool noticed = explore_all(only ? only : mutations[i].scenario, show, false) != NULL;
	if (noticed != !harmless)
		printf("without %s: %s\n", mutation, noticed ? "noticed, but said to be harmless" : "NOT NOTICED");
	else
		printf("without %s: %s%s\n", mutation, noticed ? "noticed" : "no fault: ", noticed ? "" : harmless);
	return noticed == !!harmless;
}

static int check_mutations(const char *name, const char *only, bool show)
{
	int wrong = 0, known = 0;

	for (size_t i = 0; i < sizeof(mutations) / sizeof(mutations[0]); i++)
		if (!strcmp(name, "all") || !strcmp(name, mutations[i].name)) {
			known++;
			wrong += check_mutation(i, only, show);
		}
	if (!known)
		fprintf(stderr, "no mutation %s\n", name);
	return wrong || !known;
}

static int list_mutations(void)
{
	for (size_t i = 0; i < sizeof(mutations) / sizeof(mutations[0]); i++)
		puts(mutations[i].name);
	return 0;
}

int main(int argc, char **argv)
{
	const char *only = NULL, *without = NULL;
	bool show = false;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--mutations"))
			return list_mutations();
		else if (!strcmp(argv[i], "--show"))
			show = true;
		else if (!strcmp(argv[i], "--scenario") && i + 1 < argc)
			only = argv[++i];
		else if (!strcmp(argv[i], "--without") && i + 1 < argc)
			without = argv[++i];
		else
			return fprintf(stderr, "unknown argument %s\n", argv[i]), 2;
	}
	return without ? check_mutations(without, only, show) : explore_all(only, show, true) != NULL;
}
