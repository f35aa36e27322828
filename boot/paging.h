/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_PAGING_H
#define BOOT_PAGING_H

#include "lib/status.h"
#include "lib/types.h"

/*
 * Own page tables: identity, 2 MiB pages, and only what was asked for, so that a stray pointer faults instead of reading a device.
 * The page at 0 is mapped only where something that we were given lies there. The previous tables map no MMIO (kexec) or everything
 * (firmware); neither is relied upon once paging_init has returned.
 */
enum paging_cache {
	PAGING_CACHED,	 /* RAM and tables */
	PAGING_UNCACHED, /* MMIO: PCD and PWT select PA3, which is UC in the reset PAT and in Linux's */
};

/* Makes tables that map [start, start + size), the image itself, and switches to them; keeps 4- or 5-level paging as inherited. */
enum status paging_init(u64 start, u64 size);

/*
 * Maps more. What is mapped already keeps its kind. ERR_RANGE, after one line, past the CPU's address width (47 bits at most) or
 * when the tables are used up.
 */
enum status paging_map(u64 start, u64 size, enum paging_cache cache);

#endif
