/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: in the chain of setup_data the first node of our type and length is found, among nodes of others, and nothing is read that
 * was not mapped before. Could be false: the chain is what another kernel or loader left in memory: addresses point anywhere, and
 * back to earlier nodes. Provoked: chains in memory that is poisoned until it is mapped; what is outside cannot be. Failure:
 * another node, no end, or the sanitizer's report.
 */
#include "boot/bootparam.h"
#include "tests/unit/unit.h"

#include <sanitizer/asan_interface.h>

#define OURS	  SETUP_HANDOFF
#define LEN	  24
#define SETUP_PCI 3 /* Linux's */
#define NODE_SIZE 64
#define NODES	  16

static u8 memory[NODES * NODE_SIZE] __attribute__((aligned(64)));
static struct boot_params params;
static unsigned int maps;

static int begin(void **state)
{
	(void)state;
	ASAN_UNPOISON_MEMORY_REGION(memory, sizeof(memory));
	memset(memory, 0xee, sizeof(memory));
	memset(&params, 0, sizeof(params));
	maps = 0;
	return 0;
}

static enum status map(u64 start, u64 size)
{
	u64 base = (u64)(uintptr_t)memory;

	if (++maps > 1000)
		fail_msg("the walk does not end");
	if (start < base || start - base > sizeof(memory) || size > sizeof(memory) - (start - base))
		return ERR_RANGE;
	ASAN_UNPOISON_MEMORY_REGION((void *)(uintptr_t)start, size);
	return OK;
}

static u64 address(unsigned int i)
{
	return (u64)(uintptr_t)memory + i * NODE_SIZE;
}

/* boot.rst, setup_data: next (8), type (4), len (4). */
static void node(unsigned int i, u64 next, u32 type, u32 len)
{
	u8 *p = memory + i * NODE_SIZE;

	memcpy(p, &next, 8);
	memcpy(p + 8, &type, 4);
	memcpy(p + 12, &len, 4);
}

/* The node found from here on, counted from 0; -1 where there is none. */
static int find(u64 first)
{
	const struct setup_data *found;

	params.hdr.setup_data = first;
	ASAN_POISON_MEMORY_REGION(memory, sizeof(memory));
	found = boot_find_setup_data(&params, OURS, LEN, map);
	if (!found)
		return -1;
	assert_int_equal(((const u8 *)(found + 1))[LEN - 1], 0xee); /* all of it is mapped */
	return (int)((const u8 *)found - memory) / NODE_SIZE;
}

static void our_node_is_found_at_any_position(void **state)
{
	for (unsigned int n = 0; n < 8; n++) {
		begin(state);
		for (unsigned int i = 0; i < n; i++)
			node(i, address(i + 1), SETUP_PCI, LEN);
		node(n, 0, OURS, LEN);
		assert_int_equal(find(address(0)), n);
	}
	/* The twin: the same chain, and no node in it is ours. */
	node(7, 0, SETUP_PCI, LEN);
	assert_int_equal(find(address(0)), -1);
}

static void of_two_the_first_counts(void **state)
{
	(void)state;
	node(0, address(2), SETUP_PCI, LEN);
	node(1, 0, OURS, LEN);
	node(2, address(1), OURS, LEN);
	assert_int_equal(find(address(0)), 2);
	assert_int_equal(find(address(1)), 1);
}

static void an_empty_chain_is_not_read(void **state)
{
	(void)state;
	node(0, 0, OURS, LEN);
	assert_int_equal(find(0), -1);
	assert_int_equal(maps, 0);
}

static void another_length_is_not_our_node(void **state)
{
	static const u32 others[] = { 0, LEN - 1, LEN + 1, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		begin(state);
		node(0, address(1), OURS, others[i]);
		assert_int_equal(find(address(0)), -1);
		/* The twin: one after it is found. */
		begin(state);
		node(0, address(1), OURS, others[i]);
		node(1, 0, OURS, LEN);
		assert_int_equal(find(address(0)), 1);
	}
}

static void a_chain_that_loops_ends(void **state)
{
	for (unsigned int back = 0; back < 3; back++) {
		begin(state);
		node(0, address(1), SETUP_PCI, LEN);
		node(1, address(2), SETUP_PCI, LEN);
		node(2, address(back), SETUP_PCI, LEN);
		assert_int_equal(find(address(0)), -1);
		/* The twin: in the loop, it is found. */
		node(2, address(back), OURS, LEN);
		assert_int_equal(find(address(0)), 2);
	}
}

static void an_address_that_cannot_be_mapped_ends_it(void **state)
{
	const u64 nowhere[] = { 8, address(NODES), address(NODES) - 8, UINT64_MAX - 7 };

	for (size_t i = 0; i < ARRAY_SIZE(nowhere); i++) {
		begin(state);
		assert_int_equal(find(nowhere[i]), -1);
		node(0, nowhere[i], SETUP_PCI, LEN);
		node(1, 0, OURS, LEN);
		assert_int_equal(find(address(0)), -1);
		/* The twin: an address that can. */
		node(0, address(1), SETUP_PCI, LEN);
		assert_int_equal(find(address(0)), 1);
	}
}

/* Its first bytes can be mapped, the last cannot. */
static void a_node_that_reaches_out_of_memory_is_not_read(void **state)
{
	const u64 last = address(NODES) - 16 - LEN;
	const struct setup_data ours = { .type = OURS, .len = LEN };

	(void)state;
	memcpy((u8 *)(uintptr_t)last + 8, &ours, sizeof(ours));
	params.hdr.setup_data = last + 8;
	assert_null(boot_find_setup_data(&params, OURS, LEN, map));
	/* The twin: it ends where memory does. */
	memcpy((u8 *)(uintptr_t)last, &ours, sizeof(ours));
	params.hdr.setup_data = last;
	assert_ptr_equal(boot_find_setup_data(&params, OURS, LEN, map), (void *)(uintptr_t)last);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(our_node_is_found_at_any_position),
		T(of_two_the_first_counts),
		T(an_empty_chain_is_not_read),
		T(another_length_is_not_our_node),
		T(a_chain_that_loops_ends),
		T(an_address_that_cannot_be_mapped_ends_it),
		T(a_node_that_reaches_out_of_memory_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
