/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/arena.h"

#include "lib/log.h"
#include "lib/string.h"

void *arena_alloc(struct arena *arena, u64 size, u64 align)
{
	u64 at = ALIGN_UP(arena->base + arena->used, align) - arena->base;

	if (at > arena->size || size > arena->size - at) {
		log_line("memory: %lu bytes requested, %lu of %lu left", size, arena->size - arena->used, arena->size);
		return NULL;
	}
	arena->used = at + size;
	return memset((void *)(uintptr_t)(arena->base + at), 0, size);
}
