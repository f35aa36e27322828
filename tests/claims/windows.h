/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_CLAIMS_WINDOWS_H
#define TESTS_CLAIMS_WINDOWS_H

#include "tests/claims/lab.h"

/*
 * The windows of a handoff, in which a device has no driver: from shutdown to the jump, from the jump to init, from init to its
 * driver. Work in flight ends in the one that the command line names, lab.window=shutdown, =jump or =init: by the machine's clock
 * while the image waits, or by the harness at the point after that.
 */

/* Longer than edu's transfer takes, and than three periods of the generator in witness/lab/machines.py. */
#define WINDOW_US 1300000

/* next: boot_params of the image after the jump. */
static inline void window(const struct kernel *kernel, const char *option, const struct boot_params *next)
{
	if (!lab_has(kernel, option))
		return;
	lab_wait_us(WINDOW_US);
	lab_point("window", (u64)(uintptr_t)next);
}

#endif
