/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the virtio-rng driver requests random bytes, logs how many came and by which interrupts, judges what came by the buffer
 * and not by the used ring, and leaves requests in flight when armed. Could be false: a device may write nothing, or report more
 * than the buffer holds; it may complete what was never submitted. Provoked: the device of fake_virtio.c with one fault at a time.
 * Failure: a wrong status, or a line that does not say what happened. What virtio drivers have in common is in
 * test_virtio_drivers.c.
 */
#include "drivers/virtio/rng.h"
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
	device = fake_virtio_new(bench.fake, BENCH_BDF, FAKE_RNG);
	bench_attach(&virtio_rng_driver);
	return 0;
}

static void random_bytes_come_by_an_interrupt(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_one_line("0000:00:05.0 virtio-rng: MSI-X vector 0x");
	assert_true(fake_log_has(": 1 requests, 1 interrupts, 64 random bytes"));
	assert_int_equal(device->reads, 1);
	assert_int_equal(fake_lapic.delivered, 1);
	assert_int_equal(fake_lapic.eois, 1);
	/* Again, and both are counted. */
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(": 2 requests, 2 interrupts, 64 random bytes"));
}

static void without_msix_intx_does_it(void **state)
{
	u8 line = bench_intx();
	char expected[64];

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	for (unsigned int i = 0; i < 5; i++)
		fake_irq_line(line, true); /* of others; the driver's read of ISR deasserts it here */
	assert_int_equal(bench_work(false), OK);
	snprintf(expected, sizeof(expected), "INTx irq 0x%02x: 1 requests, 1 interrupts", line);
	assert_one_line(expected);
	assert_int_equal(fake_i8259.taken[line], 6);
	assert_int_equal(fake_lapic.delivered, 0);
}

/* 5.4: there is no configuration of its own; a device may leave its structure out. */
static void a_source_without_its_own_configuration_will_do(void **state)
{
	(void)state;
	fake_set(device->fn, 0x63, 1, 9);
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
}

/* Bytes that are unchanged were not written, whatever the used ring says; up to 7 bytes may be unchanged by chance. */
static void bytes_that_are_not_new_are_an_error(void **state)
{
	static const struct {
		u32 skips, brings, reports;
		enum status want;
		const char *line;
	} rows[] = {
		{ 0, 0, 0, ERR_IO, "virtio-rng: 0 bytes received, none of them new" },
		{ 0, 64, 0, ERR_IO, "virtio-rng: 0 bytes received, none of them new" },
		{ 0, 0, 64, ERR_IO, "virtio-rng: 64 bytes received, none of them new" },
		{ 0, 0, 8, ERR_IO, "virtio-rng: 8 bytes received, none of them new" },
		{ 8, 64, 8, ERR_IO, "virtio-rng: 8 bytes received, none of them new" }, /* the count was of others */
		{ 0, 0, 7, OK, "7 random bytes" },
		{ 7, 64, 8, OK, "8 random bytes" }, /* the twins: a byte is new */
		{ 63, 64, 64, OK, "64 random bytes" },
		{ 0, 1, 1, OK, "1 random bytes" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(bench_bring_up(), OK);
		device->skips = rows[i].skips;
		device->brings = rows[i].brings;
		device->reports = rows[i].reports;
		assert_int_equal(bench_work(false), rows[i].want);
		assert_one_line(rows[i].line);
		bench_end(state);
		begin(state);
	}
}

/* Beyond the buffer lies the next one, which holds other bytes. */
static void bytes_beyond_the_buffer_do_not_count(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	device->brings = 0;
	device->reports = 0xffffffff - 1;
	assert_int_equal(bench_work(false), ERR_IO);
	assert_one_line("none of them new");
}

static unsigned int ghosts_seen;

static void ghosts(unsigned int looks)
{
	if (looks == 2)
		ghosts_seen = fake_virtio_ghosts(device, 0, 64);
}

static void ghosts_and_then_the_request(unsigned int looks)
{
	ghosts(looks);
	if (looks == 4)
		fake_virtio_run(device);
}

static void an_unexpected_completion_is_not_counted(void **state)
{
	char expected[64];

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	device->hold = true;
	fake_x86_tick(ghosts);
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_one_line("0000:00:05.0 virtio-rng: no completed request within 5000 ms, 0 of 1");
	assert_int_equal(bench_in_flight(), 1);
	bench_end(state);
	begin(state);
	assert_int_equal(bench_bring_up(), OK);
	device->hold = true;
	fake_x86_tick(ghosts_and_then_the_request);
	assert_int_equal(bench_work(false), OK);
	snprintf(expected, sizeof(expected), ": 1 requests, %u interrupts, 64 random bytes", ghosts_seen + 1);
	assert_true(fake_log_has(expected));
}

/* The same one twice is one. */
static void a_completion_counts_once(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	fake_virtio_used(device, 0, device->queue[0].taken, 64);
	device->hold = true;
	fake_log_start();
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_one_line("no completed request within 5000 ms, 1 of 2");
}

static void armed_requests_are_in_flight_until_they_complete(void **state)
{
	unsigned int armed;

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	device->hold = true;
	device->queue[0].notified = 0;
	device->reads = 0;
	assert_int_equal(bench_in_flight(), 0);
	assert_int_equal(bench_arm(), OK);
	assert_int_equal(device->queue[0].notified, 1);
	armed = fake_virtio_available(device, 0);
	assert_true(armed > 1);
	assert_int_equal(bench_in_flight(), armed);
	for (unsigned int i = 0; i < armed; i++) { /* data that arrives differs from what was there: the same byte repeated */
		unsigned int head = fake_virtio_head(device, 0, i);
		const u8 *data = (const u8 *)(uintptr_t)fake_virtio_buffer(device, 0, head);

		assert_memory_equal(data, data + 1, fake_virtio_length(device, 0, head) - 1);
	}
	fake_virtio_run(device);
	assert_int_equal(device->reads, armed);
	assert_int_equal(bench_in_flight(), 0);
}

static void a_small_queue_takes_as_many_requests_as_it_has_room_for(void **state)
{
	for (u16 size = 1; size <= 2; size++) {
		device->queue_max = size;
		assert_int_equal(bench_bring_up(), OK);
		assert_int_equal(bench_work(false), OK);
		device->hold = true;
		assert_int_equal(bench_arm(), OK);
		assert_int_equal(bench_in_flight(), size);
		assert_int_equal(fake_virtio_available(device, 0), size);
		fake_virtio_ghosts(device, 0, 64); /* a slot that is not there completes nothing */
		assert_int_equal(bench_in_flight(), size);
		fake_virtio_run(device);
		assert_int_equal(bench_in_flight(), 0);
		bench_end(state);
		begin(state);
	}
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
	const struct CMUnitTest tests[] = {
		T(random_bytes_come_by_an_interrupt),
		T(without_msix_intx_does_it),
		T(a_source_without_its_own_configuration_will_do),
		T(bytes_that_are_not_new_are_an_error),
		T(bytes_beyond_the_buffer_do_not_count),
		T(an_unexpected_completion_is_not_counted),
		T(a_completion_counts_once),
		T(armed_requests_are_in_flight_until_they_complete),
		T(a_small_queue_takes_as_many_requests_as_it_has_room_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
