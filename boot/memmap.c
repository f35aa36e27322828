/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/memmap.h"

#include "lib/log.h"
#include "lib/string.h"

static void remove_range(struct memmap *map, unsigned int at)
{
	memmove(&map->range[at], &map->range[at + 1], (map->count - at - 1) * sizeof(map->range[0]));
	map->count--;
}

static bool insert_range(struct memmap *map, unsigned int at, struct mem_range range)
{
	if (map->count == MEMMAP_MAX)
		return false;
	memmove(&map->range[at + 1], &map->range[at], (map->count - at) * sizeof(map->range[0]));
	map->range[at] = range;
	map->count++;
	return true;
}

static void merge_neighbours(struct memmap *map)
{
	for (unsigned int i = 0; i + 1 < map->count;) {
		struct mem_range *a = &map->range[i], *b = a + 1;

		if (a->type == b->type && a->end == b->start) {
			a->end = b->end;
			remove_range(map, i + 1);
		} else {
			i++;
		}
	}
}

/* Splits the range that holds `at`, so that a range begins there. */
static bool split_at(struct memmap *map, u64 at)
{
	for (unsigned int i = 0; i < map->count; i++) {
		struct mem_range *r = &map->range[i];

		if (r->start < at && at < r->end) {
			struct mem_range upper = { at, r->end, r->type };

			if (!insert_range(map, i + 1, upper))
				return false;
			map->range[i].end = at;
			return true;
		}
	}
	return true;
}

/* From weakest: RAM, our own types, then any other, of which the first stays. */
static bool yields(u32 old, u32 type)
{
	return old == E820_RAM || ((old == MEM_USED || old == E820_DMA) && type != E820_RAM);
}

static enum status full(void)
{
	log_line("memory map: more than %d ranges", MEMMAP_MAX);
	return ERR_RANGE;
}

/* Adds a range of an e820 table: where the map already says something, the more restrictive type stays. */
static enum status add(struct memmap *map, u64 start, u64 end, u32 type)
{
	if (start >= end)
		return OK;
	if (!split_at(map, start) || !split_at(map, end))
		return full();
	for (unsigned int i = 0; start < end; i++) {
		u64 next = i < map->count ? map->range[i].start : end;

		if (next > start) { /* a gap before range i, or after the last */
			struct mem_range gap = { start, MIN(next, end), type };

			if (!insert_range(map, i, gap))
				return full();
			start = gap.end;
		} else if (next == start) {
			if (yields(map->range[i].type, type))
				map->range[i].type = type;
			start = map->range[i].end;
		}
	}
	merge_neighbours(map);
	return OK;
}

enum status memmap_init(struct memmap *map, const struct e820_entry *e820, unsigned int count)
{
	map->count = 0;
	for (unsigned int i = 0; i < count; i++) {
		u64 start = e820[i].addr, end = start + e820[i].size;
		enum status s;

		if (end < start) {
			log_line("memory map: entry %u (0x%lx + 0x%lx) wraps, ignored", i, e820[i].addr, e820[i].size);
			continue;
		}
		s = add(map, start, end, e820[i].type);
		if (s != OK)
			return s;
	}
	return OK;
}

enum status memmap_mark(struct memmap *map, u64 start, u64 size, u32 type)
{
	u64 end = ALIGN_UP(start + size, PAGE_SIZE);

	start &= ~(PAGE_SIZE - 1);
	if (!split_at(map, start) || !split_at(map, end)) {
		merge_neighbours(map); /* takes the half of a split back */
		return full();
	}
	for (unsigned int i = 0; i < map->count; i++) {
		struct mem_range *r = &map->range[i];

		if (r->start >= start && r->end <= end && yields(r->type, type))
			r->type = type;
	}
	merge_neighbours(map);
	return OK;
}

void memmap_retype(struct memmap *map, u32 from, u32 to)
{
	for (unsigned int i = 0; i < map->count; i++)
		if (map->range[i].type == from)
			map->range[i].type = to;
	merge_neighbours(map);
}

enum status memmap_take(struct memmap *map, u64 size, u64 align, u64 min, u64 max, u32 type, u64 *out_start)
{
	for (unsigned int i = 0; i < map->count; i++) {
		const struct mem_range *r = &map->range[i];
		u64 lowest = r->start > min ? r->start : min;
		u64 start = ALIGN_UP(lowest, align); /* 0 where that is beyond the end of the address space */
		u64 end = MIN(r->end, max);

		if (r->type != E820_RAM || start < lowest || start >= end || size > end - start)
			continue;
		*out_start = start;
		return memmap_mark(map, start, size, type);
	}
	return ERR_RANGE;
}

bool memmap_has_ram(const struct memmap *map, u64 start, u64 size)
{
	for (unsigned int i = 0; i < map->count; i++) {
		const struct mem_range *r = &map->range[i];

		if (yields(r->type, E820_RESERVED) && r->start < start + size && start < r->end)
			return true;
	}
	return false;
}

u64 memmap_total(const struct memmap *map, u32 type)
{
	u64 total = 0;

	for (unsigned int i = 0; i < map->count; i++)
		if (map->range[i].type == type)
			total += map->range[i].end - map->range[i].start;
	return total;
}

enum status memmap_to_e820(const struct memmap *map, struct e820_entry *e820, unsigned int max, unsigned int *out_count)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < map->count; i++) {
		const struct mem_range *r = &map->range[i];
		u32 type = r->type == MEM_USED ? E820_RAM : r->type;

		if (n && e820[n - 1].type == type && e820[n - 1].addr + e820[n - 1].size == r->start) {
			e820[n - 1].size += r->end - r->start;
			continue;
		}
		if (n == max) {
			log_line("memory map: more than %u ranges for the next kernel", max);
			return ERR_RANGE;
		}
		e820[n++] = (struct e820_entry){ r->start, r->end - r->start, type };
	}
	*out_count = n;
	return OK;
}
