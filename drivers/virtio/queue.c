/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/queue.h"

/* Orders stores against stores and loads against loads: on x86 only the compiler could reorder them. */
#define barrier() __asm__ volatile("" : : : "memory")

enum status virtqueue_init(struct virtqueue *q, const struct virtio_pci *v, u16 index, u16 vector, struct arena *dma)
{
	u64 notify;
	u32 size, got;

	pci_mem_write(v->dev, virtio_common(v, queue_select), index);
	size = pci_mem_read(v->dev, virtio_common(v, queue_size));
	if (!size || size & (size - 1)) {
		driver_line(v->dev, "queue %u has %u entries", index, size);
		return ERR_IO;
	}
	size = MIN(size, VIRTQUEUE_SIZE_MAX);
	notify = (u64)pci_mem_read(v->dev, virtio_common(v, queue_notify_off)) * v->notify_multiplier;
	if (notify + sizeof(u16) > v->notify_length) {
		driver_line(v->dev, "queue %u notifies at 0x%lx of %u bytes", index, notify, v->notify_length);
		return ERR_IO;
	}
	*q = (struct virtqueue){ .v = v, .index = index, .size = (u16)size };
	q->desc = arena_alloc(dma, size * sizeof(struct vring_desc), VRING_DESC_ALIGN_SIZE);
	q->avail = arena_alloc(dma, sizeof(struct vring_avail) + size * sizeof(u16) + sizeof(u16), VRING_AVAIL_ALIGN_SIZE);
	q->used = arena_alloc(dma, sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + sizeof(u16),
			      VRING_USED_ALIGN_SIZE);
	if (!q->desc || !q->avail || !q->used)
		return ERR_RANGE;

	pci_mem_write(v->dev, virtio_common(v, queue_size), size);
	pci_mem_write(v->dev, virtio_common(v, queue_msix_vector), vector);
	got = pci_mem_read(v->dev, virtio_common(v, queue_msix_vector));
	if (got != vector) {
		driver_line(v->dev, "queue %u: MSI-X entry %u requested, got 0x%x", index, vector, got);
		return ERR_IO;
	}
	pci_mem_write64_lo_hi(v->dev, v->common + offsetof(struct virtio_pci_common_cfg, queue_desc_lo), (uintptr_t)q->desc);
	pci_mem_write64_lo_hi(v->dev, v->common + offsetof(struct virtio_pci_common_cfg, queue_avail_lo), (uintptr_t)q->avail);
	pci_mem_write64_lo_hi(v->dev, v->common + offsetof(struct virtio_pci_common_cfg, queue_used_lo), (uintptr_t)q->used);
	q->notify = v->notify + notify;
	pci_mem_write(v->dev, virtio_common(v, queue_enable), 1);
	return OK;
}

void virtqueue_describe(struct virtqueue *q, u16 d, const volatile void *data, u32 size, bool device_writes)
{
	q->desc[d] = (struct vring_desc){ (u64)(uintptr_t)data, size, device_writes ? VRING_DESC_F_WRITE : 0, 0 };
}

void virtqueue_add(struct virtqueue *q, u16 head)
{
	q->avail->ring[q->avail->idx % q->size] = head;
	barrier();
	q->avail->idx++;
}

void virtqueue_kick(const struct virtqueue *q)
{
	barrier();
	pci_mem_write(q->v->dev, q->notify, 2, q->index);
}

bool virtqueue_take(struct virtqueue *q, u32 *head, u32 *written)
{
	if (!q->used || q->used_seen == q->used->idx)
		return false;
	barrier();
	*head = q->used->ring[q->used_seen % q->size].id;
	*written = q->used->ring[q->used_seen % q->size].len;
	q->used_seen++;
	return true;
}
