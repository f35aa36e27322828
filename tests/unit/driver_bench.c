/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/driver_bench.h"

#include "irq/i8259.h"
#include "irq/lapic.h"
#include "lib/time.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define HEAP 4096

struct driver_bench bench;

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

void bench_begin(void)
{
	fake_log_start();
	fake_x86_reset();
	fake_lapic_start();
	fake_i8259_start();
	assert_int_equal(lapic_init(no_map), OK);
	i8259_init();
	time_init(FAKE_PM_TIMER);
	bench.fake = fake_pci_new();
}

void bench_attach(const struct driver *driver)
{
	fake_enumerate(bench.fake, &bench.devs);
	bench.dev = bench.devs.dev;
	fake_sized(bench.fake, bench.dev);
	bench.dev->driver = &driver->pci;
	bench.memory[0] = malloc(HEAP);
	bench.memory[1] = aligned_alloc(PAGE_SIZE, ALIGN_UP(driver->dma, PAGE_SIZE) + PAGE_SIZE);
	bench.heap = arena(bench.memory[0], HEAP);
	bench.dma = arena(bench.memory[1], driver->dma);
	bench.env = (struct driver_env){ &bench.heap, &bench.dma };
	fake_x86.irq_on = true;
	vector_clear_unexpected();
}

int bench_end(void **state)
{
	(void)state;
	free(bench.memory[0]);
	free(bench.memory[1]);
	fake_pci_free(bench.fake);
	return 0;
}

u8 bench_line(void)
{
	static const u8 lines[] = { 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15 };
	static unsigned int taken;

	assert_true(taken < ARRAY_SIZE(lines));
	fake_set(fake_at(bench.fake, bench.dev->bdf), PCI_INTERRUPT_LINE, 1, lines[taken]);
	return lines[taken++];
}

u8 bench_intx(void)
{
	bench.dev->msix = bench.dev->msi = 0;
	return bench_line();
}

enum status bench_reset(void)
{
	return bench.dev->driver->reset(bench.dev);
}

enum status bench_bring_up(void)
{
	enum status s = bench_reset();

	if (s == OK) {
		pci_set_master(bench.dev);
		s = bench.dev->driver->probe(bench.dev, &bench.env);
	}
	if (s == OK)
		fake_log_start();
	return s;
}

enum status bench_work(bool write)
{
	const struct driver *driver = driver_of(bench.dev);
	enum status s = driver->work(bench.dev, write);

	return s == OK && driver->finish ? driver->finish(bench.dev) : s;
}

enum status bench_arm(void)
{
	return driver_of(bench.dev)->arm(bench.dev);
}

unsigned int bench_in_flight(void)
{
	return driver_of(bench.dev)->in_flight(bench.dev);
}

void bench_anothers_interrupts(u8 line)
{
	fake_clear_log(bench.fake);
	fake_i8259.limit = 100000;
	fake_irq_line(line, true); /* no handler clears it */
	assert_true(i8259_line_disabled(line));
	assert_no_writes(bench.fake);
}

void bench_own_interrupts(u8 line, unsigned int each)
{
	for (unsigned int i = 1; i <= 100; i++) {
		assert_int_equal(bench_work(false), OK);
		assert_int_equal(fake_i8259.taken[line], i * each);
		assert_false(fake_irq_high(line));
	}
	assert_false(i8259_line_disabled(line));
}

void bench_renew(void)
{
	bench.heap.used = bench.dma.used = 0;
}
