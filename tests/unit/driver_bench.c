/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/driver_bench.h"

#include "irq/i8259.h"
#include "irq/lapic.h"
#include "lib/time.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define HEAP 4096

static enum status no_map(u64 address, u64 size)
{
	(void)address;
	(void)size;
	return OK;
}

static struct arena arena(void *memory, u64 size)
{
	assert_non_null(memory);
	return (struct arena){ (u64)(uintptr_t)memory, size, 0 };
}

void driver_bench_begin(struct driver_bench *b)
{
	fake_log_start();
	fake_x86_reset();
	fake_lapic_start();
	fake_i8259_start();
	assert_int_equal(lapic_init(no_map), OK);
	i8259_init();
	time_init(FAKE_PM_TIMER);
	b->fake = fake_pci_new();
}

void driver_bench_attach(struct driver_bench *b, const struct driver *driver)
{
	fake_enumerate(b->fake, &b->devs);
	b->dev = b->devs.dev;
	fake_sized(b->fake, b->dev);
	b->dev->driver = &driver->pci;
	b->memory[0] = malloc(HEAP);
	b->memory[1] = aligned_alloc(PAGE_SIZE, ALIGN_UP(driver->dma, PAGE_SIZE) + PAGE_SIZE);
	b->heap = arena(b->memory[0], HEAP);
	b->dma = arena(b->memory[1], driver->dma);
	b->env = (struct driver_env){ &b->heap, &b->dma };
	fake_x86.irq_on = true;
	vector_forget_unexpected();
}

void driver_bench_end(struct driver_bench *b)
{
	free(b->memory[0]);
	free(b->memory[1]);
	fake_pci_free(b->fake);
}

u8 driver_bench_line(struct driver_bench *b)
{
	static const u8 lines[] = { 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15 };
	static unsigned int taken;

	assert_true(taken < ARRAY_SIZE(lines));
	fake_set(fake_at(b->fake, b->dev->bdf), PCI_INTERRUPT_LINE, 1, lines[taken]);
	return lines[taken++];
}

u8 driver_bench_intx(struct driver_bench *b)
{
	b->dev->msix = b->dev->msi = 0;
	return driver_bench_line(b);
}

enum status driver_bench_reset(struct driver_bench *b)
{
	return b->dev->driver->reset(b->dev);
}

enum status driver_bench_bring_up(struct driver_bench *b)
{
	enum status s = driver_bench_reset(b);

	if (s == OK) {
		pci_set_master(b->dev);
		s = b->dev->driver->probe(b->dev, &b->env);
	}
	if (s == OK)
		fake_log_start();
	return s;
}

enum status driver_bench_work(struct driver_bench *b, bool write)
{
	const struct driver *driver = driver_of(b->dev);
	enum status s = driver->work(b->dev, write);

	return s == OK && driver->finish ? driver->finish(b->dev) : s;
}

enum status driver_bench_arm(struct driver_bench *b)
{
	return driver_of(b->dev)->arm(b->dev);
}

unsigned int driver_bench_in_flight(const struct driver_bench *b)
{
	return driver_of(b->dev)->in_flight(b->dev);
}

void driver_bench_renew(struct driver_bench *b)
{
	b->heap.used = b->dma.used = 0;
}
