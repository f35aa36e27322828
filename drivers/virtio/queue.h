/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_VIRTIO_QUEUE_H
#define DRIVERS_VIRTIO_QUEUE_H

#include "drivers/virtio/pci.h"
#include "lib/arena.h"

#include <linux/virtio_ring.h>

/* A split virtqueue (virtio 1.2, 2.7). The driver decides which descriptors a request takes. */
struct virtqueue {
	const struct virtio_pci *v;
	u16 index;
	u16 size; /* entries, a power of two */
	volatile struct vring_desc *desc;
	volatile struct vring_avail *avail;
	volatile struct vring_used *used;
	u16 used_seen;
	u64 notify;
};

#define VIRTQUEUE_SIZE_MAX 32

/*
 * Allocates the rings from DMA memory, passes their addresses and the MSI-X table entry (or VIRTIO_MSI_NO_VECTOR) to the device and
 * enables the queue. After FEATURES_OK, before DRIVER_OK. ERR_IO after one line where the device has no such queue or no such
 * vector.
 */
enum status virtqueue_init(struct virtqueue *q, const struct virtio_pci *v, u16 index, u16 vector, struct arena *dma);

/* One buffer as one descriptor, whose number is d; not available yet. device_writes: the device fills it. */
void virtqueue_describe(struct virtqueue *q, u16 d, const volatile void *data, u32 size, bool device_writes);

/* Makes the chain that begins at descriptor head available. virtqueue_kick notifies the device. */
void virtqueue_add(struct virtqueue *q, u16 head);
void virtqueue_kick(const struct virtqueue *q);

/*
 * Takes the next completed chain and the bytes written to it, both as the device wrote them, unchecked; false when there is none,
 * and before the queue is set up, when a message may come already. A handler takes no more than size of them: what comes later
 * interrupts again.
 */
bool virtqueue_take(struct virtqueue *q, u32 *head, u32 *written);

#endif
