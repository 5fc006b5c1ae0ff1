/* Both ends write a megabyte with blocking calls before either reads: bare TCP has the room. In one
 * call, in many, and after the buffers have been used. */
#include "pair.h"

#define AMOUNT (1 << 20)

static void round_of(struct end *e, size_t piece)
{
	for (size_t done = 0; done < AMOUNT; done += piece)
		put(e, e->fd, piece);
	tell('w');
	await('w');
	take(e, e->fd, AMOUNT);
	say("pieces of %zu", piece);
}

static void both(struct end *e)
{
	static const size_t pieces[] = { AMOUNT, AMOUNT / 4, 65536, 4096 };

	for (int i = 0; i < 4; i++)
		round_of(e, pieces[i]);
}

const struct pair pair = { .client = both, .server = both };
