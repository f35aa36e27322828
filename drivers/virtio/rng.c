/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/rng.h"

#include "drivers/virtio/queue.h"
#include "lib/string.h"

#include <linux/virtio_ids.h>

/* Requests that can be in flight at once, each one descriptor and one buffer. */
#define SLOTS 4
#define BYTES 64

/* A source may be limited to a few bytes a second; after five without one none will come. */
#define REQUEST_WAIT_US 5000000

/* What a buffer holds before: bytes that a source of entropy does not give in a row. */
#define CANARY	0x5c
#define CERTAIN 8 /* bytes; fewer may be canaries by chance */

_Static_assert(SLOTS <= VIRTQUEUE_SIZE_MAX, "a descriptor for each request");

struct rng {
	struct virtio_pci v;
	struct virtqueue q;
	struct slot {
		u8 *data;
		volatile bool busy;
	} slot[SLOTS];
	u16 slots;
	u32 requests;
	volatile u32 written; /* bytes that the last completed request brought */
	volatile u32 completed;
	volatile u32 interrupts;
};

static bool match(const struct pci_dev *dev)
{
	return virtio_pci_is(dev, VIRTIO_ID_RNG, VIRTIO_TRANS_ID_RNG);
}

static bool complete(void *context)
{
	struct rng *rng = context;
	u32 head, written;

	if (!virtio_interrupted(&rng->v))
		return false;
	rng->interrupts++;
	for (u16 n = 0; n < rng->q.size && virtqueue_take(&rng->q, &head, &written); n++) {
		if (head >= rng->slots || !rng->slot[head].busy)
			continue; /* it was never made available, or not this time */
		rng->slot[head].busy = false;
		rng->written = written;
		rng->completed++;
	}
	return true;
}

static enum status allocate_slots(struct rng *rng, struct arena *dma)
{
	rng->slots = MIN(SLOTS, rng->q.size);
	for (unsigned int i = 0; i < rng->slots; i++) {
		rng->slot[i].data = arena_alloc(dma, BYTES, BYTES);
		if (!rng->slot[i].data)
			return ERR_RANGE;
	}
	return OK;
}

static enum status probe(struct pci_dev *dev, void *context)
{
	static const irq_handler handlers[] = { complete };
	struct driver_env *env = context;
	struct rng *rng = arena_alloc(env->heap, sizeof(*rng), 8);
	u64 features;
	enum status s;

	if (!rng)
		return ERR_RANGE;
	dev->driver_data = rng;
	s = virtio_pci_find(&rng->v, dev);
	if (s == OK)
		s = virtio_negotiate(&rng->v, 0, &features);
	if (s == OK)
		s = virtio_connect_msix(&rng->v, handlers, ARRAY_SIZE(handlers), rng);
	if (s == OK)
		s = virtqueue_init(&rng->q, &rng->v, 0, virtio_queue_vector(&rng->v, 0), env->dma);
	if (s == OK)
		s = allocate_slots(rng, env->dma);
	if (s == OK)
		s = virtio_connect_intx(&rng->v, complete, rng);
	if (s == OK)
		virtio_driver_ok(&rng->v);
	return s;
}

static void submit(struct rng *rng, u16 slot)
{
	memset(rng->slot[slot].data, CANARY, BYTES);
	rng->slot[slot].busy = true;
	rng->requests++;
	virtqueue_describe(&rng->q, slot, rng->slot[slot].data, BYTES, true);
	virtqueue_add(&rng->q, slot);
}

static bool has_new_data(const struct rng *rng)
{
	const u8 *data = rng->slot[0].data;

	if (rng->written && rng->written < CERTAIN)
		return true;
	for (u32 i = 0; i < rng->written && rng->written <= BYTES; i++)
		if (data[i] != CANARY)
			return true;
	return false;
}

static enum status work(struct pci_dev *dev, bool write)
{
	struct rng *rng = dev->driver_data;
	u32 want = rng->completed + 1;
	enum status s;

	(void)write;
	submit(rng, 0);
	virtqueue_kick(&rng->q);
	s = driver_await(dev, "completed request", &rng->completed, want, REQUEST_WAIT_US);
	if (s != OK)
		return s;
	if (!has_new_data(rng)) {
		driver_line(dev, "%u bytes received, none of them new", rng->written);
		return ERR_IO;
	}
	driver_line(dev, DRIVER_IRQ_FMT ": %u requests, %u interrupts, %u random bytes", DRIVER_IRQ_ARGS(&rng->v.irq),
		    rng->requests, rng->interrupts, rng->written);
	return OK;
}

static enum status arm(struct pci_dev *dev)
{
	struct rng *rng = dev->driver_data;

	for (u16 i = 0; i < rng->slots; i++)
		submit(rng, i);
	virtqueue_kick(&rng->q);
	return OK;
}

static unsigned int in_flight(const struct pci_dev *dev)
{
	const struct rng *rng = dev->driver_data;
	unsigned int n = 0;

	for (unsigned int i = 0; i < rng->slots; i++)
		n += rng->slot[i].busy;
	return n;
}

const struct driver virtio_rng_driver = {
	.pci = { .name = "virtio-rng", .match = match, .reset = virtio_pci_reset, .probe = probe },
	.dma = SLOTS * BYTES + 2 * PAGE_SIZE, /* the buffers; the rings */
	.work = work,
	.arm = arm,
	.in_flight = in_flight,
};
