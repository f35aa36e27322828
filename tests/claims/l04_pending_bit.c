/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L4: a pending bit outlives MSI-X, and is delivered to the next owner that enables it, masked or not.
 *
 * A device has an event while its MSI-X is masked; then MSI-X is disabled, as at init, and enabled for another owner with a vector
 * of its own. One image is both owners.
 *
 * lab.virtio-blk, lab.nvme, lab.pcie-port: the device. lab.mask=entry: the entries are masked, and not the function. lab.no-event:
 * the control. lab.reset: its driver resets the device before it is enabled again. lab.sink: it is enabled for a vector without a
 * handler first.
 *
 * On purpose wrong with lab.unmasked: enabled as it is, with the old entries.
 *
 * The limit does not exist if the pending bit is clear at the point "enable", or if no message follows it. l04_pending_bit.py
 * judges, by the device's Pending Bit Array at each point and by the messages in between.
 */
#include "boot/start.h"
#include "irq/lapic.h"
#include "tests/claims/lab.h"

#define SETTLE_US 1000

static struct kernel kernel;
static struct pci_dev *dev;

static u16 read_flags(void)
{
	return pci_read_config_word(dev, (u16)(dev->msix + PCI_MSIX_FLAGS));
}

static void write_flags(u16 flags)
{
	pci_write_config_word(dev, (u16)(dev->msix + PCI_MSIX_FLAGS), flags);
}

/* Vector Control of every entry. pci_enable_msix has mapped the table. */
static void mask_entries(u32 control)
{
	for (unsigned int i = 0; i < pci_msix_vec_count(dev); i++)
		pci_mem_write32(dev, dev->msix_table + i * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL, control);
}

static void mask(void)
{
	if (lab_has(&kernel, "lab.mask=entry"))
		mask_entries(PCI_MSIX_ENTRY_CTRL_MASKBIT);
	else
		write_flags(read_flags() | PCI_MSIX_FLAGS_MASKALL);
}

/*
 * A disk's requests stay in flight, and the harness ends them at the point. The command of an nvme or a port ends at once, and its
 * driver waits for the interrupt in vain, bounded. Either way the mask holds back the event.
 */
static void begin_work(void)
{
	const struct driver *driver = driver_of(dev);

	if (driver->arm)
		driver->arm(dev);
	else
		driver->work(dev, false);
	lab_point("masked", 0);
}

static bool serve(void *context)
{
	(void)context;
	return true;
}

/* As pci_enable_msix does it; handler NULL: for an unused vector. */
static void enable(irq_handler handler)
{
	struct msi_message message;

	if (lapic_msi_message(lab_vector(handler, NULL), &message) != OK || pci_enable_msix(dev, &message, 1) != OK)
		lab_fail("no MSI-X");
	lab_wait_us(SETTLE_US);
}

static void enable_unmasked(void)
{
	mask_entries(0);
	write_flags((read_flags() & (u16)~PCI_MSIX_FLAGS_MASKALL) | PCI_MSIX_FLAGS_ENABLE);
	lab_wait_us(SETTLE_US);
}

_Noreturn void image_main(const struct boot_params *params)
{
	lab_start(&kernel, "l04", "", params);
	dev = lab_chosen(&kernel);
	lab_work(&kernel, dev);
	lab_point("driven", 0);
	mask();
	if (!lab_has(&kernel, "lab.no-event"))
		begin_work();
	lab_point("ended", 0);

	kernel_startup(&kernel);
	if (lab_has(&kernel, "lab.reset") && dev->driver->reset(dev) != OK)
		lab_fail("no reset");
	lab_point("off", 0);
	if (lab_has(&kernel, "lab.sink")) {
		enable(NULL);
		pci_msix_init(dev);
	}
	lab_point("enable", 0);
	if (lab_has(&kernel, "lab.unmasked"))
		enable_unmasked();
	else
		enable(serve);
	lab_point("enabled", 0);
	kernel_startup(&kernel);
	lab_work(&kernel, dev);
	lab_point("end", 0);
	kernel_exit(&kernel);
}
