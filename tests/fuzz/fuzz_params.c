/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whatever boot_params hold, and whatever is where they point, boot_find_setup_data reads no byte that it has not mapped,
 * ends, and finds the first node of its type and length; fields that the header splits in two are put together again. Could be
 * false: the chain was written by another kernel or loader: it points anywhere, and may loop. Provoked: any bytes as nodes,
 * poisoned until they are mapped; what is outside cannot be mapped. A second walk of the same chain detects a loop by the nodes
 * that it has seen. The input: what all other bytes of boot_params are (1), initrd and command line (6 * 4), where the chain begins
 * (8), then memory.
 */
#include "boot/bootparam.h"
#include "tests/fuzz/fuzz.h"

#include <sanitizer/asan_interface.h>

#define SIZE 1024UL
#define LEN  8U

/* boot.rst, setup_data. */
#define NODE_TYPE 8
#define NODE_LEN  12
#define NODE_DATA 16

/* Nodes that may be before ours, at the least; and steps that a walk may take, at the most. */
#define OTHERS	 8
#define MAPS_MAX 1000

static u8 *memory;
static unsigned int maps;

/* Only where C can have a node: at an address that is aligned for it. */
static bool is_memory(u64 address, u64 size)
{
	return address % _Alignof(struct setup_data) == 0 && address >= FUZZ_ARENA && address - FUZZ_ARENA <= SIZE &&
	       size <= SIZE - (address - FUZZ_ARENA);
}

static enum status map(u64 address, u64 size)
{
	REQUIRE(size && ++maps < MAPS_MAX);
	if (address < FUZZ_ARENA || address - FUZZ_ARENA > SIZE || size > SIZE - (address - FUZZ_ARENA))
		return ERR_RANGE;
	ASAN_UNPOISON_MEMORY_REGION((void *)address, size);
	return OK;
}

static u64 get(u64 address, unsigned int size)
{
	u64 value = 0;

	memcpy(&value, (const void *)address, size);
	return value;
}

/* The second walk; counts the nodes before the one it has found. */
static u64 walk(u64 at, unsigned int *before)
{
	bool seen[SIZE] = { false };

	for (*before = 0; is_memory(at, NODE_DATA) && !seen[at - FUZZ_ARENA]; ++*before) {
		if (get(at + NODE_TYPE, 4) == SETUP_HANDOFF && get(at + NODE_LEN, 4) == LEN && is_memory(at, NODE_DATA + LEN))
			return at;
		seen[at - FUZZ_ARENA] = true;
		at = get(at, 8);
	}
	return 0;
}

/* zero-page.rst: the lower half of each, then the upper. */
static u64 split(struct input *in, u8 *page, unsigned int low, unsigned int high)
{
	u64 value = input_take(in, 8);

	memcpy(page + low, &value, 4);
	memcpy(page + high, (const u8 *)&value + 4, 4);
	return value;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	struct boot_params *params = malloc(PAGE_SIZE);
	const struct setup_data *found;
	u64 ramdisk, ramdisk_size, cmdline, chain, want;
	unsigned int before;

	if (!memory)
		memory = fuzz_arena(SIZE);
	REQUIRE(params);
	memset(params, (int)input_take(&in, 1), PAGE_SIZE);
	ramdisk = split(&in, (u8 *)params, 0x218, 0x0c0);
	ramdisk_size = split(&in, (u8 *)params, 0x21c, 0x0c4);
	cmdline = split(&in, (u8 *)params, 0x228, 0x0c8);
	chain = input_take(&in, 8);
	memcpy((u8 *)params + 0x250, &chain, 8);
	REQUIRE(boot_ramdisk_image(params) == ramdisk);
	REQUIRE(boot_ramdisk_size(params) == ramdisk_size);
	REQUIRE(boot_cmd_line(params) == cmdline);

	ASAN_UNPOISON_MEMORY_REGION(memory, SIZE);
	memset(memory, 0, SIZE);
	if (in.left)
		memcpy(memory, in.at, MIN(in.left, SIZE));
	want = walk(chain, &before);
	ASAN_POISON_MEMORY_REGION(memory, SIZE);
	maps = 0;
	found = boot_find_setup_data(params, SETUP_HANDOFF, LEN, map);
	REQUIRE((u64)found == want || (!found && before > OTHERS));
	if (found)
		REQUIRE(!__asan_region_is_poisoned((void *)found, NODE_DATA + LEN));
	free(params);
	return 0;
}
