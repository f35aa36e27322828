/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L7: bus master does not gate a virtio device's DMA; clearing it switches the device off, and a reset on again.
 *
 * A virtio disk is given reads, and no interrupt is taken meanwhile. Its state, each step after the one before:
 *
 *   lab.last=setup  a driver has set bus master and set it up
 *   lab.last=clear  bus master was cleared, as by a kernel that shuts down
 *   lab.last=reset  it was reset, as by the next kernel
 *   lab.last=again  on purpose wrong: it was set up again, without bus master
 *   lab.last=write  its command register was written, again without bus master: memory decoding off and on
 *
 * With lab.master=set bus master is set at the end.
 *
 * The limit does not exist if a disk at lab.last=again writes nothing and raises no interrupt. l07_virtio.py judges, by RAM before
 * and after the reads end and by messages and edges from the point "ready" on.
 */
#include "boot/start.h"
#include "lib/x86.h"
#include "tests/claims/lab.h"

static struct kernel kernel;

static void reset(struct pci_dev *dev)
{
	if (dev->driver->reset(dev) != OK)
		lab_fail("reset");
}

static void set_up_again(struct pci_dev *dev)
{
	struct driver_env env = { &kernel.heap, &kernel.dma };

	if (dev->driver->probe(dev, &env) != OK)
		lab_fail("probe");
}

static void write_command(struct pci_dev *dev)
{
	pci_disable_memory(dev);
	pci_enable_memory(dev);
}

static void set_up(struct pci_dev *dev)
{
	lab_probe(&kernel, dev);
}

_Noreturn void image_main(const struct boot_params *params)
{
	static const struct {
		const char *last;
		void (*take)(struct pci_dev *dev);
	} steps[] = {
		{ "lab.last=setup", set_up },	    { "lab.last=clear", pci_clear_master }, { "lab.last=reset", reset },
		{ "lab.last=again", set_up_again }, { "lab.last=write", write_command },
	};
	struct pci_dev *disk;

	lab_start(&kernel, "l07", "", params);
	kernel_startup(&kernel);
	disk = lab_chosen(&kernel);
	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++) {
		steps[i].take(disk);
		if (lab_has(&kernel, steps[i].last))
			break;
	}
	if (lab_has(&kernel, "lab.master=set"))
		pci_set_master(disk);
	x86_irq_disable();
	lab_point("ready", 0);
	if (driver_of(disk)->arm(disk) != OK)
		lab_fail("nothing to do");
	lab_point("armed", 0);
	kernel_exit(&kernel);
}
