/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_ARENA_H
#define LIB_ARENA_H

#include "lib/types.h"

/*
 * Memory that is allocated and never freed: a kernel lives only until its handoff. Addresses are physical and virtual at once
 * (paging is identity), so an arena also serves device DMA.
 */
struct arena {
	u64 base;
	u64 size;
	u64 used;
};

/* Zeroed memory; align is a power of two. NULL when the arena is exhausted, after one line in the log. */
void *arena_alloc(struct arena *arena, u64 size, u64 align);

#endif
