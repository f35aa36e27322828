/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * second's steps, with the harness between them: the incoming kernel of each cell of the matrix (witness/lab/matrix.py), of L1 and
 * of K7.
 */
#include "boot/start.h"
#include "tests/claims/lab.h"

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel;

	lab_start(&kernel, "in", "", params);
	lab_point("entered", (u64)(uintptr_t)params); /* after the enumeration, which only reads */
	kernel_startup(&kernel);
	lab_point("init", 0);
	kernel_drive(&kernel, false);
	lab_point("driven", 0);
	kernel_exit(&kernel);
}
