/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The incoming kernel. It reports what it inherited, turns MSI and MSI-X off on every function as Linux commit d5dea7d95c48 does,
 * resets the devices and drives them again: what first wrote must be there. It hands over likewise while handoff.next names another
 * image.
 */
#include "boot/start.h"
#include "images/kernel.h"

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel;

	kernel_start(&kernel, "second", "", params);
	kernel_find_devices(&kernel);
	kernel_startup(&kernel);
	kernel_drive(&kernel, false);

	if (kernel_prepare_next(&kernel)) {
		kernel_arm(&kernel);
		kernel_shutdown(&kernel);
		kernel_jump(&kernel);
	}
	kernel_exit(&kernel);
}
