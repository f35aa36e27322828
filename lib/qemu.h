/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_QEMU_H
#define LIB_QEMU_H

#include "lib/types.h"

/*
 * Whether this machine is QEMU's: CPUID reports a hypervisor (leaf 1, ECX bit 31) and fw_cfg has its signature. Both, because ports
 * 0x510/0x511 may be anything on real hardware.
 */
bool qemu_present(void);

/* Values for isa-debug-exit at port 0xf4; QEMU then exits with (value << 1) | 1. */
enum qemu_exit {
	QEMU_EXIT_PASS = 0x10,	/* QEMU exits 33 */
	QEMU_EXIT_FAIL = 0x20,	/* 65 */
	QEMU_EXIT_ERROR = 0x30, /* 97 */
};
#define QEMU_EXIT_PORT	   0xf4
#define QEMU_DEBUGCON_PORT 0xe9

#endif
