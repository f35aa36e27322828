/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/pattern.h"

#include "lib/string.h"

#define GOLDEN_RATIO   0x9e3779b97f4a7c15ULL
#define SIGNATURE_SIZE 16

_Static_assert(sizeof(PATTERN_SIGNATURE) == SIGNATURE_SIZE + 1, "pattern.h");

void pattern_fill(u8 *sector, u64 number, u64 seed)
{
	u64 x = seed ^ (number + 1) * GOLDEN_RATIO;

	if (!x)
		x = 1; /* the one state that xorshift never leaves */
	memcpy(sector, PATTERN_SIGNATURE, SIGNATURE_SIZE);
	memcpy(sector + SIGNATURE_SIZE, &number, 8);
	memcpy(sector + SIGNATURE_SIZE + 8, &seed, 8);
	for (size_t at = SIGNATURE_SIZE + 16; at < SECTOR_SIZE; at += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(sector + at, &x, 8);
	}
}

bool pattern_seed(const u8 *sector, u64 *seed)
{
	if (memcmp(sector, PATTERN_SIGNATURE, SIGNATURE_SIZE))
		return false;
	memcpy(seed, sector + SIGNATURE_SIZE + 8, 8);
	return true;
}
