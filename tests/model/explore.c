#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct scenario *scenario;
const char *mutation;
struct state *now;
const char *fault;
const char *did_in, *did_what;

static unsigned choice, choices;

bool mutated(const char *name)
{
	return mutation && !strcmp(mutation, name);
}

/* Each of n ways is tried. */
unsigned choose(unsigned n)
{
	unsigned way = choice % n;

	choice /= n;
	choices *= n;
	return way;
}

void found(const char *what)
{
	if (!fault)
		fault = what;
}

uint8_t load(const struct thread *t, unsigned loc)
{
	for (unsigned i = t->stores; i--;)
		if (t->store[i][0] == loc)
			return t->store[i][1];
	return now->mem[loc];
}

void store(struct thread *t, unsigned loc, uint8_t v)
{
	if (t->stores == BUFFERED) {
		fprintf(stderr, "store buffer too small\n");
		exit(2);
	}
	t->store[t->stores][0] = (uint8_t)loc;
	t->store[t->stores++][1] = v;
}

static void flush(struct thread *t)
{
	now->mem[t->store[0][0]] = t->store[0][1];
	memmove(t->store[0], t->store[1], sizeof(t->store) - sizeof(t->store[0]));
	t->stores--;
	memset(t->store[t->stores], 0, sizeof(t->store[0]));
}

unsigned tcp_room(void)
{
	unsigned used = (unsigned)now->queued + now->unacked;

	return used < scenario->tcp ? scenario->tcp - used : 0;
}

void tcp_put(const uint8_t *bytes, unsigned n)
{
	if (now->closed) {
		if (!bytes[0])
			found("a doorbell reaches a closed socket: the end becomes a reset");
		return;
	}
	memcpy(now->queue + now->queued, bytes, n);
	now->queued += (uint8_t)n;
	now->arrived = true;
}

unsigned tcp_take(uint8_t *bytes, unsigned n)
{
	if (n > now->queued)
		n = now->queued;
	memcpy(bytes, now->queue, n);
	memmove(now->queue, now->queue + n, QUEUE - n);
	now->queued -= (uint8_t)n;
	memset(now->queue + now->queued, 0, QUEUE - now->queued);
	if (scenario->lazy_ack)
		now->unacked += (uint8_t)n;
	return n;
}

/* ---- transitions: a step of a thread, its oldest store becoming visible, an acknowledgement, death */

enum kind { STEP, FLUSH, ACK, KILL };
struct transition {
	uint8_t kind, thread;
	uint16_t way;
};

static bool step_thread(unsigned who)
{
	struct thread *t = &now->t[who], before = *t;

	if (t->done)
		return false;
	enum step s = who == SENDER ? run_sender(t) : run_reader(t);
	if (s == DONE)
		t->done = true;
	if (s != BLOCKED)
		return true;
	did_what = "comes to where it has to wait";
	return memcmp(&before, t, sizeof(before)) != 0;
}

static void kill_sender(void)
{
	struct thread *t = &now->t[SENDER];

	while (t->stores)
		flush(t);
	memset(t, 0, sizeof(*t));
	t->done = now->killed = now->fin = true;
	did_in = "kernel";
	did_what = "SIGKILL, then FIN";
}

static bool apply(struct transition x)
{
	struct thread *t = &now->t[x.thread];

	did_in = "memory";
	did_what = "oldest store becomes visible";
	switch (x.kind) {
	case STEP:
		choice = x.way;
		choices = 1;
		return step_thread(x.thread) && choice == 0;
	case FLUSH:
		if (!t->stores)
			return false;
		flush(t);
		return true;
	case ACK:
		if (!now->unacked)
			return false;
		now->unacked = 0;
		did_in = "kernel";
		did_what = "ACK";
		return true;
	default:
		if (!scenario->kill || x.thread != SENDER || t->done)
			return false;
		kill_sender();
		return true;
	}
}

/* ---- the set of states */

struct known {
	uint64_t hash[2];
	uint32_t index;
};
static struct known *table;
static size_t table_size, states;
static struct {
	uint32_t parent;
	struct transition by;
} *origin;
static uint32_t (*edges)[2];
static size_t edge_count, edge_room, origin_room;

static void *grow(void *p, size_t *room, size_t size)
{
	*room = *room ? *room * 2 : 4096;
	p = realloc(p, *room * size);
	if (!p) {
		perror("model");
		exit(2);
	}
	return p;
}

static void hash_state(const struct state *s, uint64_t h[2])
{
	const uint8_t *p = (const uint8_t *)s;

	h[0] = 0x9e3779b97f4a7c15;
	h[1] = 0xc2b2ae3d27d4eb4f;
	for (size_t i = 0; i < sizeof(*s); i += 8) {
		uint64_t w = 0;
		memcpy(&w, p + i, sizeof(*s) - i < 8 ? sizeof(*s) - i : 8);
		h[0] = (h[0] ^ w) * 0xff51afd7ed558ccd;
		h[0] ^= h[0] >> 32;
		h[1] = (h[1] + w) * 0xc4ceb9fe1a85ec53;
		h[1] ^= h[1] >> 29;
	}
	h[0] |= 1; /* 0: an empty slot */
}

static struct known *slot_of(const uint64_t h[2])
{
	size_t i = h[0] >> 1;

	for (;; i++) {
		struct known *k = &table[i & (table_size - 1)];
		if (!k->hash[0] || (k->hash[0] == h[0] && k->hash[1] == h[1]))
			return k;
	}
}

static void grow_table(void)
{
	struct known *old = table;
	size_t n = table_size;

	table_size = n ? n * 2 : 1 << 16;
	table = calloc(table_size, sizeof(*table));
	if (!table) {
		perror("model");
		exit(2);
	}
	for (size_t i = 0; i < n; i++)
		if (old[i].hash[0])
			*slot_of(old[i].hash) = old[i];
	free(old);
}

/* The state's number; *ret_new if it was not known. */
static uint32_t number(const struct state *s, uint32_t parent, struct transition by, bool *ret_new)
{
	uint64_t h[2];

	if (states * 2 >= table_size)
		grow_table();
	hash_state(s, h);
	struct known *k = slot_of(h);
	*ret_new = !k->hash[0];
	if (*ret_new) {
		*k = (struct known){ { h[0], h[1] }, (uint32_t)states };
		if (states == origin_room)
			origin = grow(origin, &origin_room, sizeof(*origin));
		origin[states].parent = parent;
		origin[states++].by = by;
	}
	return k->index;
}

static void add_edge(uint32_t from, uint32_t to)
{
	if (edge_count == edge_room)
		edges = grow(edges, &edge_room, sizeof(*edges));
	edges[edge_count][0] = from;
	edges[edge_count++][1] = to;
}

/* ---- what must be true where nothing can happen any more */

static const char *terminal_fault(const struct state *s)
{
	bool asleep = false;

	for (int i = READER; i < THREADS; i++)
		asleep |= !s->t[i].done;
	if (s->closed)
		return NULL;
	if (asleep && s->delivered < s->sent)
		return "lost wake-up: a reader sleeps, its data lies there, TCP says nothing";
	if (!s->t[SENDER].done)
		return "the sender waits for ever";
	if (asleep && s->fin)
		return "a reader sleeps after the end";
	return NULL;
}

/* ---- breadth first */

static struct state *frontier;
static size_t frontier_room, frontier_head, frontier_tail;

static void frontier_put(const struct state *s)
{
	if (frontier_tail - frontier_head == frontier_room) {
		size_t old = frontier_room;
		struct state *bigger = NULL;
		bigger = grow(NULL, &frontier_room, sizeof(*bigger));
		for (size_t i = 0; i < old; i++)
			bigger[i] = frontier[(frontier_head + i) % old];
		free(frontier);
		frontier = bigger;
		frontier_tail -= frontier_head;
		frontier_head = 0;
	}
	frontier[frontier_tail++ % frontier_room] = *s;
}

static uint32_t fault_from;
static struct transition fault_by;

static bool visit(const struct state *from, uint32_t index, struct transition x)
{
	struct state s = *from;
	bool is_new;

	now = &s;
	if (!apply(x))
		return false;
	fault_from = index;
	fault_by = x;
	uint32_t to = number(&s, index, x, &is_new);
	add_edge(index, to);
	if (is_new)
		frontier_put(&s);
	return true;
}

/* All that can happen next; false: nothing can. */
static bool expand(const struct state *s, uint32_t index)
{
	bool any = false;

	for (uint8_t who = 0; who < THREADS && !fault; who++) {
		unsigned ways = 1;
		for (uint16_t way = 0; way < ways && !fault; way++) {
			any |= visit(s, index, (struct transition){ STEP, who, way });
			if (choices > ways)
				ways = choices;
		}
		if (!fault)
			any |= visit(s, index, (struct transition){ FLUSH, who, 0 });
	}
	if (!fault)
		any |= visit(s, index, (struct transition){ ACK, SENDER, 0 });
	if (!fault && s->sent + s->delivered + s->mem[SEGW] > 1)
		any |= visit(s, index, (struct transition){ KILL, SENDER, 0 });
	return any;
}

/* From every state an end must be within reach: nobody runs in circles for ever. */
static uint32_t find_livelock(const bool *is_end)
{
	uint32_t *first = calloc(states + 1, sizeof(*first)), *back = malloc((edge_count + 1) * sizeof(*back));
	uint32_t *todo = malloc((states + 1) * sizeof(*todo)), n = 0, answer = UINT32_MAX;
	bool *reached = calloc(states, 1);

	if (!first || !back || !todo || !reached)
		exit(2);
	for (size_t i = 0; i < edge_count; i++)
		first[edges[i][1]]++;
	for (size_t i = 1; i <= states; i++)
		first[i] += first[i - 1];
	for (size_t i = 0; i < edge_count; i++)
		back[--first[edges[i][1]]] = edges[i][0];
	for (uint32_t i = 0; i < states; i++)
		if ((reached[i] = is_end[i]))
			todo[n++] = i;
	while (n) {
		uint32_t i = todo[--n];
		for (uint32_t j = first[i]; j < first[i + 1]; j++)
			if (!reached[back[j]]) {
				reached[back[j]] = true;
				todo[n++] = back[j];
			}
	}
	for (uint32_t i = 0; i < states && answer == UINT32_MAX; i++)
		if (!reached[i])
			answer = i;
	free(first);
	free(back);
	free(todo);
	free(reached);
	return answer;
}

static void print_step(struct transition x)
{
	static const char *const name[] = { "sender", "reader", "other" };

	apply(x);
	printf("    %-6s %-14s %s\n", x.kind == ACK ? "" : name[x.thread], did_in, did_what);
}

/* The way from the start to the state `index`, and a last step. */
static void print_way(const struct state *start, uint32_t index, const struct transition *last)
{
	struct transition *way = NULL;
	size_t n = 0, room = 0;
	struct state s = *start;

	for (uint32_t i = index; i; i = origin[i].parent) {
		if (n == room)
			way = grow(way, &room, sizeof(*way));
		way[n++] = origin[i].by;
	}
	now = &s;
	while (n--)
		print_step(way[n]);
	if (last)
		print_step(*last);
	printf("    TCP holds %u bytes; sent %u, delivered %u; rw %u rr %u tx %u rx %u segments %u/%u token %u\n", s.queued,
		s.sent, s.delivered, s.mem[RW], s.mem[RR], s.mem[TX], s.mem[RX], s.mem[SEGW], s.mem[SEGR], s.mem[TOKEN]);
	free(way);
}

static void forget(void)
{
	free(table);
	free(origin);
	free(edges);
	free(frontier);
	table = NULL;
	origin = NULL;
	edges = NULL;
	frontier = NULL;
	table_size = states = edge_count = edge_room = origin_room = 0;
	frontier_room = frontier_head = frontier_tail = 0;
}

const char *explore(const struct state *start, bool show, size_t *ret_states)
{
	bool is_new, inside = false, *is_end = NULL;
	size_t end_room = 0;
	uint32_t at = 0;

	fault = NULL;
	number(start, 0, (struct transition){ 0 }, &is_new);
	frontier_put(start);
	for (; at < states && !fault; at++) {
		struct state s = frontier[frontier_head++ % frontier_room];
		if (at == end_room)
			is_end = grow(is_end, &end_room, sizeof(*is_end));
		is_end[at] = !expand(&s, at);
		inside = fault != NULL;
		if (!fault && is_end[at] && (fault = terminal_fault(&s)))
			fault_from = at;
	}
	if (!fault && (fault_from = find_livelock(is_end)) != UINT32_MAX)
		fault = "a circle without an end";
	const char *what = fault;
	if (what && show)
		print_way(start, fault_from, inside ? &fault_by : NULL);
	*ret_states = states;
	free(is_end);
	forget();
	return what;
}
