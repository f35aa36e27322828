/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_VIRTIO_PCI_H
#define DRIVERS_VIRTIO_PCI_H

#include "drivers/driver.h"

#include <linux/virtio_pci.h>

/* Virtio over PCI, modern transport only (virtio 1.2, 4.1.4): structures in BARs, found by vendor-specific capabilities. */
#define VIRTIO_PCI_VENDOR     0x1af4
#define VIRTIO_PCI_DEVICE(id) (0x1040 + (id)) /* modern */

struct virtio_pci {
	struct pci_dev *dev;
	u64 common; /* addresses; mapped */
	u64 notify;
	u64 isr;
	u64 config;
	u32 notify_multiplier;
	u32 notify_length;
	u32 config_length;
	struct driver_irq irq; /* of entry 0 of the MSI-X table, the others' vectors follow; else INTx */
};

/* A pci_driver's match: by device type, in a modern and a transitional device. */
bool virtio_pci_is(const struct pci_dev *dev, u16 id, u16 transitional);

/*
 * Maps what the capabilities point to. ERR_ABSENT after one line: no modern transport, or a capability that points outside a BAR.
 */
enum status virtio_pci_find(struct virtio_pci *v, struct pci_dev *dev);

/*
 * Field of a structure in the device, with the width that it has in <linux/virtio_*.h>, as 4.1.3.1 demands: for pci_mem_read,
 * pci_mem_write.
 */
#define virtio_field(type, base, field) (base) + offsetof(type, field), sizeof(((type *)0)->field)
#define virtio_common(v, field)		virtio_field(struct virtio_pci_common_cfg, (v)->common, field)

/* Writes status 0, then waits until it reads 0 (2.4.1, 4.1.4.3.2): all queues, vectors and requests have ended then. */
enum status virtio_reset(const struct virtio_pci *v);

/* A pci_driver's reset: finds the transport, and resets the device. */
enum status virtio_pci_reset(struct pci_dev *dev);

/*
 * Acknowledge, driver, features, FEATURES_OK read back. wanted: bits to accept where offered; VIRTIO_F_VERSION_1 is required.
 * ERR_IO after one line when the device refuses.
 */
enum status virtio_negotiate(const struct virtio_pci *v, u64 wanted, u64 *accepted);
void virtio_driver_ok(const struct virtio_pci *v);

/*
 * Interrupts: the first count entries of the MSI-X table to one handler each, before the queues are set up; or, where the function
 * has fewer, INTx to one handler, last of all: the line is shared, and on an interrupt of another device the handler reads the
 * queues. Each does nothing where the other applies.
 */
enum status virtio_connect_msix(struct virtio_pci *v, const irq_handler *handlers, unsigned int count, void *context);
enum status virtio_connect_intx(struct virtio_pci *v, irq_handler handler, void *context);

/* The value of queue_msix_vector for an entry of the MSI-X table. */
u16 virtio_queue_vector(const struct virtio_pci *v, u16 entry);

/* For a handler: whether the interrupt is the device's. False, too, when the device was removed. */
bool virtio_interrupted(const struct virtio_pci *v);

#endif
