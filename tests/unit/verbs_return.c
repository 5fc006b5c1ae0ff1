/* Who returns to a new link, and where in the stream it may be said; by hand, without a device. */
#include "verbs_pair.h"

#include <sys/mman.h>
#include <sys/wait.h>

/* ---- a return out of place: its own connection ends */

enum { NEW_NAME = 77 };

static void say(struct pair *p, enum frame_type type, uint64_t at, uint32_t len)
{
	struct frame_head f = { .type = type, .len = len, .at = at };

	cr_assert_eq(write(p->fd[0], &f, sizeof(f)), sizeof(f));
}

static ssize_t after(void (*what)(struct pair *p), bool has_new)
{
	struct pair p = make_pair();
	struct links *ls = p.link[1]->links;
	uint8_t buf[16];

	store_rel(verbs_of(p.s[1])->v->framed, true);
	if (has_new) {
		ls->link[1].name = NEW_NAME;
		store_rel(ls->link[1].state, LINK_DOWN);
		store_rel(verbs_of(p.s[1])->v->last_up, 1);
	}
	what(&p);
	ssize_t r = get(&p, buf, sizeof(buf), 0);
	end_pair(&p);
	return r;
}

static void in_place(struct pair *p)
{
	say(p, FRAME_FAILOVER, 0, 0);
	say(p, FRAME_RETURN, 0, NEW_NAME);
}

static void before_failover(struct pair *p)
{
	say(p, FRAME_RETURN, 0, NEW_NAME);
}

static void twice(struct pair *p)
{
	in_place(p);
	in_place(p);
}

static void to_the_same(struct pair *p)
{
	say(p, FRAME_FAILOVER, 0, 0);
	say(p, FRAME_RETURN, 0, 0);
}

static void behind_a_gap(struct pair *p)
{
	say(p, FRAME_FAILOVER, 0, 0);
	say(p, FRAME_RETURN, 1, NEW_NAME);
}

Test(verbs_return, return_out_of_place)
{
	cr_expect_eq(after(in_place, true), -EAGAIN);
	cr_expect_eq(after(in_place, false), -ECONNRESET);
	cr_expect_eq(after(before_failover, true), -ECONNRESET);
	cr_expect_eq(after(twice, true), -ECONNRESET);
	cr_expect_eq(after(to_the_same, true), -ECONNRESET);
	cr_expect_eq(after(behind_a_gap, true), -ECONNRESET);
}

/* ---- who returns: not a stream that is plain for good, nor one that a process without a device has used */

static void child_looks(struct pair *p)
{
	uint8_t byte;
	pid_t child = fork();

	if (!child) {
		process_note();
		_exit(get(p, &byte, 1, 0) == -EAGAIN ? 0 : 1);
	}
	int status;
	cr_assert(waitpid(child, &status, 0) == child && !status);
}

static void goes_plain(struct pair *p)
{
	stream_make_plain(p->s[1], p->fd[1]);
}

static void peer_goes_plain(struct pair *p)
{
	uint8_t byte;

	say(p, FRAME_PLAIN, 0, 0);
	cr_assert_eq(get(p, &byte, 1, 0), -EAGAIN);
}

static void breaks_the_rules(struct pair *p)
{
	uint8_t byte;

	before_failover(p);
	cr_assert_eq(get(p, &byte, 1, 0), -ECONNRESET);
}

static struct link *prepared(struct pair *p, void (*first)(struct pair *p), uint32_t *ret_name)
{
	*p = make_pair();
	store_rel(verbs_of(p->s[1])->v->framed, true);
	if (first)
		first(p);
	struct link *l = verbs_return_prepare(p->link[1]->links, ret_name);
	if (l)
		l->name = NEW_NAME;
	return l;
}

static bool prepares(void (*first)(struct pair *p))
{
	struct pair p;
	uint32_t name;
	struct link *l = prepared(&p, first, &name);

	end_pair(&p);
	return l;
}

static bool returns(void (*then)(struct pair *p))
{
	struct pair p;
	uint32_t name;
	struct link *l = prepared(&p, NULL, &name);

	if (then)
		then(&p);
	bool up = verbs_return_up(l, name);
	cr_expect_eq(load_acq(l->state) == LINK_UP, up);
	end_pair(&p);
	return up;
}

Test(verbs_return, who_returns)
{
	static void (*const never[])(struct pair *p) = { child_looks, goes_plain, peer_goes_plain, breaks_the_rules };

	cr_expect(returns(NULL));
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++) {
		cr_expect(!prepares(never[i]), "%zu", i);
		cr_expect(!returns(never[i]), "%zu, in the middle", i);
	}
}

static bool is_resident(void *page)
{
	unsigned char in;

	cr_assert(!mincore(page, 1, &in));
	return in & 1;
}

/* What the link before had there. */
Test(verbs_return, room_is_empty)
{
	struct pair p = make_pair();
	struct links *ls = p.link[1]->links;
	uint32_t name;

	*ls->link[1].staging = *ls->link[1].ring = 1;
	cr_assert(is_resident(ls->link[1].staging) && is_resident(ls->link[1].ring));
	cr_assert_eq(verbs_return_prepare(ls, &name), &ls->link[1]);
	cr_expect(!is_resident(ls->link[1].staging) && !is_resident(ls->link[1].ring));
	end_pair(&p);
}

/* What cannot be ends the connection by whichever link it comes. */
Test(verbs_return, message_by_the_new_link)
{
	struct pair p = make_pair();
	struct control c = { .type = 99 };
	uint32_t name;
	uint8_t byte;

	store_rel(verbs_of(p.s[1])->v->framed, true);
	struct link *l = verbs_return_prepare(p.link[1]->links, &name);
	cr_assert(l);
	link_told(l, &c, sizeof(c));
	cr_expect_eq(get(&p, &byte, 1, 0), -ECONNRESET);
	end_pair(&p);
}

/* What the peer says to send by must be a link that we have. */
Test(verbs_return, return_to_a_stranger)
{
	struct pair p = make_pair();
	uint32_t name;
	struct link *l = verbs_return_prepare(p.link[1]->links, &name);

	cr_assert(l);
	l->name = NEW_NAME;
	cr_expect(!verbs_return_up(l, name + 1));
	cr_expect(!verbs_return_up(l, NEW_NAME));
	cr_expect(verbs_return_up(l, name));
	end_pair(&p);
}
