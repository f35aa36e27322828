/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: every virtio driver takes its own devices, sets them up in the standard's order, with MSI-X and with INTx, stays within
 * the memory that it declares, and sets DRIVER_OK on no device that refuses something, lacks what it needs, or for which memory
 * runs out. A device that does not complete times out with a line; one that completes without end does not hold the CPU. Could be
 * false: a queue may be enabled before its vector is known to be taken; the last of many allocations may go unchecked; a removed
 * device reads as one that interrupts; a message may come before there is a queue. Provoked: the devices of fake_virtio.c, each
 * driver in turn, with one fault at a time; an arena that ends where an allocation would begin, for each. Failure: another order of
 * accesses, a wrong status, or a missing line.
 */
#include "drivers/virtio/blk.h"
#include "drivers/virtio/net.h"
#include "drivers/virtio/queue.h"
#include "drivers/virtio/rng.h"
#include "irq/i8259.h"
#include "irq/vector.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_virtio.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

static const struct row {
	enum fake_virtio_type type;
	u16 transitional; /* device ID, 4.1.2.1 */
	const struct driver *driver;
	const char *awaited;
	u32 config;	    /* bytes that it needs of the device's own configuration: capacity (5.2.4); mac and status (5.1.4) */
	unsigned int queue; /* where it waits for requests */
} rows[] = {
	{ FAKE_NET, 0x1000, &virtio_net_driver, "virtio-net: no transmitted frame within 1000 ms, 0 of 1", 8, 1 },
	{ FAKE_BLK, 0x1001, &virtio_blk_driver, "virtio-blk: no completed request within 5000 ms, 0 of 1", 8, 0 },
	{ FAKE_RNG, 0x1005, &virtio_rng_driver, "virtio-rng: no completed request within 5000 ms, 0 of 1", 0, 0 },
};

static struct fake_virtio *device;

static int begin(void **state)
{
	const struct row *row = *state;

	bench_begin();
	device = fake_virtio_new(bench.fake, BENCH_BDF, row->type);
	bench_attach(row->driver);
	return 0;
}

static void again(void **state)
{
	bench_end(state);
	begin(state);
}

static void modern_and_transitional_devices_are_its_own(void **state)
{
	const struct row *row = *state;

	for (u32 id = 0; id <= 0xffff; id++) {
		const struct pci_dev ours = { .vendor = 0x1af4, .device = (u16)id },
				     other = { .vendor = 0x1af5, .device = (u16)id };

		assert_int_equal(row->driver->pci.match(&ours), id == 0x1040U + row->type || id == row->transitional);
		assert_false(row->driver->pci.match(&other));
	}
}

static void reset_writes_status_0_and_touches_no_bus_master(void **state)
{
	(void)state;
	device->status = 0x0f;
	fake_set(device->fn, PCI_COMMAND, 2, 0x0003);
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(device->status, 0);
	assert_int_equal(fake_get(device->fn, PCI_COMMAND, 2), 0x0003);
	assert_int_equal(fake_writes(bench.fake), 1);
}

/* --- order --- */

static struct fake_access *logged(enum fake_kind kind, u64 where, u32 value)
{
	for (unsigned int i = bench.fake->logged; i--;)
		if (bench.fake->log[i].kind == kind && bench.fake->log[i].where == where && bench.fake->log[i].value == value)
			return &bench.fake->log[i];
	fail_msg("no access to 0x%lx with 0x%x", where, value);
	return NULL;
}

static void with_msix_the_order_is_the_standards(void **state)
{
	static const struct {
		enum fake_kind kind;
		u64 where;
		u32 value;
	} needed[] = {
		{ FAKE_MEM_WRITE, FAKE_VIRTIO_STATUS, 0x0f },  { FAKE_MEM_WRITE, FAKE_BLK_BAR + 28, 1 }, /* queue_enable */
		{ FAKE_MEM_READ, FAKE_BLK_BAR + 26, 0 },						 /* queue_msix_vector */
		{ FAKE_MEM_WRITE, FAKE_BLK_MSIX_BAR + 12, 0 },						 /* entry 0 unmasked */
		{ FAKE_CFG_WRITE, FAKE_BLK_MSIX + 2, 0x8001 }, /* MSI-X on, nothing masked */
	};
	struct fake_access *ok, *enable, swap;

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_status_written(device, 0x00, 0x01, 0x03, 0x0b, 0x0f);
	assert_true(fake_virtio_in_order(device));
	for (unsigned int i = 0; i < device->queues; i++)
		assert_int_equal(device->queue[i].vector, i);
	/* The twins: without each of the accesses that it takes; and with DRIVER_OK a step too early. */
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		struct fake_access *a = logged(needed[i].kind, needed[i].where, needed[i].value), saved = *a;

		a->kind = FAKE_CFG_READ;
		assert_false(fake_virtio_in_order(device));
		*a = saved;
	}
	ok = logged(FAKE_MEM_WRITE, FAKE_VIRTIO_STATUS, 0x0f);
	enable = logged(FAKE_MEM_WRITE, FAKE_BLK_BAR + 28, 1);
	swap = *ok, *ok = *enable, *enable = swap;
	assert_false(fake_virtio_in_order(device));
	assert_false(fake_virtio_status_is(device, (const u8[]){ 0x00, 0x01, 0x03, 0x0f, 0x0b }, 5));
}

/* As a kernel that used MSI-X leaves it, with INTx disabled: it would not come. */
static void without_msix_intx_does_it(void **state)
{
	u8 line = bench_intx();

	(void)state;
	fake_set(device->fn, PCI_COMMAND, 2, 0x0407);
	assert_int_equal(bench_bring_up(), OK);
	assert_true(fake_virtio_in_order(device));
	assert_int_equal(fake_get(device->fn, PCI_COMMAND, 2), 0x0007);
	for (unsigned int i = 0; i < device->queues; i++)
		assert_int_equal(device->queue[i].vector, 0xffff);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(fake_lapic.delivered, 0);
	assert_true(fake_i8259.taken[line] > 0);
	assert_false(i8259_line_disabled(line));
}

/* After the reset's line about the inherited status, if there is one. */
#define assert_last_line(part) assert_non_null(strstr(fake_log_line(fake_log_lines() - 1), part))

static void without_msix_and_without_a_line_there_is_no_driving(void **state)
{
	static const u8 lines[] = { 0, 0xff };

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		fake_set(device->fn, PCI_INTERRUPT_LINE, 1, lines[i]);
		bench.dev->msix = 0;
		assert_int_equal(bench_bring_up(), ERR_ABSENT);
		assert_last_line("INTx unavailable, Interrupt Line");
		assert_false(device->status & 0x04);
		again(state);
	}
}

static void a_device_that_cannot_be_reset_is_reported(void **state)
{
	(void)state;
	device->status = 0x0f;
	device->reset_reads = 0xff;
	assert_int_equal(bench_bring_up(), ERR_TIMEOUT);
	assert_last_line(": reset not done");
}

/* Address 0 is no structure. */
static void a_device_without_a_transport_is_not_touched(void **state)
{
	(void)state;
	fake_set(device->fn, 0x43, 1, 9);
	assert_int_equal(bench_reset(), ERR_ABSENT);
	assert_one_line("no modern transport");
	for (unsigned int i = 0; i < bench.fake->logged; i++)
		assert_int_equal(bench.fake->log[i].kind, FAKE_CFG_READ);
}

static bool configuration_was_read(void)
{
	for (unsigned int i = 0; i < bench.fake->logged; i++)
		if (bench.fake->log[i].kind == FAKE_MEM_READ && bench.fake->log[i].where - FAKE_BLK_BAR - 0x2000 < 0x1000)
			return true;
	return false;
}

/* A transport may live without the device's own structure; what is not there is not read, and address 0 is no structure. */
static void configuration_that_is_too_short_is_refused_unread(void **state)
{
	static const u32 lengths[] = { UINT32_MAX, 0, 1, 7, 8 }; /* the first: there is no capability */
	const struct row *row = *state;

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		u32 length = lengths[i] == UINT32_MAX ? 0 : lengths[i];
		bool enough = length >= row->config && lengths[i];
		char line[80];

		fake_set(device->fn, 0x6c, 4, length);
		if (lengths[i] == UINT32_MAX)
			fake_set(device->fn, 0x63, 1, 9);
		snprintf(line, sizeof(line), "0000:00:05.0 %s: %s", row->driver->pci.name,
			 lengths[i] ? "no device configuration" : "capability 0x60 has 0 bytes, its type needs 1");
		assert_int_equal(bench_bring_up(), enough ? OK : ERR_ABSENT);
		if (!enough) {
			assert_last_line(line);
			assert_int_equal(device->status, 0);
		}
		assert_int_equal(configuration_was_read(), enough && row->config);
		again(state);
	}
}

/* Reset has found nothing wrong. */
static void a_device_that_refuses_is_reported(void **state)
{
	static const char *const lines[] = { "refused", "got 0xffff", "no modern transport", "has 3 entries" };

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		unsigned int last = device->queues - 1;

		device->refuse_features = i == 0;
		device->refuse_vector = i == 1 ? (u8)(1U << last) : 0;
		if (i == 2)
			fake_set(device->fn, 0x43, 1, 9);
		if (i == 3)
			device->queue[last].size = 3;
		assert_int_not_equal(bench.dev->driver->probe(bench.dev, &bench.env), OK);
		assert_true(fake_log_has(lines[i]));
		assert_false(device->status & 0x04); /* DRIVER_OK is not given to what was refused */
		again(state);
	}
}

/* --- memory --- */

/* The DMA memory that the device was given: its rings, and what its descriptors point to. */
static unsigned int places(u64 *offset, unsigned int room)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < device->queues; i++) {
		const struct fake_queue *q = &device->queue[i];

		for (unsigned int j = 0; j < 3U + q->size; j++) {
			u64 address = j < 3 ? q->ring[j] : fake_virtio_buffer(device, i, j - 3);

			assert_true(n < room);
			if (address)
				offset[n++] = address - bench.dma.base;
		}
	}
	return n;
}

static void wherever_memory_runs_out_the_device_is_not_started(void **state)
{
	u64 offset[64], used;
	unsigned int n;

	assert_int_equal(bench_bring_up(), OK);
	used = bench.dma.used;
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(bench_arm(), OK);
	n = places(offset, ARRAY_SIZE(offset));
	assert_true(n > 3 * device->queues);
	assert_int_equal(bench.dma.used, used); /* all memory is allocated before */
	for (unsigned int i = 0; i <= n; i++) {
		again(state);
		bench.dev->msix = 0;
		if (i < n)
			bench.dma.size = offset[i];
		else
			bench.heap.size = 0;
		assert_int_equal(bench_bring_up(), ERR_RANGE);
		assert_true(fake_log_has("memory: "));
		assert_false(device->status & 0x04);
	}
	again(state); /* the twin: exactly enough */
	bench.dma.size = used;
	assert_int_equal(bench_bring_up(), OK);
}

/* The kernel adds these figures up and reserves as much, wherever the pieces are then. */
static void it_takes_no_more_memory_than_it_declares(void **state)
{
	static const u64 starts[] = { 0, 1, 63, 2047, 2049, 4095 };

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		bench.dma.used = starts[i];
		bench.dma.size += starts[i];
		assert_int_equal(bench_bring_up(), OK);
		assert_uint_in_range(bench.dma.used - starts[i], 1, driver_of(bench.dev)->dma);
		again(state);
	}
}

/* --- messages before their time --- */

static void every_entry_sends(struct fake_pci *fake, const struct fake_access *access)
{
	(void)access;
	if (device->status & 0x04)
		return;
	fake->watch = NULL; /* not from within the handlers */
	for (unsigned int i = 0; i < FAKE_BLK_VECTORS; i++)
		fake_virtio_message(device, i);
	fake->watch = every_entry_sends;
}

/* After each access from MSI-X on to DRIVER_OK. */
static void a_message_before_its_queue_is_set_up_changes_nothing(void **state)
{
	unsigned int writes, in_flight;

	assert_int_equal(bench_bring_up(), OK); /* the twin: without one */
	assert_int_equal(fake_lapic.delivered, 0);
	writes = fake_writes(bench.fake);
	in_flight = bench_in_flight();
	again(state);
	bench.fake->watch = every_entry_sends;
	vector_clear_unexpected();
	assert_int_equal(bench_bring_up(), OK);
	bench.fake->watch = NULL;
	assert_uint_in_range(fake_lapic.delivered, 10, UINT32_MAX);
	assert_int_equal(fake_lapic.eois, fake_lapic.delivered);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_int_equal(fake_writes(bench.fake), writes);
	assert_true(fake_virtio_in_order(device));
	assert_int_equal(bench_in_flight(), in_flight);
	assert_int_equal(bench_work(true), OK);
}

/* Memory for the descriptors alone: the queue has its size, and no used ring. */
static void a_message_for_a_queue_that_could_not_be_set_up_changes_nothing(void **state)
{
	unsigned int accesses;

	(void)state;
	bench.dma.size = 16 * VIRTQUEUE_SIZE_MAX;
	assert_int_equal(bench_bring_up(), ERR_RANGE);
	accesses = bench.fake->logged;
	fake_virtio_message(device, 0);
	assert_int_equal(fake_lapic.delivered, 1);
	assert_int_equal(fake_lapic.eois, 1);
	assert_int_equal(bench.fake->logged, accesses);
	assert_int_equal(bench_in_flight(), 0);
}

/*
 * So many chains more than it has entries that were never made available. What the handler left there can still change; what it has
 * taken cannot.
 */
static unsigned int landed_after(const struct row *row, unsigned int more)
{
	const struct fake_queue *q = &device->queue[row->queue];
	unsigned int in_flight;

	assert_int_equal(bench_bring_up(), OK);
	device->hold = true;
	assert_int_equal(bench_arm(), OK);
	in_flight = bench_in_flight();
	device->silent = true;
	for (unsigned int i = 0; i < q->size + more; i++)
		fake_virtio_used(device, row->queue, 0xffff, 0);
	device->silent = false;
	fake_virtio_message(device, q->vector);
	assert_int_equal(bench_in_flight(), in_flight);
	((u16 *)(uintptr_t)q->ring[2])[1]--;
	fake_virtio_used(device, row->queue, fake_virtio_head(device, row->queue, 0), 0);
	return in_flight - bench_in_flight();
}

static void a_used_ring_that_runs_away_is_followed_for_one_pass(void **state)
{
	assert_int_equal(landed_after(*state, 1), 1);
	again(state);
	assert_int_equal(landed_after(*state, 0), 0); /* the twin */
}

/* --- interrupts that do not come, and that are not its own --- */

static void a_request_that_never_completes_times_out_with_a_line(void **state)
{
	const struct row *row = *state;

	assert_int_equal(bench_bring_up(), OK);
	device->silent = true;
	assert_int_equal(bench_work(true), ERR_TIMEOUT);
	assert_one_line(row->awaited);
}

static void without_bus_master_nothing_completes(void **state)
{
	const struct row *row = *state;

	assert_int_equal(bench_bring_up(), OK);
	pci_clear_master(bench.dev);
	fake_log_start();
	assert_int_equal(bench_work(true), ERR_TIMEOUT);
	assert_one_line(row->awaited);
	assert_int_equal(device->reads + device->writes, 0);
}

static void completes_later(unsigned int looks)
{
	if (looks % 3 == 0)
		fake_virtio_run(device);
}

/* Else as everywhere: what completes at once has completed before the wait. */
static void what_completes_while_it_is_awaited_counts(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	device->hold = true;
	fake_x86_tick(completes_later);
	assert_int_equal(bench_work(true), OK);
	assert_true(device->reads + device->writes > 0);
}

/* ISR says 0: the interrupt is another device's, and unhandled. */
static void another_devices_interrupt_on_the_line_is_not_its_own(void **state)
{
	u8 line = bench_intx();

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	fake_x86.pm_step = 0;
	device->line_held = true;
	fake_irq_line(line, true);
	assert_true(i8259_line_disabled(line));
}

/* It reads all ones, ISR as well. */
static void a_removed_device_claims_no_interrupt(void **state)
{
	u8 line = bench_intx();

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	device->fn->answers = 0;
	fake_x86.pm_step = 0;
	fake_irq_line(line, true);
	assert_true(i8259_line_disabled(line));
}

int main(void)
{
#define T1(test, name, i)                                                                                                          \
	{                                                                                                                          \
		name #test, test, begin, bench_end, (void *)(uintptr_t)&rows[i]                                                    \
	}
#define T(test) T1(test, "net:", 0), T1(test, "blk:", 1), T1(test, "rng:", 2)
	const struct CMUnitTest tests[] = {
		T(modern_and_transitional_devices_are_its_own),
		T(reset_writes_status_0_and_touches_no_bus_master),
		T(with_msix_the_order_is_the_standards),
		T(without_msix_intx_does_it),
		T(without_msix_and_without_a_line_there_is_no_driving),
		T(a_device_that_cannot_be_reset_is_reported),
		T(a_device_without_a_transport_is_not_touched),
		T(configuration_that_is_too_short_is_refused_unread),
		T(a_device_that_refuses_is_reported),
		T(wherever_memory_runs_out_the_device_is_not_started),
		T(it_takes_no_more_memory_than_it_declares),
		T(a_message_before_its_queue_is_set_up_changes_nothing),
		T(a_message_for_a_queue_that_could_not_be_set_up_changes_nothing),
		T(a_used_ring_that_runs_away_is_followed_for_one_pass),
		T(a_request_that_never_completes_times_out_with_a_line),
		T(without_bus_master_nothing_completes),
		T(what_completes_while_it_is_awaited_counts),
		T(another_devices_interrupt_on_the_line_is_not_its_own),
		T(a_removed_device_claims_no_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
