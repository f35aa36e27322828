/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L8: QEMU ignores a bridge's bus master, so a kernel that forgets it fails on hardware only.
 *
 * A device below bridges, all with bus master off as an incoming kernel has left them (handoff.startup=hardened), is to send a
 * message and do DMA.
 *
 * On purpose wrong: lab.bridges=off leaves the bridges as they were, lab.master=off the device: the control.
 *
 * The limit does not exist if the message or the data is missing with the bridges' bus master off. l08_bridges.py judges, by the
 * messages from the point "ready" to the point "ended" and by RAM at both.
 */
#include "boot/start.h"
#include "lib/string.h"
#include "tests/claims/lab.h"

#define TRANSFER    2048
#define TRANSFER_US 150000 /* longer than it takes */
#define CANARY	    0xa5

static bool take(void *context)
{
	(void)context;
	return true;
}

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel;
	static struct lab_edu edu;
	u8 *target;

	lab_start(&kernel, "l08", "", params);
	kernel_startup(&kernel);
	target = lab_dma(&kernel, TRANSFER);
	memset(target, CANARY, TRANSFER);
	lab_edu_open(&edu, lab_device(&kernel, "edu", 0));
	lab_edu_enable_msi(&edu, take, NULL);
	lab_mark("open", 0);
	pci_set_master(edu.dev);
	for (struct pci_dev *bridge = edu.dev->bridge; bridge && lab_has(&kernel, "lab.bridges=off"); bridge = bridge->bridge)
		pci_clear_master(bridge);
	if (lab_has(&kernel, "lab.master=off"))
		pci_clear_master(edu.dev);
	lab_point("ready", 0);
	lab_edu_start_dma(&edu, target, TRANSFER);
	lab_wait_us(TRANSFER_US);
	lab_point("ended", 0);
	kernel_exit(&kernel);
}
