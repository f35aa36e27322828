/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/pci.h"

#include "lib/format.h"

#include <linux/virtio_config.h>

/* The standard gives no limit. QEMU resets at once, but drains requests first: a slow disk's may take a second. */
#define VIRTIO_RESET_WAIT_US 5000000

#define CAP_CFG_TYPE	     offsetof(struct virtio_pci_cap, cfg_type)
#define CAP_BAR		     offsetof(struct virtio_pci_cap, bar)
#define CAP_OFFSET	     offsetof(struct virtio_pci_cap, offset)
#define CAP_LENGTH	     offsetof(struct virtio_pci_cap, length)
#define CAP_NOTIFY	     offsetof(struct virtio_pci_notify_cap, notify_off_multiplier)

bool virtio_pci_is(const struct pci_dev *dev, u16 id, u16 transitional)
{
	return dev->vendor == VIRTIO_PCI_VENDOR && (dev->device == VIRTIO_PCI_DEVICE(id) || dev->device == transitional);
}

/* What the transport consists of (4.1.4): the bytes that the capability has, and those that the structure must have. */
static const struct structure {
	u8 type;
	u8 cap_size;
	u32 least;
	size_t where; /* the address's offset in struct virtio_pci */
} structures[] = {
	{ VIRTIO_PCI_CAP_COMMON_CFG, 16, sizeof(struct virtio_pci_common_cfg), offsetof(struct virtio_pci, common) },
	{ VIRTIO_PCI_CAP_NOTIFY_CFG, 20, 2, offsetof(struct virtio_pci, notify) },
	{ VIRTIO_PCI_CAP_ISR_CFG, 16, 1, offsetof(struct virtio_pci, isr) },
	{ VIRTIO_PCI_CAP_DEVICE_CFG, 16, 1, offsetof(struct virtio_pci, config) },
};

static enum status map_structure(struct virtio_pci *v, u8 cap, const struct structure *structure, u64 *address)
{
	unsigned int bar = pci_read_config_byte(v->dev, (u16)(cap + CAP_BAR));
	u32 offset = pci_read_config_dword(v->dev, (u16)(cap + CAP_OFFSET));
	u32 length = pci_read_config_dword(v->dev, (u16)(cap + CAP_LENGTH));
	enum status s;
	char what[24];

	if (length < structure->least) {
		driver_line(v->dev, "capability 0x%02x has %u bytes, its type needs %u", cap, length, structure->least);
		return ERR_ABSENT;
	}
	format(what, sizeof(what), "virtio capability 0x%02x", cap);
	s = pci_map_bar(v->dev, what, bar, offset, length, address);
	if (s != OK)
		return s;
	if (structure->type == VIRTIO_PCI_CAP_NOTIFY_CFG) {
		v->notify_length = length;
		v->notify_multiplier = pci_read_config_dword(v->dev, (u16)(cap + CAP_NOTIFY));
	}
	if (structure->type == VIRTIO_PCI_CAP_DEVICE_CFG)
		v->config_length = length;
	return OK;
}

enum status virtio_pci_find(struct virtio_pci *v, struct pci_dev *dev)
{
	*v = (struct virtio_pci){ .dev = dev };
	for (struct pci_cap cap = { 0 }; pci_next_capability(dev, &cap);) {
		u8 type;

		if (cap.id != PCI_CAP_ID_VNDR || cap.pos + CAP_CFG_TYPE >= PCI_CFG_SPACE_SIZE)
			continue;
		type = pci_read_config_byte(dev, (u16)(cap.pos + CAP_CFG_TYPE));
		for (unsigned int i = 0; i < ARRAY_SIZE(structures); i++) {
			u64 *address = (u64 *)((u8 *)v + structures[i].where);
			enum status s;

			/* 4.1.4.1: of several of one type the first is preferred. */
			if (structures[i].type != type || *address || cap.pos + structures[i].cap_size > PCI_CFG_SPACE_SIZE)
				continue;
			s = map_structure(v, cap.pos, &structures[i], address);
			if (s != OK)
				return s;
		}
	}
	if (!v->common || !v->notify || !v->isr) {
		driver_line(dev, "no modern transport");
		return ERR_ABSENT;
	}
	return OK;
}

static u32 read8(const struct pci_dev *dev, u64 address)
{
	return pci_mem_read(dev, address, 1);
}

enum status virtio_reset(const struct virtio_pci *v)
{
	pci_mem_write(v->dev, virtio_common(v, device_status), 0);
	return driver_poll(v->dev, "reset not done after %lu ms, status 0x%02x",
			   &(struct driver_poll){ .read = read8,
						  .address = v->common + offsetof(struct virtio_pci_common_cfg, device_status),
						  .mask = 0xff,
						  .bound_us = VIRTIO_RESET_WAIT_US });
}

/*
 * What the previous kernel had submitted ends here: QEMU drains it, and data may still be written to that kernel's buffers
 * meanwhile.
 */
enum status virtio_pci_reset(struct pci_dev *dev)
{
	struct virtio_pci v;
	enum status s = virtio_pci_find(&v, dev);

	if (s != OK)
		return s;
	pci_line(dev, "virtio status 0x%02x before the reset", pci_mem_read(dev, virtio_common(&v, device_status)));
	return virtio_reset(&v);
}

static void add_status(const struct virtio_pci *v, u32 bits)
{
	pci_mem_write(v->dev, virtio_common(v, device_status), pci_mem_read(v->dev, virtio_common(v, device_status)) | bits);
}

enum status virtio_negotiate(const struct virtio_pci *v, u64 wanted, u64 *accepted)
{
	const u64 version_1 = 1ULL << VIRTIO_F_VERSION_1;
	/* A device that requires addresses of the platform's IOMMU (6.1) gets physical ones: none is enabled here. */
	const u64 platform = 1ULL << VIRTIO_F_ACCESS_PLATFORM;
	u64 offered = 0;

	add_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(v, VIRTIO_CONFIG_S_DRIVER);
	for (u32 half = 0; half < 2; half++) {
		pci_mem_write(v->dev, virtio_common(v, device_feature_select), half);
		offered |= (u64)pci_mem_read(v->dev, virtio_common(v, device_feature)) << 32 * half;
	}
	*accepted = offered & (wanted | version_1 | platform);
	for (u32 half = 0; half < 2; half++) {
		pci_mem_write(v->dev, virtio_common(v, guest_feature_select), half);
		pci_mem_write(v->dev, virtio_common(v, guest_feature), (u32)(*accepted >> 32 * half));
	}
	add_status(v, VIRTIO_CONFIG_S_FEATURES_OK);
	if (*accepted & version_1 && pci_mem_read(v->dev, virtio_common(v, device_status)) & VIRTIO_CONFIG_S_FEATURES_OK)
		return OK;
	driver_line(v->dev, "features 0x%lx refused, 0x%lx offered", *accepted, offered);
	add_status(v, VIRTIO_CONFIG_S_FAILED);
	return ERR_IO;
}

void virtio_driver_ok(const struct virtio_pci *v)
{
	add_status(v, VIRTIO_CONFIG_S_DRIVER_OK);
}

enum status virtio_connect_msix(struct virtio_pci *v, const irq_handler *handlers, unsigned int count, void *context)
{
	return pci_msix_vec_count(v->dev) < count ? OK : driver_request_messages(v->dev, handlers, count, context, &v->irq);
}

enum status virtio_connect_intx(struct virtio_pci *v, irq_handler handler, void *context)
{
	if (v->irq.message)
		return OK;
	pci_intx(v->dev, true);
	return driver_request_intx(v->dev, handler, context, &v->irq);
}

u16 virtio_queue_vector(const struct virtio_pci *v, u16 entry)
{
	return v->irq.message ? entry : VIRTIO_MSI_NO_VECTOR;
}

bool virtio_interrupted(const struct virtio_pci *v)
{
	u32 isr = v->irq.message ? 1 : pci_mem_read(v->dev, v->isr, 1); /* reading ISR deasserts INTx (4.1.4.5.1) */

	return isr && isr != 0xff;
}
