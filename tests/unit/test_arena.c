/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an arena allocates zeroed, aligned, separate memory until it is exhausted; then it logs a line and stays as it was. Could
 * be false: alignment counts from address 0 and not from the arena's start; a size near 2^64 wraps. Provoked: an arena whose start
 * is not aligned, filled with other bytes, allocated to the byte so that the sanitizer sees beyond it. Failure: memory that is
 * misaligned, not zero, shared, or outside.
 */
#include "lib/arena.h"
#include "tests/unit/unit.h"

#define SIZE 10000

static u8 *memory;
static struct arena arena;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	memory = malloc(SIZE);
	memset(memory, 0xee, SIZE);
	arena = (struct arena){ (u64)(uintptr_t)memory + 1, SIZE - 1, 0 };
	return 0;
}

static int end(void **state)
{
	(void)state;
	free(memory);
	return 0;
}

/* Aligned, all zero, and after earlier allocations. */
static bool sound(const u8 *p, u64 size, u64 align, const u8 *after)
{
	for (u64 i = 0; i < size; i++)
		if (p[i])
			return false;
	return (u64)(uintptr_t)p % align == 0 && p >= after;
}

static void memory_is_aligned_zeroed_and_separate(void **state)
{
	static const u64 sizes[] = { 1, 24, 100, 16, 7, 64 }, aligns[] = { 1, 8, 64, 4096, 2, 16 };
	const u8 *after = memory;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		u8 *p = arena_alloc(&arena, sizes[i], aligns[i]);

		assert_non_null(p);
		assert_true(sound(p, sizes[i], aligns[i], after));
		memset(p, 0x77, sizes[i]);
		after = p + sizes[i];
	}
	/* The twin: memory that is in use, misaligned or dirty is reported. */
	assert_false(sound(memory, 1, 1, memory));
	assert_false(sound(after - 1, 0, 1, after));
	assert_false(sound(memory + 1, 0, 4096, memory));
}

static void the_last_byte_is_to_be_had_and_no_more(void **state)
{
	(void)state;
	assert_non_null(arena_alloc(&arena, SIZE - 1, 1));
	assert_int_equal(fake_log_lines(), 0);
	assert_null(arena_alloc(&arena, 1, 1));
	assert_one_line("memory: 1 bytes requested, 0 of 9999 left");
}

static void what_does_not_fit_takes_nothing(void **state)
{
	static const u64 sizes[] = { SIZE, UINT64_MAX, UINT64_MAX - SIZE + 10, UINT64_MAX / 2 };

	(void)state;
	assert_non_null(arena_alloc(&arena, 10, 1));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_null(arena_alloc(&arena, sizes[i], 8));
		assert_int_equal(arena.used, 10);
	}
	assert_null(arena_alloc(&arena, 1, 1ULL << 40)); /* no such address in it */
	assert_int_equal(arena.used, 10);
	assert_non_null(arena_alloc(&arena, SIZE - 11, 1));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(memory_is_aligned_zeroed_and_separate),
		T(the_last_byte_is_to_be_had_and_no_more),
		T(what_does_not_fit_takes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
