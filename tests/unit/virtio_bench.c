/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/virtio_bench.h"

#include "irq/i8259.h"
#include "irq/lapic.h"
#include "lib/time.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define HEAP 8192
#define DMA  (2 * MIB) /* two probes of a disk */

static enum status no_map(u64 address, u64 size)
{
	(void)address;
	(void)size;
	return OK;
}

static struct arena arena(u64 size)
{
	void *memory = aligned_alloc(PAGE_SIZE, size);

	assert_non_null(memory);
	return (struct arena){ (u64)(uintptr_t)memory, size, 0 };
}

void virtio_bench_begin(struct virtio_bench *b, enum fake_virtio_type type, const struct driver *driver)
{
	fake_log_start();
	fake_x86_reset();
	fake_lapic_start();
	fake_i8259_start();
	assert_int_equal(lapic_init(no_map), OK);
	i8259_init();
	time_init(FAKE_PM_TIMER);
	b->fake = fake_pci_new();
	b->device = fake_virtio_new(b->fake, BENCH_BDF, type);
	fake_enumerate(b->fake, &b->devs);
	b->dev = b->devs.dev;
	fake_sized(b->fake, b->dev);
	b->dev->driver = &driver->pci;
	b->heap = arena(HEAP);
	b->dma = arena(DMA);
	b->env = (struct driver_env){ &b->heap, &b->dma };
	fake_x86.irq_on = true;
}

void virtio_bench_end(struct virtio_bench *b)
{
	free((void *)(uintptr_t)b->heap.base);
	free((void *)(uintptr_t)b->dma.base);
	fake_virtio_free(b->device);
	fake_pci_free(b->fake);
}

u8 virtio_bench_line(struct virtio_bench *b)
{
	static const u8 lines[] = { 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15 };
	static unsigned int taken;

	assert_true(taken < ARRAY_SIZE(lines));
	fake_set(b->device->fn, PCI_INTERRUPT_LINE, 1, lines[taken]);
	return lines[taken++];
}

u8 virtio_bench_intx(struct virtio_bench *b)
{
	b->dev->msix = 0;
	return virtio_bench_line(b);
}

enum status virtio_bench_bring_up(struct virtio_bench *b)
{
	enum status s = b->dev->driver->reset(b->dev);

	if (s == OK)
		s = b->dev->driver->probe(b->dev, &b->env);
	if (s == OK)
		fake_log_start();
	return s;
}

enum status virtio_bench_work(struct virtio_bench *b, bool write)
{
	const struct driver *driver = driver_of(b->dev);
	enum status s = driver->work(b->dev, write);

	return s == OK && driver->finish ? driver->finish(b->dev) : s;
}
