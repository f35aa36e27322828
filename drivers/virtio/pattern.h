/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_VIRTIO_PATTERN_H
#define DRIVERS_VIRTIO_PATTERN_H

#include "lib/types.h"

/*
 * The test pattern of a disk: each sector begins with its number and the seed of the writing, and the rest is computed from both
 * (xorshift64, Marsaglia 2003), as in witness/judge/pattern.py.
 */
#define SECTOR_SIZE	  512
#define PATTERN_SIZE	  (64 * KIB)
#define PATTERN_SECTORS	  (PATTERN_SIZE / SECTOR_SIZE)
#define PATTERN_SIGNATURE "PCI-HANDOFF DISK" /* 16 characters, then the sector's number and the seed, 8 bytes each */

void pattern_fill(u8 *sector, u64 number, u64 seed);

/* Whether a sector bears the signature; its seed if so. */
bool pattern_seed(const u8 *sector, u64 *seed);

#endif
