/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_START_H
#define BOOT_START_H

#include "boot/bootparam.h"

/* Where the running image is: [start, start + size) with its stack and page tables. */
struct boot_extent {
	u64 start;
	u64 size;
};
struct boot_extent boot_image_extent(void);

/*
 * Called by the 64-bit entry (header.S) with a stack, zeroed .bss and relocations applied: switches to our own page tables, which
 * map the image, boot_params and the command line, and calls image_main.
 */
_Noreturn void boot_start(const struct boot_params *params);

/* What an image is: each one in images/ and tests/claims/ defines it. No IDT, no console yet; IF=0. */
_Noreturn void image_main(const struct boot_params *params);

#endif
