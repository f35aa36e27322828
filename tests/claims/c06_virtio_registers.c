/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * C6: the functions of virtio's legacy registers change with MSI-X: what was a vector becomes part of a MAC address.
 *
 * The image is the driver of a virtio network card that sets its vectors a second time, by the legacy interface (virtio 1.2,
 * 4.1.4.10), or with lab.modern by the modern one. With MSI-X enabled the two vector registers are at offset 20 of the legacy
 * interface; with MSI-X disabled the card's configuration begins there, with its MAC address.
 *
 * On purpose wrong with lab.disable-msix: the PCI core has disabled MSI-X under the driver, without its knowledge.
 *
 * The claim fails if the card's address is the same before and after the second time. The harness asks QEMU for it at the points
 * "up" and "written"; c06_virtio_registers.py judges.
 */
#include "boot/start.h"
#include "drivers/arp.h"
#include "drivers/virtio/pci.h"
#include "lib/x86.h"
#include "tests/claims/lab.h"

#include <linux/virtio_config.h>

#define ENTRIES	  2 /* of the MSI-X table */

#define SETTLE_US 1000

static struct kernel kernel;
static struct virtio_pci v;
static bool legacy;
static u16 port;

static bool take(void *context)
{
	(void)context;
	return true;
}

static void set_status(u8 status)
{
	if (legacy)
		x86_outb((u16)(port + VIRTIO_PCI_STATUS), status);
	else
		pci_mem_write(v.dev, virtio_common(&v, device_status), status);
}

/* The MSI-X entry for changes of the configuration and for used buffers. */
static void set_vectors(u16 entry)
{
	if (legacy) {
		x86_outw((u16)(port + VIRTIO_PCI_QUEUE_SEL), 0);
		x86_outw((u16)(port + VIRTIO_MSI_CONFIG_VECTOR), entry);
		x86_outw((u16)(port + VIRTIO_MSI_QUEUE_VECTOR), entry);
	} else {
		pci_mem_write(v.dev, virtio_common(&v, queue_select), 0);
		pci_mem_write(v.dev, virtio_common(&v, msix_config), entry);
		pci_mem_write(v.dev, virtio_common(&v, queue_msix_vector), entry);
	}
}

static enum status find(struct pci_dev *dev)
{
	if (!legacy)
		return virtio_pci_find(&v, dev);
	v.dev = dev;
	return pci_map_io_bar(dev, "virtio", 0, 0, VIRTIO_PCI_CONFIG_OFF(true), &port);
}

/* As any driver does. QEMU 7.2 applies writes to a copy of the configuration that it makes on a read. */
static void read_mac(void)
{
	for (u16 i = 0; i < MAC_SIZE; i++)
		x86_inb((u16)(port + VIRTIO_PCI_CONFIG_OFF(true) + i));
}

/* No queue is used, no feature accepted: VIRTIO_NET_F_CTRL_MAC_ADDR would make the MAC address in configuration space read-only. */
static void bring_up(struct pci_dev *dev)
{
	static const irq_handler handlers[ENTRIES] = { take, take };
	u64 accepted;

	if (find(dev) != OK)
		lab_fail("no such interface");
	set_status(0);
	pci_set_master(dev);
	if (virtio_connect_msix(&v, handlers, ENTRIES, NULL) != OK || !v.irq.message)
		lab_fail("no MSI-X");
	if (legacy)
		set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	else if (virtio_negotiate(&v, 0, &accepted) != OK)
		lab_fail("no features");
	if (legacy)
		read_mac();
	set_vectors(0);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | (legacy ? 0 : VIRTIO_CONFIG_S_FEATURES_OK) |
		   VIRTIO_CONFIG_S_DRIVER_OK);
}

_Noreturn void image_main(const struct boot_params *params)
{
	struct pci_dev *dev;

	lab_start(&kernel, "c06", "", params);
	legacy = !lab_has(&kernel, "lab.modern");
	dev = lab_chosen(&kernel);
	bring_up(dev);
	lab_point("up", 0);
	if (lab_has(&kernel, "lab.disable-msix"))
		pci_msix_shutdown(dev);
	lab_point("disabled", 0);
	set_vectors(1);
	lab_point("written", 0);
	lab_wait_us(SETTLE_US);
	lab_point("end", 0);
	kernel_exit(&kernel);
}
