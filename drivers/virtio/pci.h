/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_VIRTIO_PCI_H
#define DRIVERS_VIRTIO_PCI_H

#include "pci/dev.h"

#include <linux/virtio_pci.h>

/* Virtio over PCI, modern transport only (virtio 1.2, 4.1.4): structures in BARs, found by vendor-specific capabilities. */
#define VIRTIO_PCI_VENDOR      0x1af4
#define VIRTIO_PCI_DEVICE(id)  (0x1040 + (id)) /* modern */
#define VIRTIO_PCI_LEGACY_LAST 0x103f	       /* transitional devices: 0x1000 to here, type in the subsystem ID */

struct virtio_pci {
	struct pci_dev *dev;
	u64 common; /* addresses; mapped */
	u64 notify;
	u64 isr;
	u64 config;
	u32 notify_multiplier;
	u32 notify_length;
};

/* Maps what the capabilities point to. ERR_ABSENT after one line: no modern transport, or a capability that points nowhere. */
enum status virtio_pci_find(struct virtio_pci *v, struct pci_dev *dev);

/* Exact widths, as 4.1.3.1 demands. */
u32 virtio_read(const struct virtio_pci *v, u64 address, unsigned int size);
void virtio_write(const struct virtio_pci *v, u64 address, unsigned int size, u32 value);

/* Field of a structure in the device, with the width that it has in <linux/virtio_*.h>. */
#define virtio_field(type, base, field) (base) + offsetof(type, field), sizeof(((type *)0)->field)
#define virtio_common(v, field)		virtio_field(struct virtio_pci_common_cfg, (v)->common, field)

/* Status 0, then waits until the device says 0 (2.4.1, 4.1.4.3.2): all its queues, vectors and requests are gone then. */
enum status virtio_reset(const struct virtio_pci *v);

/*
 * Acknowledge, driver, features, FEATURES_OK read back. wanted: bits to accept where offered; VIRTIO_F_VERSION_1 is demanded.
 * ERR_IO after one line when the device will not.
 */
enum status virtio_negotiate(const struct virtio_pci *v, u64 wanted, u64 *accepted);
void virtio_driver_ok(const struct virtio_pci *v);

#endif
