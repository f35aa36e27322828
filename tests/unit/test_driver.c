/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a driver's wait ends when its count is reached or its register has the awaited value, or after its bound with a line that
 * has both; a device's interrupts, of the best kind that it has, reach their handler from the first one on; every driver in the
 * list has its name and callbacks, and comes before those that need what it does. Could be false: a count that grows while the time
 * is read; a bound that does not count from the wait's begin; a removed device, whose bits are all set; one that reports failure
 * and success at once; one that has a message pending, and sends it as soon as it may; a line that firmware has not routed.
 * Provoked: a clock that counts up at each read, and a count that grows by the same reads; registers with values of the test's; a
 * device that interrupts at once. Failure: the wrong status or line, a read too many, a wait for what will not come, or an
 * interrupt that the handler does not take.
 */
#include "drivers/driver.h"
#include "drivers/pirq/pirq.h"
#include "drivers/port/port.h"
#include "drivers/serial/serial.h"
#include "drivers/virtio/blk.h"
#include "lib/time.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define MSI   0x40
#define MSIX  0x60
#define TABLE 0xfe000000

static struct fake_fn *fn;
static struct fake_mem *table;

/* A device that has every kind of interrupt, and a clock that is about to wrap. */
static int begin(void **state)
{
	static const struct driver driver = { .pci = { .name = "some" } };

	(void)state;
	bench_begin();
	fake_x86.pm_timer = 0xfff000;
	time_init(FAKE_PM_TIMER);
	fn = fake_add(bench.fake, BENCH_BDF, 0x1111, 0x0001);
	fake_set(fn, PCI_INTERRUPT_PIN, 1, 1);
	fake_cap_msi(fn, MSI, PCI_MSI_FLAGS_64BIT);
	fake_cap_msix(fn, MSIX, 2, 0, 0);
	table = fake_bar(bench.fake, fn, 0, TABLE, 4096, false);
	bench_attach(&driver);
	return 0;
}

static void what_is_there_already_is_not_awaited(void **state)
{
	u32 count = 3, looks = fake_x86.pm_timer;

	(void)state;
	assert_int_equal(driver_await(bench.dev, "thing", &count, 3, 1000000), OK);
	assert_int_equal(driver_await(bench.dev, "thing", &count, 2, 0), OK);
	assert_uint_in_range(fake_x86.pm_timer - looks, 0, 2 * fake_x86.pm_step); /* each wait has read the clock once at most */
	assert_int_equal(fake_log_lines(), 0);
}

static void what_never_comes_ends_with_a_line(void **state)
{
	u32 count = 1, begun = fake_x86.pm_timer;

	(void)state;
	assert_int_equal(driver_await(bench.dev, "completed thing", &count, 4, 250000), ERR_TIMEOUT);
	assert_one_line("0000:00:05.0 some: no completed thing within 250 ms, 1 of 4");
	/* 250 ms of the PM timer's 3.579545 MHz, and no more reads than the clock itself takes. */
	assert_uint_in_range(fake_x86.pm_timer - begun, 894886, 894886 + 3 * fake_x86.pm_step);
}

static void what_comes_in_time_is_no_timeout(void **state)
{
	volatile u32 growing = 0;

	(void)state;
	fake_x86.pm_reads = &growing;
	assert_int_equal(driver_await(bench.dev, "thing", &growing, 10, 1000000), OK);
	assert_int_equal(fake_log_lines(), 0);
	/* The twin: the same with one read too few. */
	growing = 0;
	fake_x86.pm_step = 3579545 / 10;
	assert_int_equal(driver_await(bench.dev, "thing", &growing, 13, 1000000), ERR_TIMEOUT);
}

/* --- a register --- */

static const u32 *values; /* that it reads as, one after the other; the last one stays */
static unsigned int reads;

static u32 read_values(const struct pci_dev *of, u64 address)
{
	assert_ptr_equal(of, bench.dev);
	assert_int_equal(address, 0x1c);
	reads++;
	return values[1] ? *values++ : *values;
}

/* Ready is 1, busy is 2, fatal is 4. */
static enum status poll_values(const u32 *list, u32 want, u32 failed)
{
	values = list;
	reads = 0;
	return driver_poll(bench.dev, "not so within %lu ms, 0x%x",
			   &(struct driver_poll){ read_values, 0x1c, 3, want, failed, 250000 });
}

static void a_register_is_read_until_its_bits_are_as_wanted_and_no_longer(void **state)
{
	static const u32 comes[] = { 0xf2, 0x03, 0x02, 0xf1, 0 }, stays[] = { 0xf2, 0 };
	u32 begun;

	(void)state;
	assert_int_equal(poll_values(comes, 1, 4), OK);
	assert_int_equal(reads, 4);
	assert_int_equal(fake_log_lines(), 0);
	/* The twin: they never are. */
	begun = fake_x86.pm_timer;
	assert_int_equal(poll_values(stays, 1, 4), ERR_TIMEOUT);
	assert_uint_in_range(fake_x86.pm_timer - begun, 894886, 894886 + 3 * fake_x86.pm_step);
	assert_one_line("0000:00:05.0 some: not so within 250 ms, 0xf2");
}

/* Nor does it count as done that it is ready as well; and a removed device has every bit set. */
static void one_that_failed_or_was_removed_is_not_waited_for(void **state)
{
	static const u32 fails[] = { 0x02, 0x05, 0 }, gone[] = { 0x02, 0xffffffff, 0 }, harmless[] = { 0x02, 0xfffffff9, 0 };

	(void)state;
	assert_int_equal(poll_values(fails, 1, 4), ERR_TIMEOUT);
	assert_int_equal(reads, 2);
	assert_one_line("0000:00:05.0 some: not so within 250 ms, 0x5");
	fake_log_start();
	assert_int_equal(poll_values(gone, 3, 0), ERR_TIMEOUT);
	assert_int_equal(reads, 2);
	assert_one_line("0000:00:05.0 some: not so within 250 ms, 0xffffffff");
	assert_int_equal(poll_values(harmless, 1, 4), OK); /* the twin: bits outside the mask do not count */
}

/* --- interrupts --- */

static struct driver_irq irq;
static unsigned int taken, shared;

static bool take(void *context)
{
	assert_ptr_equal(context, &bench);
	taken++;
	shared += !irq.message;
	fake_irq_line(fn->cfg[PCI_INTERRUPT_LINE], false);
	return true;
}

/* Whichever it can: INTx where no message is enabled. */
static void interrupt(void)
{
	u16 command = (u16)fake_get(fn, PCI_COMMAND, 2);

	if (fake_get(fn, MSIX + 2, 2) & PCI_MSIX_FLAGS_ENABLE) {
		if (!(fake_get(fn, MSIX + 2, 2) & PCI_MSIX_FLAGS_MASKALL) && !(fake_mem_get(table, 12, 4) & 1))
			fake_lapic_message(fake_mem_get(table, 0, 4), fake_mem_get(table, 8, 4));
	} else if (fake_get(fn, MSI + 2, 2) & PCI_MSI_FLAGS_ENABLE) {
		fake_lapic_message(fake_get(fn, MSI + 4, 4), fake_get(fn, MSI + 12, 2));
	} else if (!(command & PCI_COMMAND_INTX_DISABLE) && !fake_irq_masked(fn->cfg[PCI_INTERRUPT_LINE])) {
		fake_irq_line(fn->cfg[PCI_INTERRUPT_LINE], true);
	}
}

/* One that was pending comes as soon as it may, which is while its interrupts are being set up. */
static void interrupt_at_once(struct fake_pci *fake, const struct fake_access *access)
{
	(void)access;
	if (!taken)
		interrupt();
	if (taken)
		fake->watch = NULL;
}

static void the_best_kind_of_interrupt_is_taken_from_the_first_on(void **state)
{
	static const struct {
		u8 msix, msi;
		const char *kind;
	} rows[] = { { MSIX, MSI, "MSI-X vector 0x" }, { 0, MSI, "MSI vector 0x" }, { 0, 0, "INTx irq 0x" } };
	char expected[32];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool message = rows[i].msix || rows[i].msi;
		u8 line = bench_line();

		bench.dev->msix = rows[i].msix;
		bench.dev->msi = rows[i].msi;
		fake_set(fn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
		taken = shared = 0;
		bench.fake->watch = interrupt_at_once;
		assert_int_equal(driver_connect(bench.dev, take, &bench, &irq), OK);
		interrupt();
		assert_int_equal(taken, message ? 2 : 1); /* a line is unmasked only when it has a handler */
		assert_int_equal(shared, !message);
		assert_int_equal(!(fake_get(fn, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE), !message);
		assert_int_equal(irq.message, message);
		assert_true(message || irq.number == line);
		assert_int_equal(vector_unexpected_count(), 0);
		snprintf(expected, sizeof(expected), DRIVER_IRQ_FMT, DRIVER_IRQ_ARGS(&irq));
		assert_memory_equal(expected, rows[i].kind, strlen(rows[i].kind));
		bench_end(state);
		begin(state);
	}
}

static void a_line_that_firmware_has_not_routed_is_none(void **state)
{
	static const u8 lines[] = { 0, 0xff };

	(void)state;
	bench.dev->msix = bench.dev->msi = 0;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		char expected[64];

		fake_set(fn, PCI_INTERRUPT_LINE, 1, lines[i]);
		fake_log_start();
		assert_int_equal(driver_connect(bench.dev, take, &bench, &irq), ERR_ABSENT);
		snprintf(expected, sizeof(expected), "0000:00:05.0 some: INTx unavailable, Interrupt Line 0x%02x", lines[i]);
		assert_one_line(expected);
	}
}

static void every_driver_names_itself_and_its_devices(void **state)
{
	static const struct pci_dev unmatched = { .vendor = 0x8086, .device = 0x29c0 };
	unsigned int n = 0;

	(void)state;
	for (const struct driver *const *d = drivers; *d; d++, n++) {
		assert_non_null((*d)->pci.name);
		assert_non_null((*d)->pci.reset);
		assert_false((*d)->pci.match(&unmatched));
		/* What can be left in flight must be countable, and what is probed must be able to work. */
		assert_int_equal(!(*d)->arm, !(*d)->in_flight);
		assert_int_equal(!(*d)->pci.probe, !(*d)->work);
	}
	assert_true(n >= 3);
}

static size_t place(const struct driver *driver)
{
	size_t n = 0;

	while (drivers[n] != driver)
		assert_non_null(drivers[n++]);
	return n;
}

/*
 * A port's BAR is sized while no memory below it is in use, and drivers that need INTx find it routed, and a console on its line.
 */
static void what_others_need_comes_before_them_and_disks_before_the_rest(void **state)
{
	(void)state;
	assert_int_equal(place(&pirq_driver), 0);
	assert_int_equal(place(&serial_driver), 1);
	assert_int_equal(place(&pcie_port_driver), 2);
	assert_int_equal(place(&virtio_blk_driver), 3);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
	const struct CMUnitTest tests[] = {
		T(what_is_there_already_is_not_awaited),
		T(what_never_comes_ends_with_a_line),
		T(what_comes_in_time_is_no_timeout),
		T(a_register_is_read_until_its_bits_are_as_wanted_and_no_longer),
		T(one_that_failed_or_was_removed_is_not_waited_for),
		T(the_best_kind_of_interrupt_is_taken_from_the_first_on),
		T(a_line_that_firmware_has_not_routed_is_none),
		T(every_driver_names_itself_and_its_devices),
		T(what_others_need_comes_before_them_and_disks_before_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
