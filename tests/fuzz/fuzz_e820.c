/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whatever e820 table boot_params hold, the memory map is sorted, without overlaps, and has for every address the type that
 * the table and all later calls give it; RAM never grows; what is taken was RAM, and the lowest that fits; the next kernel gets the
 * same map. Could be false: entries in any order, overlapping, ending anywhere up to the last byte of the address space, split and
 * merged in one array of fixed size. Provoked: any table, then any marks, takings and changes of type, compared with a model
 * without ranges: it computes a single address's type from the whole history, at every address near which a range began or ended.
 * Failure: an address of which map and model differ. The input: the number of entries (1 byte) and the entries (1 + 8 + 8), then
 * operations (1 + 8 + 8).
 */
#include "boot/memmap.h"
#include "tests/fuzz/fuzz.h"

#define NONE	   0
#define OPS_MAX	   16
#define TABLE_MAX  (E820_MAX + 8) /* firmware has more entries than boot_params */
#define EVENTS_MAX (TABLE_MAX + OPS_MAX)

/* What happened, in order. ADD and MARK: [start, end) and a type. RETYPE: E820_DMA to E820_RAM. */
enum what { ADD, MARK, RETYPE };
static struct event {
	enum what what;
	u64 start, end;
	u32 type;
} events[EVENTS_MAX];
static unsigned int event_count;
static struct memmap map;

/* RAM yields to everything, our own types to what is reserved. */
static int rank(u32 type)
{
	return type == E820_RAM ? 0 : type == E820_DMA || type == MEM_USED ? 1 : 2;
}

static u32 model_at(u64 address)
{
	u32 type = NONE;

	for (unsigned int i = 0; i < event_count; i++) {
		const struct event *e = &events[i];

		if (e->what == RETYPE) {
			type = type == E820_DMA ? E820_RAM : type;
			continue;
		}
		if (address < e->start || address >= e->end)
			continue;
		if (e->what == ADD && (type == NONE || rank(e->type) > rank(type)))
			type = e->type;
		if (e->what == MARK && type != NONE && rank(type) < 2)
			type = e->type;
	}
	return type;
}

static void happened(enum what what, u64 start, u64 end, u32 type)
{
	REQUIRE(event_count < EVENTS_MAX);
	events[event_count++] = (struct event){ what, start, end, type };
}

static u32 map_at(u64 address)
{
	for (unsigned int i = 0; i < map.count; i++)
		if (address >= map.range[i].start && address < map.range[i].end)
			return map.range[i].type;
	return NONE;
}

static void check_at(u64 address)
{
	REQUIRE(map_at(address) == model_at(address));
}

static void check_map(void)
{
	REQUIRE(map.count <= MEMMAP_MAX);
	for (unsigned int i = 0; i < map.count; i++) {
		const struct mem_range *r = &map.range[i];

		REQUIRE(r->start < r->end);
		REQUIRE(!i || r->start > r[-1].end || (r->start == r[-1].end && r->type != r[-1].type));
	}
	for (unsigned int i = 0; i < event_count; i++) {
		check_at(events[i].start);
		check_at(events[i].start - 1);
		check_at(events[i].end);
		check_at(events[i].end - 1);
	}
}

/* Where anything began or ended: between two of these the type is the same. */
static struct edge {
	u64 at;
	u32 type;
} edges[2 * EVENTS_MAX];

static void find_edges(void)
{
	for (unsigned int i = 0; i < event_count; i++) {
		edges[2 * i] = (struct edge){ events[i].start, model_at(events[i].start) };
		edges[2 * i + 1] = (struct edge){ events[i].end, model_at(events[i].end) };
	}
}

/* Where a taking that begins at or above `from` would begin; false where it is not RAM or reaches too far. */
static bool fits(u64 from, u64 size, u64 align, u64 max, u64 *start)
{
	if (from % align && from > UINT64_MAX - align)
		return false;
	*start = from + (align - from % align) % align;
	if (*start >= max || size > max - *start || model_at(*start) != E820_RAM)
		return false;
	for (unsigned int i = 0; i < 2 * event_count; i++)
		if (edges[i].at > *start && edges[i].at < *start + size && edges[i].type != E820_RAM)
			return false;
	return true;
}

static void take(u64 size, u64 align, u64 min, u64 max)
{
	u64 lowest = UINT64_MAX, start, got = 0;
	enum status s;

	find_edges();
	if (fits(min, size, align, max, &start))
		lowest = start;
	for (unsigned int i = 0; i < 2 * event_count; i++)
		if (edges[i].type == E820_RAM && edges[i].at > min && fits(edges[i].at, size, align, max, &start))
			lowest = MIN(lowest, start);
	fuzz_log_start();
	s = memmap_take(&map, size, align, min, max, MEM_USED, &got);
	if (s == OK) {
		REQUIRE(got == lowest);
		happened(MARK, got, got + size, MEM_USED);
	} else {
		/* No line where there is none; one where the map had no room for the pieces. */
		REQUIRE(s == ERR_RANGE && (lowest == UINT64_MAX) == !fuzz_log_lines());
	}
}

static void mark(u64 start, u64 size, u32 type)
{
	enum status s = memmap_mark(&map, start, size, type);

	REQUIRE(s == OK || s == ERR_RANGE);
	if (s == OK)
		happened(MARK, start / PAGE_SIZE * PAGE_SIZE, (start + size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE, type);
}

/* The next kernel gets the map, with what this one uses as RAM. */
static void check_handed_on(unsigned int max)
{
	struct e820_entry *e820 = malloc(max * sizeof(*e820));
	u64 ram = 0;
	unsigned int n = 0;
	enum status s;

	REQUIRE(e820 || !max);
	fuzz_log_start();
	s = memmap_to_e820(&map, e820, max, &n);
	REQUIRE(s == OK ? n <= max && fuzz_log_lines() == 0 : s == ERR_RANGE && fuzz_log_lines() == 1 && map.count > max);
	for (unsigned int i = 0; s == OK && i < n; i++) {
		u64 end = e820[i].addr + e820[i].size;
		u32 first = map_at(e820[i].addr), last = map_at(end - 1);

		REQUIRE(e820[i].size && end > e820[i].addr);
		REQUIRE(!i || e820[i].addr >= e820[i - 1].addr + e820[i - 1].size);
		REQUIRE(e820[i].type == (first == MEM_USED ? E820_RAM : first));
		REQUIRE(e820[i].type == (last == MEM_USED ? E820_RAM : last));
		ram += e820[i].type == E820_RAM ? e820[i].size : 0;
	}
	if (s == OK)
		REQUIRE(ram == memmap_total(&map, E820_RAM) + memmap_total(&map, MEM_USED));
	free(e820);
}

static bool is_ours(u32 type)
{
	return type != NONE && rank(type) < 2;
}

/* RAM, taken or not: at its start, or where something begins or ends in it. */
static void check_has_ram(u64 start, u64 end)
{
	bool has = is_ours(model_at(start));

	find_edges();
	for (unsigned int i = 0; i < 2 * event_count; i++)
		has |= edges[i].at > start && edges[i].at < end && is_ours(edges[i].type);
	REQUIRE(memmap_has_ram(&map, start, end - start) == has);
}

static bool operate(struct input *in)
{
	unsigned int op = (unsigned int)input_take(in, 1);
	u64 start = input_take(in, 8), size = input_take(in, 8);
	u64 align = PAGE_SIZE << (op >> 4);

	/* What a kernel marks is memory that it reads: it does not wrap. What it takes is whole pages. */
	switch (op % 4) {
	case 0:
		if (start <= UINT64_MAX - PAGE_SIZE && size < UINT64_MAX - PAGE_SIZE - start)
			mark(start, size, op & 4 ? E820_DMA : MEM_USED);
		break;
	case 1:
		size = size / PAGE_SIZE * PAGE_SIZE;
		if (size)
			take(size, align, start, op & 4 ? start + 4 * size : UINT64_MAX);
		break;
	case 2:
		memmap_retype(&map, E820_DMA, E820_RAM);
		happened(RETYPE, 0, 0, NONE);
		break;
	case 3:
		check_handed_on(op >> 2);
		if (start + size > start)
			check_has_ram(start, start + size);
		break;
	}
	return in->left;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const u32 types[] = { E820_RAM,	    E820_RAM,  E820_RESERVED, E820_ACPI, E820_NVS,
				     E820_UNUSABLE, E820_PMEM, E820_DMA,      0xfffffff };
	struct input in = { data, size };
	unsigned int n = (unsigned int)input_take(&in, 1) % (TABLE_MAX + 1), wraps = 0;
	struct e820_entry *e820 = malloc(n * sizeof(*e820));
	enum status s;

	REQUIRE(e820 || !n);
	event_count = 0;
	for (unsigned int i = 0; i < n; i++) {
		struct e820_entry *e = &e820[i];

		e->type = types[input_take(&in, 1) % ARRAY_SIZE(types)];
		e->addr = input_take(&in, 8);
		e->size = input_take(&in, 8);
		wraps += e->addr + e->size < e->addr;
		if (e->addr + e->size > e->addr)
			happened(ADD, e->addr, e->addr + e->size, e->type);
	}
	fuzz_log_start();
	s = memmap_init(&map, e820, n);
	REQUIRE(fuzz_log_lines() == wraps || (s == ERR_RANGE && fuzz_log_lines() <= wraps + 1));
	free(e820);
	if (s != OK)
		return 0;
	check_map();
	for (unsigned int i = 0; i < OPS_MAX && operate(&in); i++)
		;
	check_map();
	check_handed_on(E820_MAX);
	return 0;
}
