/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * second's steps, with the two windows that end in it: the incoming kernel of C7 to C10 and L5, and the cure of L3. At its last
 * point, "used", a frame arrives for a network card that it drives.
 */
#include "boot/start.h"
#include "tests/claims/windows.h"

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel;

	lab_start(&kernel, "in_windows", "", params);
	window(&kernel, "lab.window=jump", params);
	kernel_startup(&kernel);
	lab_mark("init", 0);
	window(&kernel, "lab.window=init", params);
	lab_mark("driver", 0);
	kernel_drive(&kernel, false);
	lab_point("used", 0);
	kernel_exit(&kernel);
}
