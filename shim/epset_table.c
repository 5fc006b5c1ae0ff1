/* The registrations of a set: a table by number, and an index by what the program registered with them. */
#include "epset.h"

#include <stdlib.h>
#include <string.h>

struct reg *epset_next(struct epset *set, const struct reg *r)
{
	for (int fd = r ? r->fd + 1 : 0; fd < set->chunks * PLACES; fd++) {
		struct reg *chunk = set->chunk[fd / PLACES];
		if (!chunk)
			fd |= PLACES - 1;
		else if (chunk[fd % PLACES].sock)
			return &chunk[fd % PLACES];
	}
	return NULL;
}

static bool widen(struct epset *set, int chunks)
{
	struct reg **wider = realloc(set->chunk, (size_t)chunks * sizeof(*wider));

	if (!wider)
		return false;
	memset(wider + set->chunks, 0, (size_t)(chunks - set->chunks) * sizeof(*wider));
	set->chunk = wider;
	set->chunks = chunks;
	return true;
}

static struct reg *make_chunk(int first)
{
	struct reg *chunk = calloc(PLACES, sizeof(*chunk));

	for (int i = 0; chunk && i < PLACES; i++)
		chunk[i].fd = first + i;
	return chunk;
}

struct reg *epset_make_place(struct epset *set, int fd)
{
	int c = fd / PLACES;

	if (c >= set->chunks && !widen(set, c + 1))
		return NULL;
	if (!set->chunk[c] && !(set->chunk[c] = make_chunk(c * PLACES)))
		return NULL;
	return &set->chunk[c][fd % PLACES];
}

static bool index_data(struct epset *set, struct reg *r)
{
	struct data_key *twin;

	if (!r->key && !(r->key = calloc(1, sizeof(*r->key))))
		return false;
	r->key->reg = r;
	r->key->data = r->data;
	HASH_FIND(hh, set->by_data, &r->data, sizeof(r->data), twin);
	if (twin)
		set->ambiguous = true;
	HASH_ADD(hh, set->by_data, data, sizeof(r->data), r->key);
	return r->key->hh.tbl;
}

void epset_unindex(struct epset *set, struct reg *r)
{
	if (!r->key || !r->key->hh.tbl)
		return;
	HASH_DELETE(hh, set->by_data, r->key);
	r->key->hh.tbl = NULL;
}

static bool unindex_all(struct epset *set)
{
	EPSET_EACH(set, r)
		epset_unindex(set, r);
	return false;
}

bool epset_set_data(struct epset *set, struct reg *r, uint64_t data)
{
	epset_unindex(set, r);
	r->data = data;
	return !set->indexed || index_data(set, r);
}

/* From the first question on: a set whose connections are all plain is never asked. */
static bool index_all(struct epset *set)
{
	EPSET_EACH(set, r)
		if (!index_data(set, r))
			return unindex_all(set);
	return set->indexed = true;
}

struct reg *epset_find_data(struct epset *set, uint64_t data)
{
	struct data_key *k;

	if ((!set->indexed && !index_all(set)) || set->ambiguous)
		return NULL;
	HASH_FIND(hh, set->by_data, &data, sizeof(data), k);
	return k ? k->reg : NULL;
}

void epset_free_places(struct epset *set)
{
	for (int c = 0; c < set->chunks; c++) {
		for (int i = 0; set->chunk[c] && i < PLACES; i++)
			free(set->chunk[c][i].key);
		free(set->chunk[c]);
	}
	free(set->chunk);
	set->chunk = NULL;
	set->chunks = 0;
}
