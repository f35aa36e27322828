/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the virtio-blk driver resets, probes, reads and writes with completion by interrupt, by MSI-X and by INTx; writes no disk that
 * is not free; and leaves requests in flight when it is told to.
 * Could be false: a disk of somebody's may look free in its first sectors; an interrupt may never come; a device may complete what was
 * never asked, or deliver other bytes.
 * Provoked: the device of fake_virtio.c with a disk in memory and one fault at a time. Failure: a changed disk, a wrong status, or a line
 * that does not say what happened.
 */
#include "drivers/virtio/blk.h"
#include "drivers/virtio/pattern.h"
#include "irq/i8259.h"
#include "irq/lapic.h"
#include "lib/time.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_virtio.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define BDF PCI_BDF(0, 5, 0)

static struct fake_pci *fake;
static struct fake_virtio *device;
static struct fake_devs devs;
static struct pci_dev *dev;
static struct arena heap, dma;
static struct driver_env env = { &heap, &dma };

static enum status no_map(u64 address, u64 size)
{
	(void)address;
	(void)size;
	return OK;
}

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	fake_x86_reset();
	fake_lapic_start();
	fake_i8259_start();
	assert_int_equal(lapic_init(no_map), OK);
	i8259_init();
	time_init(FAKE_PM_TIMER);
	fake = fake_pci_new();
	device = fake_virtio_new(fake, BDF, FAKE_BLK);
	fake_enumerate(fake, &devs);
	dev = devs.dev;
	fake_sized(fake, dev);
	dev->driver = &virtio_blk_driver.pci;
	heap = (struct arena){ (u64)(uintptr_t)malloc(8192), 8192, 0 };
	dma = (struct arena){ (u64)(uintptr_t)malloc(2 * MIB), 2 * MIB, 0 }; /* two probes */
	fake_x86.irq_on = true;
	return 0;
}

static int end(void **state)
{
	(void)state;
	free((void *)(uintptr_t)heap.base);
	free((void *)(uintptr_t)dma.base);
	fake_virtio_free(device);
	fake_pci_free(fake);
	return 0;
}

static enum status bring_up(void)
{
	enum status s = dev->driver->reset(dev);

	if (s == OK)
		s = dev->driver->probe(dev, &env);
	if (s == OK)
		fake_log_start();
	return s;
}

static enum status work(bool write)
{
	return driver_of(dev)->work(dev, write);
}

static void modern_and_transitional_disks_are_ours(void **state)
{
	static const struct {
		u16 vendor, device;
		bool ours;
	} rows[] = { { 0x1af4, 0x1042, true },
		     { 0x1af4, 0x1001, true },
		     { 0x1af4, 0x1041, false },
		     { 0x1af4, 0x1000, false },
		     { 0x1af5, 0x1042, false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct pci_dev some = { .vendor = rows[i].vendor, .device = rows[i].device };

		assert_int_equal(virtio_blk_driver.pci.match(&some), rows[i].ours);
	}
}

static void reset_writes_status_0_and_touches_no_bus_master(void **state)
{
	(void)state;
	device->status = 0x0f;
	fake_set(device->fn, PCI_COMMAND, 2, 0x0003);
	assert_int_equal(dev->driver->reset(dev), OK);
	assert_int_equal(device->status, 0);
	assert_int_equal(fake_get(device->fn, PCI_COMMAND, 2), 0x0003);
	assert_int_equal(fake_writes(fake), 1);
}

static void a_free_disk_is_written_read_back_and_left_with_the_pattern(void **state)
{
	u64 seed = 0;
	u8 sector[512];

	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	assert_int_equal(device->writes, 1);
	assert_int_equal(device->flushes, 1);
	assert_true(fake_log_has("MSI-X vector"));
	assert_true(fake_log_has("pattern written and read back"));
	/* Every sector, as pattern.h says: signature, number, seed. */
	for (u64 n = 0; n < PATTERN_SECTORS; n++) {
		const u8 *on_disk = device->disk + n * 512;

		assert_memory_equal(on_disk, "PCI-HANDOFF DISK", 16);
		assert_memory_equal(on_disk + 16, &n, 8);
		if (!n)
			memcpy(&seed, on_disk + 24, 8);
		assert_memory_equal(on_disk + 24, &seed, 8);
		pattern_fill(sector, n, seed);
		assert_memory_equal(on_disk, sector, 512);
	}
	for (size_t i = PATTERN_SECTORS * 512; i < FAKE_DISK_SECTORS * 512; i++)
		assert_int_equal(device->disk[i], 0);
	/* Whoever comes next finds it, and writes nothing. */
	fake_log_start();
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(false), OK);
	assert_true(fake_log_has("pattern read, every byte matches"));
	assert_int_equal(device->writes, 1);
}

static void every_request_completed_by_an_interrupt_of_its_own(void **state)
{
	char requests[64];

	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	snprintf(requests, sizeof(requests), "%u requests, %u interrupts", device->reads + device->writes + device->flushes,
		 fake_lapic.delivered);
	assert_true(fake_log_has(requests));
	assert_int_equal(fake_lapic.delivered, device->reads + device->writes + device->flushes);
	assert_int_equal(fake_lapic.eois, fake_lapic.delivered);
}

/* The byte that is somebody's, anywhere in the first MiB. */
static void a_disk_with_somebodys_bytes_is_not_written(void **state)
{
	static const size_t places[] = { 0, 511, 65535, 65536, 500000, FAKE_DISK_SECTORS * 512 - 1 };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		device->disk[places[i]] = 1;
		assert_int_equal(bring_up(), OK);
		assert_int_equal(work(true), OK);
		assert_int_equal(device->writes, 0);
		assert_true(fake_log_has("nothing of ours on it"));
		end(state);
		begin(state);
	}
}

static void a_disk_that_is_too_small_or_read_only_is_not_written(void **state)
{
	(void)state;
	device->sectors = FAKE_DISK_SECTORS - 1;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	assert_int_equal(device->writes, 0);
	end(state);
	begin(state);
	device->features |= 1ULL << 5; /* VIRTIO_BLK_F_RO */
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	assert_int_equal(device->writes, 0);
	end(state);
	begin(state);
	device->sectors = PATTERN_SECTORS - 1;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	assert_int_equal(device->reads, 0);
	assert_true(fake_log_has("left alone"));
	end(state);
	begin(state);
	device->sectors = PATTERN_SECTORS; /* enough to look at */
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	assert_int_equal(device->writes, 0);
	assert_true(device->reads > 0);
}

/* 5.2.6: a flush is a request only where the feature was negotiated. */
static void a_disk_without_flush_is_not_flushed(void **state)
{
	(void)state;
	device->features &= ~(1ULL << 9);
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	assert_int_equal(device->writes, 1);
	assert_int_equal(device->flushes, 0);
}

/* As a kernel that used MSI-X leaves it: INTx would not come. */
static void intx_is_enabled_where_it_is_used(void **state)
{
	(void)state;
	fake_set(device->fn, PCI_INTERRUPT_LINE, 1, 5);
	fake_set(device->fn, PCI_COMMAND, 2, 0x0407);
	dev->msix = 0;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	assert_int_equal(fake_get(device->fn, PCI_COMMAND, 2), 0x0007);
}

/* It reads all ones, ISR as well; the interrupt is not its own, and its queue is not looked at. */
static void a_disk_that_has_gone_claims_no_interrupt(void **state)
{
	(void)state;
	fake_set(device->fn, PCI_INTERRUPT_LINE, 1, 9);
	dev->msix = 0;
	assert_int_equal(bring_up(), OK);
	device->fn->answers = 0;
	fake_x86.pm_step = 0;
	fake_irq_line(9, true);
	assert_true(i8259_given_up(9));
}

static void a_disk_is_not_written_where_that_was_not_asked(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(false), OK);
	assert_int_equal(device->writes, 0);
}

static void a_pattern_with_a_changed_byte_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	device->disk[5 * 512 + 300] ^= 1;
	fake_log_start();
	assert_int_equal(work(false), ERR_IO);
	assert_one_line("virtio-blk: sector 5 differs from the pattern");
}

static void other_bytes_on_the_way_are_an_error(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	device->corrupt = true;
	assert_int_equal(work(false), ERR_IO);
	assert_true(fake_log_has("differs from the pattern"));
}

static void a_request_that_fails_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	device->request_status = 1;
	assert_int_equal(work(true), ERR_IO);
	assert_one_line("virtio-blk: request type 0 sector 0: status 1");
}

static void an_interrupt_that_never_comes_is_given_up_with_a_line(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	device->silent = true;
	assert_int_equal(work(true), ERR_TIMEOUT);
	assert_one_line("0000:00:05.0 virtio-blk: no completed request within 10000 ms, 0 of 1");
}

static void without_bus_master_nothing_completes(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	pci_clear_master(dev);
	assert_int_equal(work(true), ERR_TIMEOUT);
	assert_int_equal(device->reads, 0);
}

/* Within a chain, the last slot's, none; while the driver waits. */
static void ghosts(struct fake_virtio *v, unsigned int looks)
{
	static const u32 heads[] = { 1, 7 * 3, 0xffff };

	for (size_t i = 0; looks == 2 && i < ARRAY_SIZE(heads); i++)
		fake_virtio_used(v, 0, heads[i], 0);
}

static void ghosts_and_then_the_requests(struct fake_virtio *v, unsigned int looks)
{
	ghosts(v, looks);
	if (looks < 4)
		return;
	v->hold = false;
	fake_virtio_run(v);
}

/* A chain that was never made available is no completion: it would end the wait for another. */
static void a_completion_that_nobody_asked_for_is_not_counted(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	device->hold = true;
	fake_virtio_clock(device, ghosts);
	assert_int_equal(work(true), ERR_TIMEOUT);
	assert_one_line("no completed request within 10000 ms, 0 of 1");
	/* The twin: with the real ones behind them everything goes on. */
	end(state);
	begin(state);
	assert_int_equal(bring_up(), OK);
	device->hold = true;
	fake_virtio_clock(device, ghosts_and_then_the_requests);
	assert_int_equal(work(true), OK);
}

static void a_device_that_will_not_is_reported(void **state)
{
	static const char *const lines[] = { "reset not done", "refused", "got 0xffff", "no modern transport" };

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		device->status = 0x0f;
		device->reset_reads = i == 0 ? 0xff : 0;
		device->refuse_features = i == 1;
		device->refuse_vector = i == 2;
		if (i == 3)
			fake_set(device->fn, 0x43, 1, 9);
		assert_int_not_equal(bring_up(), OK);
		assert_true(fake_log_has(lines[i]));
		if (i == 1 || i == 2)
			assert_false(device->status & 0x04); /* DRIVER_OK is not given to what was refused */
		end(state);
		begin(state);
	}
}

/* A transport may live without the device's own structure; a disk cannot tell its size then, and address 0 is no structure. */
static void a_disk_without_its_own_configuration_is_refused(void **state)
{
	(void)state;
	fake_set(device->fn, 0x63, 1, 9);
	assert_int_not_equal(bring_up(), OK);
	for (unsigned int i = 0; i < fake->logged; i++)
		if (fake->log[i].kind == FAKE_MEM_READ)
			assert_true(fake->log[i].where >= FAKE_BLK_MSIX_BAR);
}

static void without_msix_intx_does_it(void **state)
{
	(void)state;
	fake_set(device->fn, PCI_INTERRUPT_LINE, 1, 11);
	dev->msix = 0;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(device->queue[0].vector, 0xffff);
	assert_int_equal(work(true), OK);
	assert_true(fake_log_has("INTx irq 0x0b"));
	assert_int_equal(fake_i8259.delivered, device->reads + device->writes + device->flushes);
	assert_int_equal(i8259_count(11), fake_i8259.delivered);
	assert_int_equal(fake_lapic.delivered, 0);
}

/* A shared line: another device's interrupt is counted by the line, and not by this driver. */
static void anothers_interrupt_on_the_line_is_not_ours(void **state)
{
	char said[64];

	(void)state;
	fake_set(device->fn, PCI_INTERRUPT_LINE, 1, 10);
	dev->msix = 0;
	assert_int_equal(bring_up(), OK);
	for (unsigned int i = 0; i < 5; i++)
		fake_irq_line(10, true); /* the driver's look at its ISR is what lowers it here */
	assert_int_equal(work(false), OK);
	assert_int_equal(i8259_count(10), 5 + device->reads);
	snprintf(said, sizeof(said), "%u requests, %u interrupts", device->reads, device->reads);
	assert_true(fake_log_has(said));
}

static void without_msix_and_without_a_line_there_is_no_driving(void **state)
{
	static const u8 lines[] = { 0, 0xff };

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		fake_set(device->fn, PCI_INTERRUPT_LINE, 1, lines[i]);
		dev->msix = 0;
		assert_int_equal(bring_up(), ERR_ABSENT);
		assert_one_line("INTx unavailable, Interrupt Line");
		end(state);
		begin(state);
	}
}

static void armed_requests_are_in_flight_until_they_land(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	device->hold = true;
	device->queue[0].notified = 0;
	assert_int_equal(driver_of(dev)->in_flight(dev), 0);
	assert_int_equal(driver_of(dev)->arm(dev), OK);
	assert_int_equal(device->queue[0].notified, 1);
	assert_int_equal(driver_of(dev)->in_flight(dev), 8);
	device->reads = 0;
	fake_virtio_run(device);
	assert_int_equal(device->reads, 8);
	assert_int_equal(driver_of(dev)->in_flight(dev), 0);
	assert_int_equal(device->writes, 1); /* armed requests are reads: what lands is told from what was there */
}

static void a_small_queue_takes_as_many_requests_as_it_has_room_for(void **state)
{
	(void)state;
	device->queue_max = 8;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(true), OK);
	device->hold = true;
	assert_int_equal(driver_of(dev)->arm(dev), OK);
	assert_int_equal(driver_of(dev)->in_flight(dev), 2); /* three descriptors each */
	fake_virtio_run(device);
	assert_int_equal(driver_of(dev)->in_flight(dev), 0);
}

/* With fewer than three descriptors no request can ever be made. */
static void a_queue_with_no_room_for_a_request_is_refused(void **state)
{
	(void)state;
	device->queue_max = 2;
	assert_int_not_equal(bring_up(), OK);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(modern_and_transitional_disks_are_ours),
		T(reset_writes_status_0_and_touches_no_bus_master),
		T(a_free_disk_is_written_read_back_and_left_with_the_pattern),
		T(every_request_completed_by_an_interrupt_of_its_own),
		T(a_disk_with_somebodys_bytes_is_not_written),
		T(a_disk_that_is_too_small_or_read_only_is_not_written),
		T(a_disk_without_flush_is_not_flushed),
		T(intx_is_enabled_where_it_is_used),
		T(a_disk_that_has_gone_claims_no_interrupt),
		T(a_disk_is_not_written_where_that_was_not_asked),
		T(a_pattern_with_a_changed_byte_is_an_error),
		T(other_bytes_on_the_way_are_an_error),
		T(a_request_that_fails_is_an_error),
		T(an_interrupt_that_never_comes_is_given_up_with_a_line),
		T(without_bus_master_nothing_completes),
		T(a_completion_that_nobody_asked_for_is_not_counted),
		T(a_device_that_will_not_is_reported),
		T(a_disk_without_its_own_configuration_is_refused),
		T(without_msix_intx_does_it),
		T(anothers_interrupt_on_the_line_is_not_ours),
		T(without_msix_and_without_a_line_there_is_no_driving),
		T(armed_requests_are_in_flight_until_they_land),
		T(a_small_queue_takes_as_many_requests_as_it_has_room_for),
		T(a_queue_with_no_room_for_a_request_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
