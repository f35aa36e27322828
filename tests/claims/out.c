/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * first's steps, with the harness between them: the outgoing kernel of each cell of the matrix (witness/lab/matrix.py), and of the
 * network card's trials of L2. Policies and load are the production ones; so are the options. It hands over to in.c unless told
 * otherwise.
 */
#include "boot/start.h"
#include "tests/claims/lab.h"

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel;

	lab_start(&kernel, "out", "in", params);
	lab_point("begun", 0);
	kernel_startup(&kernel);
	kernel_drive(&kernel, true);
	lab_point("driven", 0);

	if (kernel_prepare_next(&kernel)) {
		kernel_arm(&kernel);
		/*
		 * A device that takes its work in QEMU's own time has to be waited for. edu's transfer would end in that wait.
		 */
		if (lab_has(&kernel, "lab.settle"))
			lab_point("armed", 0);
		else
			lab_mark("armed", 0);
		kernel_shutdown(&kernel);
		lab_point("shutdown", kernel.dma.base);
		kernel_jump(&kernel);
	}
	kernel_exit(&kernel);
}
