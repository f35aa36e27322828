/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the virtio-blk driver reads and writes with completion by interrupt, MSI-X and INTx; writes no disk that is not free; and
 * leaves requests in flight when armed. Could be false: a disk with other data may look free in its first sectors; an interrupt may
 * never come; a device may complete what was never submitted, or deliver other bytes. Provoked: the device of fake_virtio.c with a
 * disk in memory and one fault at a time. Failure: a changed disk, a wrong status, or a line that does not say what happened. What
 * virtio drivers have in common is in test_virtio_drivers.c.
 */
#include "drivers/virtio/blk.h"
#include "drivers/virtio/pattern.h"
#include "irq/i8259.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_virtio.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

static struct fake_virtio *device;

static int begin(void **state)
{
	(void)state;
	bench_begin();
	device = fake_virtio_new(bench.fake, BENCH_BDF, FAKE_BLK);
	bench_attach(&virtio_blk_driver);
	return 0;
}

static void a_free_disk_is_written_read_back_and_left_with_the_pattern(void **state)
{
	u64 seed = 0;
	u8 sector[512];

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
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
	/* The next kernel finds it, and writes nothing. */
	bench_renew();
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has("pattern read, every byte matches"));
	assert_int_equal(device->writes, 1);
}

static void every_request_completed_by_an_interrupt_of_its_own(void **state)
{
	char requests[64];

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	snprintf(requests, sizeof(requests), "%u requests, %u interrupts", device->reads + device->writes + device->flushes,
		 fake_lapic.delivered);
	assert_true(fake_log_has(requests));
	assert_int_equal(fake_lapic.delivered, device->reads + device->writes + device->flushes);
	assert_int_equal(fake_lapic.eois, fake_lapic.delivered);
}

/* One byte of other data, anywhere in the first MiB. */
static void a_disk_with_other_data_is_not_written(void **state)
{
	static const size_t places[] = { 0, 511, 65535, 65536, 500000, FAKE_DISK_SECTORS * 512 - 1 };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		device->disk[places[i]] = 1;
		assert_int_equal(bench_bring_up(), OK);
		assert_int_equal(bench_work(true), OK);
		assert_int_equal(device->writes, 0);
		assert_true(fake_log_has("read, no test pattern"));
		bench_end(state);
		begin(state);
	}
}

static void a_disk_that_is_too_small_or_read_only_is_not_written(void **state)
{
	(void)state;
	device->sectors = FAKE_DISK_SECTORS - 1;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	assert_int_equal(device->writes, 0);
	bench_end(state);
	begin(state);
	device->features |= 1ULL << 5; /* VIRTIO_BLK_F_RO */
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	assert_int_equal(device->writes, 0);
	bench_end(state);
	begin(state);
	device->sectors = PATTERN_SECTORS - 1;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	assert_int_equal(device->reads, 0);
	assert_true(fake_log_has("not used"));
	bench_end(state);
	begin(state);
	device->sectors = PATTERN_SECTORS; /* enough to look at */
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	assert_int_equal(device->writes, 0);
	assert_true(device->reads > 0);
}

/* 5.2.6: a flush is a request only where the feature was negotiated. */
static void a_disk_without_flush_is_not_flushed(void **state)
{
	(void)state;
	device->features &= ~(1ULL << 9);
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	assert_int_equal(device->writes, 1);
	assert_int_equal(device->flushes, 0);
}

static void a_disk_is_not_written_without_write(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(device->writes, 0);
}

static void a_pattern_with_a_changed_byte_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	device->disk[5 * 512 + 300] ^= 1;
	fake_log_start();
	assert_int_equal(bench_work(false), ERR_IO);
	assert_one_line("virtio-blk: sector 5 differs from the pattern");
}

static void other_bytes_on_the_way_are_an_error(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	device->corrupt = true;
	assert_int_equal(bench_work(false), ERR_IO);
	assert_true(fake_log_has("differs from the pattern"));
}

/* What was written is still in the buffer, and does not pass for what was read. */
static void a_read_that_brings_nothing_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	device->empty = true;
	assert_int_equal(bench_work(true), ERR_IO);
	assert_int_equal(device->writes, 1);
	assert_true(fake_log_has("differs from the pattern"));
}

static void a_request_that_fails_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	device->request_status = 1;
	assert_int_equal(bench_work(true), ERR_IO);
	assert_one_line("virtio-blk: request type 0 sector 0: status 1");
}

/* Within a chain, of a slot that waits, of none, and the one that is awaited in the lower half of a number that is none. */
static void ghosts(unsigned int looks)
{
	if (looks == 2)
		fake_virtio_ghosts(device, 0, 0);
}

static void ghosts_and_then_the_requests(unsigned int looks)
{
	ghosts(looks);
	if (looks < 4)
		return;
	device->hold = false;
	fake_virtio_run(device);
}

/* A chain that was never made available is no completion: it would end the wait for another. */
static void an_unexpected_completion_is_not_counted(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	device->hold = true;
	fake_x86_tick(ghosts);
	assert_int_equal(bench_work(true), ERR_TIMEOUT);
	assert_one_line("no completed request within 5000 ms, 0 of 1");
	/* The twin: with the real ones after them the driver continues. */
	bench_end(state);
	begin(state);
	assert_int_equal(bench_bring_up(), OK);
	device->hold = true;
	fake_x86_tick(ghosts_and_then_the_requests);
	assert_int_equal(bench_work(true), OK);
}

static void without_msix_intx_does_it(void **state)
{
	u8 line = bench_intx();
	char expected[32];

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	snprintf(expected, sizeof(expected), "INTx irq 0x%02x", line);
	assert_true(fake_log_has(expected));
	assert_int_equal(fake_i8259.delivered, device->reads + device->writes + device->flushes);
	assert_int_equal(fake_i8259.taken[line], fake_i8259.delivered);
	assert_int_equal(fake_lapic.delivered, 0);
}

/* A shared line: another device's interrupt is counted by the line, and not by this driver. */
static void another_devices_interrupt_on_the_line_is_not_counted(void **state)
{
	u8 line = bench_intx();
	char expected[64];

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	for (unsigned int i = 0; i < 5; i++)
		fake_irq_line(line, true); /* the driver's read of ISR deasserts it here */
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(fake_i8259.taken[line], 5 + device->reads);
	snprintf(expected, sizeof(expected), "%u requests, %u interrupts", device->reads, device->reads);
	assert_true(fake_log_has(expected));
}

static void armed_requests_are_in_flight_until_they_complete(void **state)
{
	unsigned int armed;

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	assert_int_equal(bench_arm(), OK);
	device->hold = true;
	device->queue[0].notified = 0;
	assert_int_equal(bench_in_flight(), 0);
	assert_int_equal(bench_arm(), OK);
	assert_int_equal(device->queue[0].notified, 1);
	armed = fake_virtio_available(device, 0);
	assert_true(armed > 1);
	assert_int_equal(bench_in_flight(), armed);
	for (unsigned int i = 0; i < armed; i++) { /* differs from the buffer, though the same data arrived before */
		u64 data = fake_virtio_buffer(device, 0, fake_virtio_head(device, 0, i) + 1U);

		assert_memory_not_equal((const void *)(uintptr_t)data, device->disk + i * PATTERN_SIZE, PATTERN_SIZE);
	}
	device->reads = 0;
	fake_virtio_run(device);
	assert_int_equal(device->reads, armed);
	assert_int_equal(bench_in_flight(), 0);
	assert_int_equal(device->writes, 1); /* armed requests are reads: data that arrives differs from what was there */
}

static void a_small_queue_takes_as_many_requests_as_it_has_room_for(void **state)
{
	(void)state;
	device->queue_max = 8;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(true), OK);
	device->hold = true;
	assert_int_equal(bench_arm(), OK);
	assert_int_equal(bench_in_flight(), 8 / 3); /* 5.2.6: header, data and status */
	assert_int_equal(fake_virtio_available(device, 0), 8 / 3);
	fake_virtio_run(device);
	assert_int_equal(bench_in_flight(), 0);
}

/* With fewer than three descriptors no request can ever be made. */
static void a_queue_with_no_room_for_a_request_is_refused(void **state)
{
	(void)state;
	device->queue_max = 2;
	assert_int_not_equal(bench_bring_up(), OK);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
	const struct CMUnitTest tests[] = {
		T(a_free_disk_is_written_read_back_and_left_with_the_pattern),
		T(every_request_completed_by_an_interrupt_of_its_own),
		T(a_disk_with_other_data_is_not_written),
		T(a_disk_that_is_too_small_or_read_only_is_not_written),
		T(a_disk_without_flush_is_not_flushed),
		T(a_disk_is_not_written_without_write),
		T(a_pattern_with_a_changed_byte_is_an_error),
		T(other_bytes_on_the_way_are_an_error),
		T(a_read_that_brings_nothing_is_an_error),
		T(a_request_that_fails_is_an_error),
		T(an_unexpected_completion_is_not_counted),
		T(without_msix_intx_does_it),
		T(another_devices_interrupt_on_the_line_is_not_counted),
		T(armed_requests_are_in_flight_until_they_complete),
		T(a_small_queue_takes_as_many_requests_as_it_has_room_for),
		T(a_queue_with_no_room_for_a_request_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
