/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device that has a message to send, with bus master on or off: lab.master=on, lab.master=off. edu sends MSI because it is told to,
 * a virtio disk MSI-X because a request completes.
 */
#include "boot/start.h"
#include "drivers/edu/registers.h"
#include "tests/claims/lab.h"

static bool take(void *context)
{
	(void)context;
	return true;
}

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel;
	struct lab_edu edu = { 0 };

	lab_start(&kernel, "c01", "", params);
	lab_edu_open(&edu, lab_device(&kernel, "edu", 0));
	pci_set_master(edu.dev);
	lab_edu_enable_msi(&edu, take, NULL);
	if (lab_has(&kernel, "lab.master=off"))
		pci_clear_master(edu.dev);
	lab_point("ready", 0);
	lab_edu_write(&edu, EDU_IRQ_RAISE, EDU_IRQ_OURS);
	lab_point("raised", 0);
	kernel_exit(&kernel);
}
