/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L2: DMA that a cleared bus master has only held back lands when bus master is set again.
 *
 * The image is the next kernel for a device that had work when its bus master was cleared: an edu with a transfer under way; with
 * lab.e1000e a network card with buffers for frames, for which one arrives at the point "frame".
 *
 * On purpose wrong: the memory that the old kernel had reserved for its devices is taken into use at once, as by a kernel that was
 * not told. And bus master is set before the device is idle; only lab.reset=before does it right, and lab.master=never sets none.
 *
 * The limit does not exist if this kernel's memory still holds what it wrote there, and the old buffers no frame, although bus
 * master was set. l02_set_again.py judges, by RAM at the end.
 */
#include "boot/paging.h"
#include "boot/start.h"
#include "tests/claims/lab.h"

/* Longer than edu's transfer takes. */
#define TRANSFER_US 150000

/* What this kernel writes, l02_set_again.py looks for it; only into the first part of its memory, within edu's 100 ms. */
#define MINE  0x656e696d
#define TAKEN (64 * KIB)

static struct kernel kernel;

static void take_over(void)
{
	for (const struct mem_range *range = kernel.memmap.range; range < kernel.memmap.range + kernel.memmap.count; range++) {
		u64 end = MIN(range->end, range->start + TAKEN);

		if (range->type != E820_DMA)
			continue;
		if (paging_map(range->start, end - range->start, PAGING_CACHED) != OK)
			lab_fail("memory");
		for (u64 at = range->start; at < end; at += sizeof(u32))
			*(volatile u32 *)(uintptr_t)at = MINE;
	}
}

static void reset(struct pci_dev *dev, const char *when)
{
	if (lab_has(&kernel, when) && dev->driver->reset(dev) != OK)
		lab_fail("reset");
}

_Noreturn void image_main(const struct boot_params *params)
{
	struct pci_dev *dev;
	bool edu;

	lab_start(&kernel, "in_again", "", params);
	kernel_startup(&kernel);
	edu = !lab_has(&kernel, "lab.e1000e");
	dev = lab_device(&kernel, edu ? "edu" : "e1000e", 0);
	if (edu)
		take_over();
	else
		lab_point("frame", (u64)(uintptr_t)params); /* its ring is there, too, and stays as it is for the judge */
	reset(dev, "lab.reset=before");
	if (!lab_has(&kernel, "lab.master=never"))
		pci_set_master(dev);
	reset(dev, "lab.reset=after");
	if (edu)
		lab_wait_us(TRANSFER_US);
	lab_point("end", 0);
	kernel_exit(&kernel);
}
