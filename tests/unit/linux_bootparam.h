/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_LINUX_BOOTPARAM_H
#define TESTS_UNIT_LINUX_BOOTPARAM_H

/*
 * Linux's own header together with boot/bootparam.h, which uses the same names: its structs get a prefix, its constants are kept as
 * enums.
 */
#define setup_header linux_setup_header
#define boot_params  linux_boot_params
#define setup_data   linux_setup_data
#define screen_info  linux_screen_info
#include <asm/bootparam.h>
#undef setup_header
#undef boot_params
#undef setup_data
#undef screen_info

enum {
	LINUX_XLF_KERNEL_64 = XLF_KERNEL_64,
	LINUX_XLF_ABOVE_4G = XLF_CAN_BE_LOADED_ABOVE_4G,
	LINUX_XLF_5LEVEL = XLF_5LEVEL,
	LINUX_LOADED_HIGH = LOADED_HIGH,
	LINUX_VIDEO_TYPE_EFI = VIDEO_TYPE_EFI,
	LINUX_VIDEO_CAPABILITY_SKIP_QUIRKS = VIDEO_CAPABILITY_SKIP_QUIRKS,
	LINUX_VIDEO_CAPABILITY_64BIT_BASE = VIDEO_CAPABILITY_64BIT_BASE,
};
#undef XLF_KERNEL_64
#undef XLF_5LEVEL
#undef VIDEO_TYPE_EFI
#undef VIDEO_CAPABILITY_SKIP_QUIRKS
#undef VIDEO_CAPABILITY_64BIT_BASE

#endif
