/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/start.h"

#include "boot/paging.h"
#include "lib/x86.h"

/* linker.ld */
extern const u8 load_start[], bss_end[];

struct boot_extent boot_image_extent(void)
{
	return (struct boot_extent){ (u64)(uintptr_t)load_start, (u64)(bss_end - load_start) };
}

_Noreturn void boot_start(const struct boot_params *params)
{
	struct boot_extent image = boot_image_extent();
	u64 cmdline = boot_cmd_line(params);

	/* There is no console yet to report a failure. */
	if (paging_init(image.start, image.size) != OK ||
	    paging_map((u64)(uintptr_t)params, sizeof(*params), PAGING_CACHED) != OK ||
	    (cmdline && paging_map(cmdline, params->hdr.cmdline_size + 1UL, PAGING_CACHED) != OK))
		x86_halt();
	image_main(params);
}
