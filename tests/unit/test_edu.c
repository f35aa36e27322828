/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: edu is given bus master only when its engine is idle and every interrupt was acknowledged; no transfer while one is in
 * flight, and none that leaves its buffer, its 28 bits of address or the driver's memory. The driver takes INTx and MSI, compares
 * every byte of both directions of DMA, and leaves a transfer in flight when armed. Could be false: edu has no reset, so a transfer
 * that was started is done when bus master is set again; its engine has 28 address bits and a range outside its buffer aborts QEMU;
 * an interrupt that is not acknowledged keeps the line asserted. Provoked: a model of docs/specs/edu.txt that fails the test at
 * what would abort or clamp, with one fault at a time. Failure: what the model refuses, a wrong status, or a line that does not say
 * what happened.
 */
#include "drivers/edu/edu.h"
#include "irq/i8259.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#include <sys/mman.h>

#define BDF	 PCI_BDF(0, 4, 0)
#define DMA_BASE 0x8000000 /* below 256 MiB: all that the device reaches */
#define DMA_SIZE 0x10000

static struct edu_model {
	struct fake_fn *fn;
	u32 id;
	u32 irq_status;
	u32 source, target, count, command;
	u8 buffer[4096];
	unsigned int transfers;
	/* faults */
	unsigned int runs; /* reads of the command until a transfer is done; -1U: never */
	bool corrupt;
	bool no_irq; /* raises no interrupt */
	u32 stuck;   /* bits of the interrupt status that no acknowledgement clears */
} edu;

/* --- the model --- */

static void raise(u32 cause)
{
	u16 command = (u16)fake_get(edu.fn, PCI_COMMAND, 2);
	bool msi = fake_get(edu.fn, FAKE_EDU_MSI + 2, 2) & PCI_MSI_FLAGS_ENABLE;

	edu.irq_status |= cause;
	if (edu.no_irq)
		return;
	if (msi && command & PCI_COMMAND_MASTER)
		fake_lapic_message(fake_get(edu.fn, FAKE_EDU_MSI + 4, 4), fake_get(edu.fn, FAKE_EDU_MSI + 12, 2));
	else if (!msi && !(command & PCI_COMMAND_INTX_DISABLE))
		fake_irq_line(edu.fn->cfg[PCI_INTERRUPT_LINE], true);
}

static void transfer(void)
{
	bool to_ram = edu.command & 2;
	u32 inside = to_ram ? edu.source : edu.target, outside = to_ram ? edu.target : edu.source;

	if (inside < 0x40000 || inside + edu.count > 0x41000)
		fail_msg("DMA range 0x%x + 0x%x aborts QEMU", inside, edu.count);
	if ((u64)outside + edu.count > 1UL << 28)
		fail_msg("DMA address 0x%x is clamped to 28 bits", outside);
	edu.command &= ~1U;
	edu.transfers++;
	if (fake_get(edu.fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER) {
		u8 *ram = (u8 *)(uintptr_t)outside, *mine = edu.buffer + inside - 0x40000;

		assert_true(outside >= bench.dma.base && outside + edu.count <= bench.dma.base + bench.dma.size);
		memcpy(to_ram ? ram : mine, to_ram ? mine : ram, edu.count);
		if (to_ram && edu.corrupt)
			ram[edu.count - 1] ^= 1;
	}
	if (edu.command & 4)
		raise(0x100);
}

static u32 edu_read(void *model, u64 offset, unsigned int size)
{
	(void)model;
	assert_int_equal(size, 4);
	switch (offset) {
	case 0x00:
		return edu.id;
	case 0x24:
		return edu.irq_status;
	case 0x98:
		if (edu.command & 1 && edu.runs != -1U && !edu.runs--)
			transfer();
		return edu.command;
	}
	fail_msg("edu + 0x%lx is read", offset);
	return 0;
}

static void edu_write(void *model, u64 offset, unsigned int size, u32 value)
{
	(void)model;
	assert_int_equal(size, 4);
	switch (offset) {
	case 0x60:
		raise(value);
		break;
	case 0x64:
		edu.irq_status &= ~value | edu.stuck;
		if (!edu.irq_status && edu.fn->cfg[PCI_INTERRUPT_LINE])
			fake_irq_line(edu.fn->cfg[PCI_INTERRUPT_LINE], false);
		break;
	case 0x80:
		edu.source = value;
		break;
	case 0x88:
		edu.target = value;
		break;
	case 0x90:
		edu.count = value;
		break;
	case 0x98:
		assert_false(edu.command & 1); /* the specification leaves open what happens to a transfer in flight */
		edu.command = value;
		if (value & 1 && !edu.runs)
			transfer();
		break;
	default:
		fail_msg("edu + 0x%lx <- 0x%x", offset, value);
	}
}

/* --- the tests --- */

static int once(void **state)
{
	(void)state;
	return mmap((void *)DMA_BASE, DMA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
	       (void *)DMA_BASE;
}

static int begin(void **state)
{
	(void)state;
	bench_begin();
	edu = (struct edu_model){ .fn = fake_edu(bench.fake, BDF), .id = 0x010000ed };
	fake_set(edu.fn, PCI_INTERRUPT_LINE, 1, 0); /* INTx where a test needs it */
	bench.fake->mem[0].read = edu_read;
	bench.fake->mem[0].write = edu_write;
	bench_attach(&edu_driver);
	bench.dma.base = DMA_BASE;
	return 0;
}

static void only_edu_matches(void **state)
{
	static const struct pci_dev others[] = { { .vendor = 0x1234, .device = 0x1111 }, { .vendor = 0x1af4, .device = 0x11e8 } };

	(void)state;
	assert_true(edu_driver.pci.match(bench.dev));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(edu_driver.pci.match(&others[i]));
}

static void reset_waits_for_the_engine_and_acknowledges_what_is_left(void **state)
{
	(void)state;
	fake_set(edu.fn, PCI_COMMAND, 2, 0x0003); /* as the previous kernel hands over: bus master off */
	edu.source = 0x40000;
	edu.target = DMA_BASE;
	edu.count = 4096;
	edu.command = 7;
	edu.runs = 5;
	edu.irq_status = 1;
	*(u8 *)DMA_BASE = 0x77;
	memset(edu.buffer, 0x11, sizeof(edu.buffer));
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(edu.transfers, 1);
	assert_int_equal(edu.irq_status, 0);
	assert_int_equal(*(u8 *)DMA_BASE, 0x77); /* it was suppressed: bus master is off */
	assert_int_equal(fake_get(edu.fn, PCI_COMMAND, 2), 0x0003);
	assert_int_equal(fake_log_lines(), 0);
}

/* Of its registers only the one that acknowledges is written to. */
static void reset_switches_memory_on_and_starts_nothing(void **state)
{
	(void)state;
	fake_set(edu.fn, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(fake_get(edu.fn, PCI_COMMAND, 2), PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_MEMORY);
	for (unsigned int i = 0; i < bench.fake->logged; i++)
		if (bench.fake->log[i].kind == FAKE_MEM_WRITE)
			assert_int_equal(bench.fake->log[i].where, FAKE_EDU_BAR + 0x64);
}

static void an_engine_that_never_stops_times_out_with_a_line(void **state)
{
	(void)state;
	edu.command = 7;
	edu.runs = -1U;
	assert_int_equal(bench_reset(), ERR_TIMEOUT);
	assert_one_line("0000:00:04.0 edu: DMA still runs after 1000 ms, command 0x7");
}

static void an_interrupt_that_cannot_be_acknowledged_is_an_error_with_a_line(void **state)
{
	(void)state;
	edu.irq_status = 0x103;
	edu.stuck = 0x102;
	assert_int_equal(bench_reset(), ERR_IO);
	assert_one_line("0000:00:04.0 edu: interrupt status 0x102 stays set after it was acknowledged");
	edu.stuck = 0; /* the twin */
	assert_int_equal(bench_reset(), OK);
}

static void a_device_that_is_removed_during_reset_is_an_error_with_a_line(void **state)
{
	unsigned int all;

	assert_int_equal(bench_reset(), OK);
	all = bench.fake->logged;
	assert_true(all > 5);
	for (unsigned int n = 0; n < all; n++) {
		bench_end(state);
		begin(state);
		edu.fn->answers = (int)n;
		fake_x86.pm_step = 100000;
		if (bench_reset() == OK || fake_log_lines() != 1)
			fail_msg("removed after %u of %u accesses: %u lines", n, all, fake_log_lines());
	}
}

static void what_is_no_edu_is_refused_with_a_line(void **state)
{
	(void)state;
	edu.id = 0x010000ee;
	assert_int_equal(bench_reset(), ERR_IO);
	assert_one_line("edu: identification 0x010000ee");
	edu.id = 0x020000ed; /* another version is one */
	assert_int_equal(bench_reset(), OK);
}

static void without_its_bar_it_is_refused_with_a_line(void **state)
{
	(void)state;
	fake_set(edu.fn, PCI_BASE_ADDRESS_0, 4, 0);
	assert_int_equal(bench_reset(), ERR_ABSENT);
	assert_one_line("edu is in BAR 0, which is not an assigned memory BAR");
}

static void memory_beyond_its_reach_is_refused_with_a_line(void **state)
{
	(void)state;
	bench.dma.base = (uintptr_t)bench.memory[1];
	assert_int_equal(bench.dev->driver->probe(bench.dev, &bench.env), ERR_ABSENT);
	assert_one_line("no DMA memory below 256 MiB");
}

static void msi_and_both_directions_of_dma_work(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(edu.transfers, 2);
	assert_int_equal(fake_lapic.delivered, 3); /* one raised, one each transfer */
	assert_int_equal(fake_i8259.delivered, 0);
	assert_int_equal(edu.irq_status, 0);
	assert_true(fake_log_has("taken 3 times, DMA out and back"));
	assert_true(fake_log_has("unavailable"));
	assert_memory_equal((void *)(uintptr_t)edu.target, edu.buffer, edu.count);
}

static void intx_is_taken_before_msi_and_its_line_is_released(void **state)
{
	(void)state;
	fake_set(edu.fn, PCI_INTERRUPT_LINE, 1, 11);
	fake_set(edu.fn, PCI_COMMAND, 2, 0x0407); /* as a kernel that used MSI leaves it */
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(fake_i8259.taken[11], 1);
	assert_true(fake_irq_masked(11));
	assert_int_equal(fake_lapic.delivered, 3);
	assert_true(fake_log_has("INTx on irq 11 taken"));
	assert_true(fake_get(edu.fn, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE); /* MSI does not come with INTx */
}

static void a_byte_that_differs_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	edu.corrupt = true;
	assert_int_equal(bench_work(false), ERR_IO);
	assert_true(fake_log_has("edu: DMA returned"));
}

static void without_bus_master_nothing_comes(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	pci_clear_master(bench.dev);
	fake_log_start();
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_true(fake_log_has("0000:00:04.0 edu: no MSI within 1000 ms, 0 of 1"));
	assert_int_equal(fake_lapic.delivered, 0);
}

static void an_interrupt_that_never_comes_times_out_with_a_line(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	edu.no_irq = true;
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_true(fake_log_has("0000:00:04.0 edu: no MSI within 1000 ms, 0 of 1"));
}

static void an_armed_transfer_is_in_flight_until_it_completes(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	edu.runs = 1;
	assert_int_equal(bench_arm(), OK);
	assert_int_equal(bench_in_flight(), 1);
	assert_int_equal(edu.command, 7);				   /* in flight, to RAM, with an interrupt at its end */
	assert_int_not_equal(*(u8 *)(uintptr_t)edu.target, edu.buffer[0]); /* data that arrives differs from what is there */
	edu_read(NULL, 0x98, 4);
	edu_read(NULL, 0x98, 4);
	assert_int_equal(bench_in_flight(), 0);
	assert_memory_equal((void *)(uintptr_t)edu.target, edu.buffer, edu.count);
}

/* The line is shared: an interrupt without a cause in this device is another device's. */
static void an_interrupt_without_a_cause_is_not_handled(void **state)
{
	(void)state;
	fake_set(edu.fn, PCI_INTERRUPT_LINE, 1, 5);
	assert_int_equal(bench_bring_up(), OK);
	fake_i8259.limit = 10;
	fake_irq_line(5, true); /* no handler clears it */
	assert_int_equal(fake_i8259.delivered, 10);
	assert_int_equal(edu.irq_status, 0);
	fake_irq_line(5, false);
	fake_i8259.limit = 1000;
	assert_int_equal(bench_work(false), OK); /* and releases the line */
	assert_int_equal(fake_i8259.taken[5], 11);
}

static void a_removed_device_claims_no_interrupt(void **state)
{
	(void)state;
	fake_set(edu.fn, PCI_INTERRUPT_LINE, 1, 10);
	assert_int_equal(bench_bring_up(), OK);
	edu.fn->answers = 0;
	fake_x86.pm_step = 0;
	fake_irq_line(10, true);
	assert_true(i8259_line_disabled(10));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
	const struct CMUnitTest tests[] = {
		T(only_edu_matches),
		T(reset_waits_for_the_engine_and_acknowledges_what_is_left),
		T(reset_switches_memory_on_and_starts_nothing),
		T(an_engine_that_never_stops_times_out_with_a_line),
		T(an_interrupt_that_cannot_be_acknowledged_is_an_error_with_a_line),
		T(a_device_that_is_removed_during_reset_is_an_error_with_a_line),
		T(what_is_no_edu_is_refused_with_a_line),
		T(without_its_bar_it_is_refused_with_a_line),
		T(memory_beyond_its_reach_is_refused_with_a_line),
		T(msi_and_both_directions_of_dma_work),
		T(intx_is_taken_before_msi_and_its_line_is_released),
		T(a_byte_that_differs_is_an_error),
		T(without_bus_master_nothing_comes),
		T(an_interrupt_that_never_comes_times_out_with_a_line),
		T(an_armed_transfer_is_in_flight_until_it_completes),
		T(an_interrupt_without_a_cause_is_not_handled),
		T(a_removed_device_claims_no_interrupt),
	};

	return cmocka_run_group_tests(tests, once, NULL);
}
