/* Copies into and out of memory that another process uses at the same time: memcpy, where that is good at it. */
#pragma once
#include <stddef.h>

typedef void *copy_fn(void *restrict dst, const void *restrict src, size_t n);

copy_fn copy_through_caches;
/* What is written is in no cache afterwards, and ordered before what is stored next. */
copy_fn copy_past_caches;
