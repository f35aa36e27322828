/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the memory map has for each address the type that an e820 table and the later marks and takings give it, whatever their
 * order and overlaps. Could be false: ranges are split, merged and moved in one array; an off-by-one there gives away memory that
 * is in use. Provoked: random operations from a fixed seed, compared after each with a model that keeps a type for every KiB;
 * invalid tables by hand. Failure: the address at which map and model differ, or a map that is not sorted and merged.
 */
#include "boot/memmap.h"
#include "tests/unit/unit.h"

/* The model: a type for each KiB of the first MiB, so that entries may begin and end within pages. */
#define UNIT  1024UL
#define UNITS 1024
#define NONE  0

static u32 model[UNITS];
static struct memmap map;
static struct prng prng;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	prng.state = 0xfeedface12345678;
	return 0;
}

/* RAM yields to everything, our own types to what is reserved. */
static int rank(u32 type)
{
	return type == E820_RAM ? 0 : type == E820_DMA || type == MEM_USED ? 1 : 2;
}

static void model_add(u64 start, u64 size, u32 type)
{
	for (u64 i = start / UNIT; i < (start + size) / UNIT; i++)
		if (model[i] == NONE || rank(type) > rank(model[i]))
			model[i] = type;
}

/* Whole pages; RAM and our own types change, nothing else does. */
static void model_mark(u64 start, u64 size, u32 type)
{
	u64 end = (start + size + 4095) / 4096 * 4096;

	for (u64 i = start / 4096 * 4096 / UNIT; i < end / UNIT && i < UNITS; i++)
		if (model[i] != NONE && rank(model[i]) < 2)
			model[i] = type;
}

/* The lowest aligned run of RAM; UINT64_MAX when there is none. */
static u64 model_find(u64 size, u64 align, u64 min, u64 max)
{
	for (u64 start = 0; start + size <= UNITS * UNIT; start += UNIT) {
		bool fits = start % align == 0 && start >= min && start + size <= max;

		for (u64 i = start / UNIT; fits && i < (start + size) / UNIT; i++)
			fits = model[i] == E820_RAM;
		if (fits)
			return start;
	}
	return UINT64_MAX;
}

static bool sorted_and_merged(const struct memmap *m)
{
	for (unsigned int i = 0; i < m->count; i++) {
		if (m->range[i].start >= m->range[i].end)
			return false;
		if (i && (m->range[i].start < m->range[i - 1].end ||
			  (m->range[i].start == m->range[i - 1].end && m->range[i].type == m->range[i - 1].type)))
			return false;
	}
	return true;
}

static u32 type_at(const struct memmap *m, u64 address)
{
	for (unsigned int i = 0; i < m->count; i++)
		if (address >= m->range[i].start && address < m->range[i].end)
			return m->range[i].type;
	return NONE;
}

/* The first address at which map and model differ; UINT64_MAX where they agree. */
static u64 difference(void)
{
	for (u64 i = 0; i < UNITS; i++)
		if (type_at(&map, i * UNIT) != model[i] || type_at(&map, i * UNIT + UNIT - 1) != model[i])
			return i * UNIT;
	return UINT64_MAX;
}

static void check(const char *what)
{
	if (difference() != UINT64_MAX)
		fail_msg("after %s: 0x%lx is 0x%x, in the model 0x%x", what, difference(), type_at(&map, difference()),
			 model[difference() / UNIT]);
	if (!sorted_and_merged(&map))
		fail_msg("after %s: not sorted and merged", what);
}

static void random_table(void)
{
	static const u32 types[] = { E820_RAM, E820_RAM, E820_RAM, E820_RESERVED, E820_ACPI, E820_NVS, E820_UNUSABLE, E820_DMA };
	struct e820_entry table[24];
	unsigned int n = (unsigned int)prng_below(&prng, ARRAY_SIZE(table) + 1);

	memset(model, 0, sizeof(model));
	for (unsigned int i = 0; i < n; i++) {
		u64 start = prng_below(&prng, UNITS), size = prng_below(&prng, (UNITS - start) / (1 + prng_below(&prng, 8)) + 1);

		table[i] = (struct e820_entry){ start * UNIT, size * UNIT, types[prng_below(&prng, ARRAY_SIZE(types))] };
		model_add(table[i].addr, table[i].size, table[i].type);
	}
	assert_int_equal(memmap_init(&map, table, n), OK);
	check("init");
}

static void random_take(void)
{
	u64 size = (1 + prng_below(&prng, 64)) * UNIT, align = 4096UL << prng_below(&prng, 4),
	    min = prng_below(&prng, UNITS) * UNIT, got = 1;
	u64 max = prng_below(&prng, 2) ? UINT64_MAX : prng_below(&prng, UNITS + 1) * UNIT, want = model_find(size, align, min, max);
	enum status s = memmap_take(&map, size, align, min, max, MEM_USED, &got);

	if (want == UINT64_MAX) {
		assert_int_equal(s, ERR_RANGE);
	} else {
		assert_int_equal(s, OK);
		assert_int_equal(got, want);
		model_mark(want, size, MEM_USED);
	}
	check("take");
}

static void check_handed_on(void)
{
	static struct e820_entry table[MEMMAP_MAX];
	unsigned int n = 0;

	assert_int_equal(memmap_to_e820(&map, table, ARRAY_SIZE(table), &n), OK);
	for (u64 i = 0; i < UNITS; i++) {
		u32 want = model[i] == MEM_USED ? E820_RAM : model[i], have = NONE;

		for (unsigned int j = 0; j < n; j++) {
			if (i * UNIT < table[j].addr || i * UNIT >= table[j].addr + table[j].size)
				continue;
			assert_int_equal(have, NONE); /* no overlaps */
			have = table[j].type;
		}
		assert_int_equal(have, want);
	}
	for (unsigned int j = 1; j < n; j++) {
		assert_true(table[j].addr >= table[j - 1].addr + table[j - 1].size);
		assert_false(table[j].addr == table[j - 1].addr + table[j - 1].size && table[j].type == table[j - 1].type);
	}
}

static void map_and_model_agree_after_any_operations(void **state)
{
	(void)state;
	for (unsigned int round = 0; round < 150; round++) {
		random_table();
		for (unsigned int op = 0; op < 20; op++) {
			u64 start = prng_below(&prng, UNITS - 8) * UNIT, size = (1 + prng_below(&prng, 7)) * UNIT;

			switch (prng_below(&prng, 4)) {
			case 0:
				assert_int_equal(memmap_mark(&map, start, size, MEM_USED), OK);
				model_mark(start, size, MEM_USED);
				check("mark as used");
				break;
			case 1:
				assert_int_equal(memmap_mark(&map, start, size, E820_DMA), OK);
				model_mark(start, size, E820_DMA);
				check("mark as DMA");
				break;
			case 2:
				random_take();
				break;
			case 3:
				memmap_retype(&map, E820_DMA, E820_RAM);
				for (unsigned int i = 0; i < UNITS; i++)
					if (model[i] == E820_DMA)
						model[i] = E820_RAM;
				check("retype");
				break;
			}
		}
		check_handed_on();
		for (u32 type = E820_RAM; type <= E820_UNUSABLE; type++) {
			u64 total = 0;

			for (unsigned int i = 0; i < UNITS; i++)
				total += model[i] == type ? UNIT : 0;
			assert_int_equal(memmap_total(&map, type), total);
		}
	}
}

static void a_difference_from_the_model_is_seen(void **state)
{
	(void)state;
	do
		random_table();
	while (!map.count);
	model[map.range[0].start / UNIT]++;
	assert_int_equal(difference(), map.range[0].start);
	map.range[map.count] = map.range[map.count - 1];
	map.count++;
	assert_false(sorted_and_merged(&map));
}

static void an_entry_that_wraps_is_reported_and_ignored(void **state)
{
	static const struct e820_entry table[] = { { 0x1000, 0x1000, E820_RAM }, { 0xfffffffffffff000, 0x2000, E820_RAM } };

	(void)state;
	assert_int_equal(memmap_init(&map, table, 2), OK);
	assert_int_equal(map.count, 1);
	assert_one_line("entry 1 (0xfffffffffffff000 + 0x2000) wraps");
}

static void an_empty_entry_is_nothing(void **state)
{
	static const struct e820_entry table[] = { { 0x1000, 0x1000, E820_RAM },
						   { 0x1800, 0, E820_RESERVED },
						   { 0x9000, 0, E820_RAM } };

	(void)state;
	assert_int_equal(memmap_init(&map, table, 3), OK);
	assert_int_equal(map.count, 1);
	assert_int_equal(fake_log_lines(), 0);
}

/* Where rounding up to the alignment wraps, nothing below may be given away. */
static void nothing_is_taken_below_the_range_at_the_end_of_the_address_space(void **state)
{
	static const struct e820_entry table[] = { { 0xffffffffffe01000, 0x1fe000, E820_RAM } };
	u64 start = 0;

	(void)state;
	assert_int_equal(memmap_init(&map, table, 1), OK);
	assert_int_equal(memmap_take(&map, 4096, 2 * MIB, MIB, UINT64_MAX, MEM_USED, &start), ERR_RANGE);
}

static const struct e820_entry wide[] = { { 0, 0x10000000, E820_RAM } };

/* Every other page used: as many ranges as there is room for. */
static void fill_the_map(unsigned int ranges)
{
	assert_int_equal(memmap_init(&map, wide, 1), OK);
	for (unsigned int i = 0; map.count + 2 <= ranges; i++)
		assert_int_equal(memmap_mark(&map, 0x1000 + i * 0x2000UL, 0x1000, MEM_USED), OK);
}

static void a_full_map_is_reported(void **state)
{
	(void)state;
	fill_the_map(MEMMAP_MAX);
	assert_int_equal(map.count, MEMMAP_MAX - 1);
	fake_log_start();
	assert_int_equal(memmap_mark(&map, 0x8001000, 0x1000, MEM_USED), ERR_RANGE);
	assert_one_line("more than 256 ranges");
}

/* status.h: what fails has left everything as it was. */
static void a_mark_that_fails_changes_nothing(void **state)
{
	static struct memmap before;

	(void)state;
	fill_the_map(MEMMAP_MAX);
	before = map;
	assert_int_equal(memmap_mark(&map, 0x8001000, 0x1000, MEM_USED), ERR_RANGE);
	assert_int_equal(map.count, before.count);
	assert_memory_equal(map.range, before.range, before.count * sizeof(before.range[0]));
	assert_true(sorted_and_merged(&map));
}

static void a_table_that_is_too_long_is_refused(void **state)
{
	static struct e820_entry table[MEMMAP_MAX + 1];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(table); i++)
		table[i] = (struct e820_entry){ i * 0x2000UL, 0x1000, E820_RAM };
	assert_int_equal(memmap_init(&map, table, MEMMAP_MAX), OK);
	assert_int_equal(memmap_init(&map, table, MEMMAP_MAX + 1), ERR_RANGE);
	assert_one_line("more than 256 ranges");
}

static void more_ranges_than_the_next_kernel_takes_are_refused(void **state)
{
	static struct e820_entry table[8];
	unsigned int n = 0;

	(void)state;
	assert_int_equal(memmap_init(&map, wide, 1), OK);
	for (u64 i = 0; i < 4; i++)
		assert_int_equal(memmap_mark(&map, 0x1000 + i * 0x2000, 0x1000, E820_DMA), OK);
	assert_int_equal(memmap_to_e820(&map, table, 8, &n), ERR_RANGE); /* 4 marked, 5 between them */
	assert_one_line("more than 8 ranges for the next kernel");
	memmap_retype(&map, E820_DMA, MEM_USED);
	assert_int_equal(memmap_to_e820(&map, table, 8, &n), OK); /* RAM again, and one range */
	assert_int_equal(n, 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(map_and_model_agree_after_any_operations),
		T(a_difference_from_the_model_is_seen),
		T(an_entry_that_wraps_is_reported_and_ignored),
		T(an_empty_entry_is_nothing),
		T(nothing_is_taken_below_the_range_at_the_end_of_the_address_space),
		T(a_full_map_is_reported),
		T(a_mark_that_fails_changes_nothing),
		T(a_table_that_is_too_long_is_refused),
		T(more_ranges_than_the_next_kernel_takes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
