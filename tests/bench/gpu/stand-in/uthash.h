/*
 * What shim/epset needs of uthash, for machines that lack it and can install nothing: every look-up walks. Nothing that is
 * measured there comes by here.
 */
#pragma once
#include <string.h>

typedef struct {
	const void *key;
	void *next, *tbl; /* tbl: it is in a table */
} UT_hash_handle;

#define HASH_ADD(hh, head, field, bytes, item)                                                     \
	do {                                                                                       \
		(item)->hh.key = &(item)->field;                                                   \
		(item)->hh.next = (head);                                                          \
		(item)->hh.tbl = (item);                                                           \
		(head) = (item);                                                                   \
	} while (0)

#define HASH_FIND(hh, head, find, bytes, out)                                                      \
	do {                                                                                       \
		(out) = (head);                                                                    \
		while ((out) && memcmp((out)->hh.key, find, bytes))                                \
			(out) = (out)->hh.next;                                                    \
	} while (0)

#define HASH_DELETE(hh, head, item)                                                                \
	do {                                                                                       \
		__typeof__(item) gone_ = (item), at_ = (head);                                     \
		if (at_ == gone_) {                                                                \
			(head) = gone_->hh.next;                                                   \
			break;                                                                     \
		}                                                                                  \
		while (at_->hh.next != gone_)                                                      \
			at_ = at_->hh.next;                                                        \
		at_->hh.next = gone_->hh.next;                                                     \
	} while (0)
