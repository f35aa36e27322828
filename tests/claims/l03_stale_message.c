/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L3: a message that the local APIC has accepted is delivered to the next kernel, whatever became of its sender.
 *
 * The image is a kernel that has interrupts disabled when a device's message arrives, and hands over before it takes it. Policies
 * are the production ones. With lab.taken, the control, it enables interrupts once more before it shuts down.
 *
 * The limit does not exist if the vector is no longer in the local APIC at the jump, or if the next kernel (in_undrained.c) takes
 * no interrupt. l03_stale_message.py judges.
 */
#include "boot/start.h"
#include "drivers/edu/registers.h"
#include "lib/x86.h"
#include "tests/claims/lab.h"

static bool serve(void *context)
{
	lab_edu_write(context, EDU_IRQ_ACK, EDU_IRQ_OURS);
	return true;
}

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel;
	static struct lab_edu edu;

	lab_start(&kernel, "l03", "in_undrained", params);
	lab_edu_open(&edu, lab_device(&kernel, "edu", 0));
	pci_set_master(edu.dev);
	lab_edu_enable_msi(&edu, serve, &edu);
	if (!kernel_prepare_next(&kernel))
		lab_fail("no next image");

	x86_irq_disable();
	lab_mark("disabled", 0);
	lab_edu_write(&edu, EDU_IRQ_RAISE, EDU_IRQ_OURS);
	lab_point("sent", 0);
	if (lab_has(&kernel, "lab.taken"))
		x86_irq_window();
	kernel_shutdown(&kernel);
	lab_point("shutdown", 0);
	kernel_jump(&kernel);
}
