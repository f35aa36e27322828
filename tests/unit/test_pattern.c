/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the disk's pattern is the one that pattern.h describes: signature, number, seed, then xorshift64; every sector and every
 * writing has another. Could be false: the harness computes it as well, and two wrong programs would disagree only on a disk that
 * is right. Provoked: the same bytes computed here from the description; a published sequence for the generator's steps. Failure:
 * the first byte that differs.
 */
#include "drivers/virtio/pattern.h"
#include "tests/unit/unit.h"

/* Marsaglia 2003, "Xorshift RNGs": x ^= x << 13; x ^= x >> 7; x ^= x << 17, from the state that seed and number give. */
static void expected(u8 *sector, u64 number, u64 seed)
{
	struct prng prng = { seed ^ (number + 1) * 0x9e3779b97f4a7c15ULL };

	memcpy(sector, "PCI-HANDOFF DISK", 16);
	memcpy(sector + 16, &number, 8);
	memcpy(sector + 24, &seed, 8);
	for (size_t at = 32; at < 512; at += 8) {
		u64 x = prng_next(&prng);

		memcpy(sector + at, &x, 8);
	}
}

/* The sequence from state 1, as the documentation of the Rust crate prrng has it for the same three shifts. */
static void the_generator_is_marsaglias(void **state)
{
	static const u64 published[] = { 1082269761, 1152992998833853505ULL, 11177516664432764457ULL, 17678023832001937445ULL };
	struct prng prng = { 1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(published); i++)
		assert_true(prng_next(&prng) == published[i]);
}

static void each_sector_is_as_described(void **state)
{
	static const u64 seeds[] = { 1, 0, 0xffffffffffffffff, 123456789 };
	u8 ours[512], theirs[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(seeds); i++) {
		for (u64 n = 0; n < 200; n += 17) {
			pattern_fill(ours, n, seeds[i]);
			expected(theirs, n, seeds[i]);
			assert_memory_equal(ours, theirs, 512);
			pattern_fill(theirs, n + 1, seeds[i]);
			assert_int_not_equal(memcmp(ours + 32, theirs + 32, 480), 0); /* another sector, */
			pattern_fill(theirs, n, seeds[i] + 1);
			assert_int_not_equal(memcmp(ours + 32, theirs + 32, 480), 0); /* and another writing */
		}
	}
}

/* 0 is the one state that xorshift never leaves. */
static void the_seed_that_leads_to_state_0_fills_as_well(void **state)
{
	const u64 seed = 0x9e3779b97f4a7c15ULL;
	u8 sector[512], zero[480] = { 0 };

	(void)state;
	pattern_fill(sector, 0, seed);
	assert_int_not_equal(memcmp(sector + 32, zero, sizeof(zero)), 0);
}

static void the_signature_gives_the_seed(void **state)
{
	u8 sector[512];
	u64 seed = 0;

	(void)state;
	pattern_fill(sector, 3, 0xabcdef);
	assert_true(pattern_seed(sector, &seed));
	assert_int_equal(seed, 0xabcdef);
	for (unsigned int i = 0; i < 16; i++) {
		sector[i] ^= 1;
		assert_false(pattern_seed(sector, &seed));
		sector[i] ^= 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_generator_is_marsaglias),
		cmocka_unit_test(each_sector_is_as_described),
		cmocka_unit_test(the_seed_that_leads_to_state_0_fills_as_well),
		cmocka_unit_test(the_signature_gives_the_seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
