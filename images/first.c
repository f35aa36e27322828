/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The outgoing kernel. It does real I/O with the devices, leaves work in flight on them, and hands them to the next kernel by a
 * policy of shutdown/: by default the patch's, which clears bus master and leaves MSI and MSI-X on.
 */
#include "boot/start.h"
#include "images/kernel.h"

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel;

	kernel_start(&kernel, "first", "second", params);
	kernel_find_devices(&kernel);
	kernel_startup(&kernel);
	kernel_drive(&kernel, true);

	if (kernel_prepare_next(&kernel)) {
		kernel_arm(&kernel);
		kernel_shutdown(&kernel);
		kernel_jump(&kernel);
	}
	kernel_exit(&kernel);
}
