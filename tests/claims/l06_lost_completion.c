/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L6: what bus master suppressed is never sent again: a kernel that only sets bus master waits for ever.
 *
 * Work in flight ends while bus master is off, and the kernel continues as if nothing had happened: the driver and its memory are
 * as they were. So one image is both kernels, the one that hands over and the one that takes the device's state as it is.
 * lab.master=kept: bus master is not cleared, the control. lab.reset: after the wait another kernel's start, and the driver's, the
 * cure.
 *
 * On purpose wrong: bus master is set again without a reset before it.
 *
 * The limit does not exist if a message comes when bus master is set again, or within the second that follows.
 * l06_lost_completion.py judges, by the messages up to the point "waited" and by what device and RAM hold there.
 */
#include "boot/start.h"
#include "tests/claims/lab.h"

/* edu's transfer takes 100 ms; a disk's requests end at the point after the wait. */
#define WORK_US	  150000
#define ANSWER_US 1000000

static struct kernel kernel;

_Noreturn void image_main(const struct boot_params *params)
{
	struct pci_dev *dev;

	lab_start(&kernel, "l06", "", params);
	dev = lab_chosen(&kernel);
	lab_work(&kernel, dev);
	lab_point("driven", 0);
	if (driver_of(dev)->arm(dev) != OK)
		lab_fail("nothing in flight");
	lab_mark("armed", 0);
	if (!lab_has(&kernel, "lab.master=kept"))
		pci_apply_backward(&kernel.pci, kernel.shutdown);
	lab_mark("shutdown", 0);
	lab_wait_us(WORK_US);
	lab_point("work-ends", 0);
	pci_set_master(dev);
	lab_mark("set-again", 0);
	lab_wait_us(ANSWER_US);
	lab_point("waited", driver_of(dev)->in_flight(dev));
	if (lab_has(&kernel, "lab.reset")) {
		kernel_startup(&kernel);
		lab_work(&kernel, dev);
	}
	lab_point("end", 0);
	kernel_exit(&kernel);
}
