/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_MEMMAP_H
#define BOOT_MEMMAP_H

#include "boot/bootparam.h"
#include "lib/status.h"

/*
 * Physical memory: what firmware or the previous kernel reported, and what this kernel uses of it. Sorted, without overlaps;
 * neighbours of one type are one range. The next kernel gets it, too, through memmap_to_e820.
 */
#define MEMMAP_MAX 256

/* In addition to the e820 types: RAM that this kernel uses and that the next one may have. */
#define MEM_USED 0xf0504355U

struct memmap {
	unsigned int count;
	struct mem_range {
		u64 start;
		u64 end; /* exclusive */
		u32 type;
	} range[MEMMAP_MAX];
};

/*
 * Takes an e820 table in any order and with overlaps (kexec passes unsorted ones). Where entries overlap the more restrictive wins:
 * RAM yields to everything. ERR_RANGE when it does not fit; the map is then incomplete and must not be used.
 */
enum status memmap_init(struct memmap *map, const struct e820_entry *e820, unsigned int count);

/* Gives [start, start + size), widened to whole pages, the type; only RAM and our own types in it change. */
enum status memmap_mark(struct memmap *map, u64 start, u64 size, u32 type);

/* Changes every range of one type to another. */
void memmap_retype(struct memmap *map, u32 from, u32 to);

/*
 * Takes RAM: the lowest aligned range of size bytes in [min, max), marked with type. ERR_RANGE, silently, when there is none: the
 * caller knows what it was for.
 */
enum status memmap_take(struct memmap *map, u64 size, u64 align, u64 min, u64 max, u32 type, u64 *out_start);

/* Whether [start, start + size) touches RAM, taken or not. */
bool memmap_has_ram(const struct memmap *map, u64 start, u64 size);

/* Bytes of one type. */
u64 memmap_total(const struct memmap *map, u32 type);

/* For the next kernel: what this one uses is RAM again. ERR_RANGE when there are more than max ranges. */
enum status memmap_to_e820(const struct memmap *map, struct e820_entry *e820, unsigned int max, unsigned int *out_count);

#endif
