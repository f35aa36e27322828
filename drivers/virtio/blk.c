/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/blk.h"

#include "drivers/virtio/pattern.h"
#include "drivers/virtio/queue.h"
#include "lib/string.h"
#include "lib/time.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

/* Requests that can be in flight at once; each has three descriptors (header, data, status) and a buffer of its own. */
#define SLOTS	     8
#define DESCRIPTORS  3
#define TRANSFER     (64 * KIB)
#define SAFE_SECTORS (MIB / SECTOR_SIZE)

/* A request takes microseconds here and, throttled, a second; after five none will complete. */
#define REQUEST_WAIT_US 5000000

/* What a buffer holds before a read: bytes that a disk is unlikely to hold, so that data that arrives is seen. */
#define CANARY 0x5c

_Static_assert(SLOTS *DESCRIPTORS <= VIRTQUEUE_SIZE_MAX, "a descriptor for each part of each request");

struct blk {
	struct virtio_pci v;
	struct virtqueue q;
	struct slot {
		struct virtio_blk_outhdr *header;
		u8 *data;
		volatile u8 *status;
		volatile bool busy;
	} slot[SLOTS];
	unsigned int slots;
	u64 sectors;
	bool read_only;
	bool has_flush;
	u32 requests;
	volatile u32 completed;
	volatile u32 interrupts;
};

static bool match(const struct pci_dev *dev)
{
	return virtio_pci_is(dev, VIRTIO_ID_BLOCK, VIRTIO_TRANS_ID_BLOCK);
}

static bool complete(void *context)
{
	struct blk *blk = context;
	u32 head, written;

	if (!virtio_interrupted(&blk->v))
		return false;
	blk->interrupts++;
	for (u16 n = 0; n < blk->q.size && virtqueue_take(&blk->q, &head, &written); n++) {
		if (head % DESCRIPTORS || head / DESCRIPTORS >= SLOTS)
			continue; /* a chain that was never made available */
		if (!blk->slot[head / DESCRIPTORS].busy)
			continue; /* nor this time */
		blk->slot[head / DESCRIPTORS].busy = false;
		blk->completed++;
	}
	return true;
}

static enum status allocate_slots(struct blk *blk, struct arena *dma)
{
	blk->slots = MIN(SLOTS, blk->q.size / DESCRIPTORS);
	if (!blk->slots) {
		driver_line(blk->v.dev, "a queue of %u has no room for a request", blk->q.size);
		return ERR_RANGE;
	}
	for (unsigned int i = 0; i < blk->slots; i++) {
		struct slot *slot = &blk->slot[i];

		slot->header = arena_alloc(dma, sizeof(*slot->header), 16);
		slot->status = arena_alloc(dma, 1, 1);
		slot->data = arena_alloc(dma, TRANSFER, PAGE_SIZE);
		if (!slot->header || !slot->status || !slot->data)
			return ERR_RANGE;
	}
	return OK;
}

static enum status probe(struct pci_dev *dev, void *context)
{
	static const irq_handler handlers[] = { complete };
	struct driver_env *env = context;
	struct blk *blk = arena_alloc(env->heap, sizeof(*blk), 8);
	u64 features;
	enum status s;

	if (!blk)
		return ERR_RANGE;
	dev->driver_data = blk;
	s = virtio_pci_find(&blk->v, dev);
	if (s == OK && blk->v.config_length < sizeof(u64)) {
		driver_line(dev, "no device configuration");
		s = ERR_ABSENT;
	}
	if (s == OK)
		s = virtio_negotiate(&blk->v, 1ULL << VIRTIO_BLK_F_RO | 1ULL << VIRTIO_BLK_F_FLUSH, &features);
	if (s == OK)
		s = virtio_connect_msix(&blk->v, handlers, ARRAY_SIZE(handlers), blk);
	if (s == OK)
		s = virtqueue_init(&blk->q, &blk->v, 0, virtio_queue_vector(&blk->v, 0), env->dma);
	if (s == OK)
		s = allocate_slots(blk, env->dma);
	if (s == OK)
		s = virtio_connect_intx(&blk->v, complete, blk);
	if (s != OK)
		return s;
	virtio_driver_ok(&blk->v);
	blk->read_only = features & 1ULL << VIRTIO_BLK_F_RO;
	blk->has_flush = features & 1ULL << VIRTIO_BLK_F_FLUSH;
	/* Two 32-bit reads (4.1.3.1); the capacity of a disk does not change under us. */
	blk->sectors = pci_mem_read32(dev, blk->v.config) | (u64)pci_mem_read32(dev, blk->v.config + 4) << 32;
	return OK;
}

/* Makes slot's request available; size is in bytes. */
static void submit(struct blk *blk, unsigned int slot_number, u32 type, u64 sector, u32 size)
{
	struct slot *slot = &blk->slot[slot_number];
	u16 head = (u16)(slot_number * DESCRIPTORS);
	volatile struct vring_desc *d = &blk->q.desc[head];
	u16 direction = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;

	*slot->header = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	*slot->status = 0xff;
	slot->busy = true;
	d[0] = (struct vring_desc){ (uintptr_t)slot->header, sizeof(*slot->header), VRING_DESC_F_NEXT, (u16)(head + 1) };
	d[1] = (struct vring_desc){ (uintptr_t)slot->data, size, VRING_DESC_F_NEXT | direction, (u16)(head + 2) };
	if (!size)
		d[0].next = (u16)(head + 2);
	d[2] = (struct vring_desc){ (uintptr_t)slot->status, 1, VRING_DESC_F_WRITE, 0 };
	blk->requests++;
	virtqueue_add(&blk->q, head);
}

/* One request in slot 0, from submission to its interrupt. */
static enum status transfer(struct pci_dev *dev, u32 type, u64 sector, u32 size)
{
	struct blk *blk = dev->driver_data;
	u32 want = blk->completed + 1;
	enum status s;

	submit(blk, 0, type, sector, size);
	virtqueue_kick(&blk->q);
	s = driver_await(dev, "completed request", &blk->completed, want, REQUEST_WAIT_US);
	if (s == OK && *blk->slot[0].status != VIRTIO_BLK_S_OK) {
		driver_line(dev, "request type %u sector %lu: status %u", type, sector, *blk->slot[0].status);
		return ERR_IO;
	}
	return s;
}

static bool all_zero(const u8 *p, size_t n)
{
	while (n && !*p)
		p++, n--;
	return !n;
}

/* Leaves the disk's first sectors in slot 0. *seed_found: our pattern is there. *free: we may write. */
static enum status look(struct pci_dev *dev, bool *free, bool *found, u64 *seed)
{
	struct blk *blk = dev->driver_data;
	const u8 *data = blk->slot[0].data;
	enum status s = OK;

	*free = !blk->read_only && blk->sectors >= SAFE_SECTORS;
	s = transfer(dev, VIRTIO_BLK_T_IN, 0, TRANSFER);
	*found = s == OK && pattern_seed(data, seed);
	for (u64 sector = PATTERN_SECTORS; s == OK && *free && !*found && sector < SAFE_SECTORS; sector += PATTERN_SECTORS) {
		*free = all_zero(data, TRANSFER);
		s = transfer(dev, VIRTIO_BLK_T_IN, sector, TRANSFER);
	}
	if (!*found)
		*free = *free && all_zero(data, TRANSFER);
	return s;
}

static enum status compare(struct pci_dev *dev, u64 seed)
{
	struct blk *blk = dev->driver_data;
	u8 want[SECTOR_SIZE];
	enum status s = transfer(dev, VIRTIO_BLK_T_IN, 0, TRANSFER);

	for (u32 n = 0; s == OK && n < PATTERN_SECTORS; n++) {
		pattern_fill(want, n, seed);
		if (memcmp(want, blk->slot[0].data + n * SECTOR_SIZE, SECTOR_SIZE)) {
			driver_line(dev, "sector %u differs from the pattern of seed 0x%lx", n, seed);
			return ERR_IO;
		}
	}
	return s;
}

static enum status write_pattern(struct pci_dev *dev, u64 seed)
{
	struct blk *blk = dev->driver_data;
	enum status s;

	for (u32 n = 0; n < PATTERN_SECTORS; n++)
		pattern_fill(blk->slot[0].data + n * SECTOR_SIZE, n, seed);
	s = transfer(dev, VIRTIO_BLK_T_OUT, 0, TRANSFER);
	if (s == OK && blk->has_flush)
		s = transfer(dev, VIRTIO_BLK_T_FLUSH, 0, 0);
	memset(blk->slot[0].data, CANARY, TRANSFER);
	return s;
}

static enum status work(struct pci_dev *dev, bool write)
{
	struct blk *blk = dev->driver_data;
	const char *done = "read, no test pattern";
	bool free, found;
	enum status s;
	u64 seed = 0;

	if (blk->sectors < PATTERN_SECTORS) {
		driver_line(dev, "only %lu sectors, not used", blk->sectors);
		return OK;
	}
	s = look(dev, &free, &found, &seed);
	if (s == OK && write && free) {
		seed = time_us() + 1;
		s = write_pattern(dev, seed);
		found = true;
		done = "pattern written and read back";
	} else if (found) {
		done = "pattern read, every byte matches";
	}
	if (s == OK && found)
		s = compare(dev, seed);
	if (s != OK)
		return s;
	driver_line(dev, "%lu KiB%s, " DRIVER_IRQ_FMT ": %u requests, %u interrupts, %s", blk->sectors * SECTOR_SIZE / KIB,
		    blk->read_only ? " read-only" : "", DRIVER_IRQ_ARGS(&blk->v.irq), blk->requests, blk->interrupts, done);
	return OK;
}

/* Reads, because data that arrives then differs from what was in the buffer. */
static enum status arm(struct pci_dev *dev)
{
	struct blk *blk = dev->driver_data;
	u64 sector = 0;

	for (unsigned int i = 0; i < blk->slots && sector + PATTERN_SECTORS <= blk->sectors; i++) {
		memset(blk->slot[i].data, CANARY, TRANSFER);
		submit(blk, i, VIRTIO_BLK_T_IN, sector, TRANSFER);
		sector += PATTERN_SECTORS;
	}
	virtqueue_kick(&blk->q);
	return OK;
}

static unsigned int in_flight(const struct pci_dev *dev)
{
	const struct blk *blk = dev->driver_data;
	unsigned int n = 0;

	for (unsigned int i = 0; i < blk->slots; i++)
		n += blk->slot[i].busy;
	return n;
}

const struct driver virtio_blk_driver = {
	.pci = { .name = "virtio-blk", .match = match, .reset = virtio_pci_reset, .probe = probe },
	.dma = SLOTS * (TRANSFER + PAGE_SIZE) + 2 * PAGE_SIZE, /* each request's data, header and status; the rings */
	.work = work,
	.arm = arm,
	.in_flight = in_flight,
};
