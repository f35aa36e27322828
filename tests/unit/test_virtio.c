/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the virtio transport follows the standard's order and widths, finds its structures wherever the capabilities point, and
 * reports a device that cannot be reset, refuses the features, has no queue or no vector. Interrupts come by as many vectors as are
 * requested, or by INTx, and are handled where ISR reports one. Could be false: capabilities come from the device and may point
 * anywhere; a reset may never be done; a vector may be refused, which reads back as 0xffff and is easy to miss. Provoked: the
 * device of fake_virtio.c, which fails the test at whatever the standard forbids, with one fault at a time. Failure: the wrong
 * status, a missing line, or another order of writes to the device status.
 */
#include "drivers/virtio/blk.h"
#include "drivers/virtio/pci.h"
#include "drivers/virtio/queue.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_virtio.h"
#include "tests/unit/unit.h"

#define VERSION_1 (1ULL << 32)
#define BLK_FLUSH (1ULL << 9)

static struct fake_virtio *device;
static struct virtio_pci v;

static int begin(void **state)
{
	(void)state;
	bench_begin();
	device = fake_virtio_new(bench.fake, BENCH_BDF, FAKE_BLK);
	bench_attach(&virtio_blk_driver);
	return 0;
}

/* --- capabilities --- */

static void the_structures_are_where_the_capabilities_say(void **state)
{
	(void)state;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_int_equal(v.common, FAKE_BLK_BAR);
	assert_int_equal(v.isr, FAKE_BLK_BAR + 0x1000);
	assert_int_equal(v.config, FAKE_BLK_BAR + 0x2000);
	assert_int_equal(v.config_length, 0x1000);
	assert_int_equal(v.notify, FAKE_BLK_BAR + 0x3000);
	assert_int_equal(v.notify_multiplier, 4);
	assert_no_writes(bench.fake); /* memory was on already */
}

static void memory_is_switched_on_and_nothing_else(void **state)
{
	static const struct fake_access want[] = { CFG_W16(BENCH_BDF, PCI_COMMAND, 0x0402) };

	(void)state;
	fake_set(device->fn, PCI_COMMAND, 2, 0x0400);
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_writes(bench.fake, want);
}

/* 4.1.4.1: of several of one type the driver takes the first that it can use. */
static void of_two_capabilities_of_a_type_the_first_counts(void **state)
{
	(void)state;
	fake_cap(device->fn, 0xb0, PCI_CAP_ID_VNDR);
	fake_set(device->fn, 0xb3, 1, 1);
	fake_set(device->fn, 0xb4, 1, 4);
	fake_set(device->fn, 0xb8, 4, 0x800);
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_int_equal(v.common, FAKE_BLK_BAR);
}

static void a_transport_without_a_structure_is_absent(void **state)
{
	static const u8 caps[] = { 0x40, 0x50, 0x70 }; /* common, ISR, notify; without the device's own one may live */

	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		fake_set(device->fn, caps[i] + 3, 1, 9);
		assert_int_equal(virtio_pci_find(&v, bench.dev), ERR_ABSENT);
		assert_one_line("virtio-blk: no modern transport");
		bench_end(state);
		begin(state);
	}
}

static void a_capability_that_points_nowhere_is_absent_with_a_line(void **state)
{
	static const u8 bars[] = { 0, 2, 5, 6,
				   0xff }; /* 0 is I/O, 2 is not assigned, 5 the upper half of 4, the rest do not exist */

	for (size_t i = 0; i < ARRAY_SIZE(bars); i++) {
		fake_set(device->fn, PCI_BASE_ADDRESS_0, 4, 0xc001);
		fake_set(device->fn, 0x24, 4, 0); /* BAR 4 below 4 GiB, so that "BAR 5" is 0 */
		fake_set(device->fn, 0x44, 1, bars[i]);
		assert_int_equal(virtio_pci_find(&v, bench.dev), ERR_ABSENT);
		assert_one_line("which is not an assigned memory BAR");
		bench_end(state);
		begin(state);
	}
}

static void a_structure_that_cannot_be_mapped_is_an_error(void **state)
{
	(void)state;
	bench.fake->map_fails = true;
	assert_int_not_equal(virtio_pci_find(&v, bench.dev), OK);
}

/* 4.1.4: 16 bytes, 20 with the multiplier. */
static void a_capability_that_does_not_fit_below_0x100_is_not_read(void **state)
{
	(void)state;
	fake_cap(device->fn, 0xfc, PCI_CAP_ID_VNDR);
	fake_set(device->fn, 0xff, 1, 1);
	fake_set(device->fn, 0x43, 1, 9); /* and no other is of that type */
	bench.fake->access.cfg_size = 256;
	assert_int_equal(virtio_pci_find(&v, bench.dev), ERR_ABSENT);
	/* At 0xf0 the notification's multiplier alone would be outside; at 0xec it is the last thing inside. */
	for (u8 pos = 0xec; pos <= 0xf0; pos += 4) {
		bench_end(state);
		begin(state);
		fake_cap(device->fn, pos, PCI_CAP_ID_VNDR);
		memcpy(device->fn->cfg + pos + 2, device->fn->cfg + 0x72, 18);
		fake_set(device->fn, 0x73, 1, 9);
		bench.fake->access.cfg_size = 256;
		assert_int_equal(virtio_pci_find(&v, bench.dev), pos == 0xec ? OK : ERR_ABSENT);
		if (pos == 0xec)
			assert_int_equal(v.notify_multiplier, 4);
	}
}

/*
 * 4.1.4.3 to 4.1.4.6: the common configuration has 56 bytes, a notification 2, ISR one; the device's own, where there is one, some.
 */
static void a_structure_that_is_too_short_is_refused(void **state)
{
	static const struct {
		u8 cap;
		u32 length;
	} rows[] = { { 0x40, 55 }, { 0x40, 0 }, { 0x50, 0 }, { 0x70, 1 }, { 0x60, 0 } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char line[64];

		fake_set(device->fn, rows[i].cap + 12, 4, rows[i].length);
		assert_int_equal(virtio_pci_find(&v, bench.dev), ERR_ABSENT);
		snprintf(line, sizeof(line), "capability 0x%x has %u bytes, its type needs", rows[i].cap, rows[i].length);
		assert_one_line(line);
		bench_end(state);
		begin(state);
	}
	/* The twin: exactly as long as is needed. */
	fake_set(device->fn, 0x40 + 12, 4, 56);
	fake_set(device->fn, 0x50 + 12, 4, 1);
	fake_set(device->fn, 0x70 + 12, 4, 2);
	fake_set(device->fn, 0x60 + 12, 4, 1);
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_int_equal(v.config_length, 1);
	assert_int_equal(v.notify_length, 2);
	fake_set(device->fn, 0x63, 1, 9); /* and none at all is valid */
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_int_equal(v.config_length, 0);
}

/* --- reset --- */

static void a_reset_waits_until_the_device_says_0(void **state)
{
	(void)state;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	device->status = 0x0f;
	device->reset_reads = 5;
	assert_int_equal(virtio_reset(&v), OK);
	assert_int_equal(device->status, 0);
	assert_status_written(device, 0);
	assert_int_equal(fake_log_lines(), 0);
}

static void a_reset_that_is_never_done_times_out_with_a_line(void **state)
{
	(void)state;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	device->status = 0x0f;
	device->reset_reads = 0xff;
	assert_int_equal(virtio_reset(&v), ERR_TIMEOUT);
	assert_one_line("0000:00:05.0 virtio-blk: reset not done after 5000 ms, status 0x0f");
	assert_status_written(device, 0);
}

/* The previous owner may have reset it, or not: each status is logged. */
static void a_driver_logs_the_inherited_status(void **state)
{
	(void)state;
	device->status = 0x0b;
	assert_int_equal(virtio_pci_reset(bench.dev), OK);
	assert_one_line("pci 0000:00:05.0 virtio status 0x0b before the reset");
	assert_int_equal(device->status, 0);
	fake_log_start();
	assert_int_equal(virtio_pci_reset(bench.dev), OK);
	assert_one_line("pci 0000:00:05.0 virtio status 0x00 before the reset");
}

/* A removed device reads all ones. */
static void a_reset_of_a_removed_device_ends(void **state)
{
	(void)state;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	device->fn->answers = 0;
	assert_int_equal(virtio_reset(&v), ERR_TIMEOUT);
	assert_one_line("status 0xff");
}

/* --- features --- */

static void negotiation_follows_the_standards_order(void **state)
{
	u64 accepted;

	(void)state;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_int_equal(virtio_negotiate(&v, BLK_FLUSH | 1ULL << 5, &accepted), OK);
	assert_status_written(device, 0x01, 0x03, 0x0b);
	assert_int_equal(accepted, VERSION_1 | BLK_FLUSH); /* RO was requested and not offered, others offered and not requested */
	assert_int_equal(device->accepted, accepted);
	virtio_driver_ok(&v);
	assert_status_written(device, 0x01, 0x03, 0x0b, 0x0f);
	assert_false(fake_virtio_status_is(device, (const u8[]){ 0x01, 0x0b, 0x03, 0x0f }, 4)); /* the twin */
}

/* 6.1: a device that insists on ACCESS_PLATFORM may refuse a driver without it; where no IOMMU is on, it changes nothing. */
static void access_platform_is_accepted_where_it_is_offered(void **state)
{
	u64 accepted;

	(void)state;
	device->features |= 1ULL << 33;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_int_equal(virtio_negotiate(&v, 0, &accepted), OK);
	assert_int_equal(device->accepted, VERSION_1 | 1ULL << 33);
}

static void features_that_the_device_refuses_are_an_error(void **state)
{
	u64 accepted;

	(void)state;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	device->refuse_features = true;
	assert_int_equal(virtio_negotiate(&v, BLK_FLUSH, &accepted), ERR_IO);
	assert_one_line("virtio-blk: features 0x100000200 refused");
	assert_true(device->status & 0x80); /* FAILED */
	assert_false(device->status & 0x04);
}

static void a_device_without_version_1_is_refused(void **state)
{
	u64 accepted;

	(void)state;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	device->features &= ~VERSION_1;
	assert_int_equal(virtio_negotiate(&v, 0, &accepted), ERR_IO);
	assert_one_line("refused");
	assert_true(device->status & 0x80);
}

/* --- queue --- */

static enum status make_queue(struct virtqueue *q, u16 vector)
{
	u64 accepted;

	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_int_equal(virtio_negotiate(&v, 0, &accepted), OK);
	return virtqueue_init(q, &v, 0, vector, &bench.dma);
}

/* 2.7: the bytes of each area of a queue of so many. */
static u64 area_size(unsigned int area, u16 size)
{
	return area == 0 ? 16UL * size : area == 1 ? 6 + 2UL * size : 6 + 8UL * size;
}

/* The three areas that the device got are in DMA memory, aligned, and apart. */
static bool rings_are_sound(void)
{
	static const u64 align[] = { 16, 2, 4 };
	const u64 *ring = device->queue[0].ring;
	u16 size = device->queue[0].size;

	for (unsigned int i = 0; i < 3; i++) {
		u64 end = ring[i] + area_size(i, size);

		if (ring[i] % align[i] || ring[i] < bench.dma.base || end > bench.dma.base + bench.dma.used)
			return false;
		for (unsigned int j = 0; j < i; j++)
			if (ring[i] < ring[j] + area_size(j, size) && ring[j] < end)
				return false;
	}
	return true;
}

static void a_queue_is_written_to_the_device(void **state)
{
	struct virtqueue q;

	(void)state;
	device->queue_select = 5; /* whatever was selected before */
	assert_int_equal(make_queue(&q, 1), OK);
	assert_int_equal(device->queue_select, 0);
	assert_int_equal(device->queue[0].vector, 1);
	assert_int_equal(device->queue[0].size, q.size);
	assert_int_equal(device->queue[0].enable, 1);
	assert_true(rings_are_sound());
	device->queue[0].ring[1] = device->queue[0].ring[0] + 8; /* the twin: areas that overlap */
	assert_false(rings_are_sound());
}

static void a_small_queue_stays_small(void **state)
{
	struct virtqueue q;

	(void)state;
	device->queue[0].size = device->queue_max = 4;
	assert_int_equal(make_queue(&q, 0xffff), OK);
	assert_int_equal(q.size, 4);
	assert_int_equal(device->queue[0].size, 4);
	assert_int_equal(device->queue[0].vector, 0xffff);
}

static void a_queue_that_is_none_is_refused_with_a_line(void **state)
{
	static const u16 sizes[] = { 0, 3, 48 }; /* absent, and not powers of two */
	struct virtqueue q;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		device->queue[0].size = sizes[i];
		assert_int_equal(make_queue(&q, 0), ERR_IO);
		assert_one_line("virtio-blk: queue 0 has");
		assert_int_equal(device->queue[0].enable, 0);
		bench_end(state);
		begin(state);
	}
}

static void a_vector_that_the_device_refuses_is_an_error(void **state)
{
	struct virtqueue q;

	(void)state;
	device->refuse_vector = 1;
	assert_int_equal(make_queue(&q, 0), ERR_IO);
	assert_one_line("virtio-blk: queue 0: MSI-X entry 0 requested, got 0xffff");
	assert_int_equal(device->queue[0].enable, 0);
}

/* 4.1.4.4: cap.length is at least queue_notify_off * multiplier + 2, which is 14 here. */
static void a_queue_whose_notifications_go_elsewhere_is_refused(void **state)
{
	struct virtqueue q;

	fake_set(device->fn, 0x70 + 12, 4, 13);
	assert_int_not_equal(make_queue(&q, 0), OK);
	assert_int_equal(device->queue[0].enable, 0);
	bench_end(state);
	begin(state);
	fake_set(device->fn, 0x70 + 12, 4, 14); /* the twin */
	assert_int_equal(make_queue(&q, 0), OK);
}

/* Where an area of the queue would begin, or lack its last byte. */
static void wherever_memory_runs_out_the_queue_is_not_enabled(void **state)
{
	u64 ends[6], used;
	struct virtqueue q;

	assert_int_equal(make_queue(&q, 0), OK);
	used = bench.dma.used;
	for (unsigned int i = 0; i < 3; i++) {
		ends[2 * i] = device->queue[0].ring[i] - bench.dma.base;
		ends[2 * i + 1] = ends[2 * i] + area_size(i, q.size) - 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		bench_end(state);
		begin(state);
		bench.dma.size = ends[i];
		assert_int_equal(make_queue(&q, 0), ERR_RANGE);
		assert_int_equal(device->queue[0].enable, 0);
	}
	bench_end(state);
	begin(state);
	bench.dma.size = used; /* the twin */
	assert_int_equal(make_queue(&q, 0), OK);
}

static void a_buffer_is_one_descriptor(void **state)
{
	static const u8 data[24];
	struct virtqueue q;
	const u8 *desc;

	(void)state;
	assert_int_equal(make_queue(&q, 0xffff), OK);
	desc = (const u8 *)(uintptr_t)device->queue[0].ring[0];
	memset((void *)(uintptr_t)device->queue[0].ring[0], 0xee, 16UL * q.size);
	for (unsigned int write = 0; write < 2; write++) {
		const u64 address = (u64)(uintptr_t)data;
		const u8 rest[] = { 24, 0, 0, 0, write ? 2 : 0, 0, 0, 0 }; /* 2.7.5: length, flags, next */

		virtqueue_describe(&q, 3, data, sizeof(data), write);
		assert_memory_equal(desc + 48, &address, 8);
		assert_memory_equal(desc + 56, rest, 8);
		assert_int_equal(desc[47], 0xee);
		assert_int_equal(desc[64], 0xee);
	}
}

/* A message may come as soon as MSI-X is on, and after the queue could not be set up. */
static void from_a_queue_that_is_not_set_up_nothing_is_taken(void **state)
{
	struct virtqueue none = { 0 }, q = { 0 };
	u32 head = 0x5a, written = 0x5a;

	(void)state;
	assert_false(virtqueue_take(&none, &head, &written));
	bench.dma.size = 16 * VIRTQUEUE_SIZE_MAX; /* room for the descriptors, no more */
	assert_int_equal(make_queue(&q, 0), ERR_RANGE);
	assert_true(q.size);
	assert_false(virtqueue_take(&q, &head, &written));
	assert_int_equal(head, 0x5a);
	assert_int_equal(written, 0x5a);
}

static void heads_are_made_available_and_taken_in_order_across_the_wraps(void **state)
{
	struct virtqueue q;
	u32 head, written;
	u16 *used;

	(void)state;
	device->queue[0].size = device->queue_max = 4;
	assert_int_equal(make_queue(&q, 0xffff), OK);
	used = (u16 *)(uintptr_t)device->queue[0].ring[2];
	assert_false(virtqueue_take(&q, &head, &written));
	for (u32 i = 0; i < 70000; i++) { /* the index has 16 bits */
		const u16 *avail = (const u16 *)(uintptr_t)device->queue[0].ring[1];

		virtqueue_add(&q, (u16)(i * 7));
		assert_int_equal(avail[1], (u16)(i + 1));
		assert_int_equal(avail[2 + i % 4], (u16)(i * 7));
		((u32 *)(void *)(used + 2))[2 * (i % 4)] = i * 5;
		((u32 *)(void *)(used + 2))[2 * (i % 4) + 1] = i * 3;
		used[1]++;
		assert_true(virtqueue_take(&q, &head, &written));
		assert_int_equal(head, i * 5);
		assert_int_equal(written, i * 3);
		assert_false(virtqueue_take(&q, &head, &written));
	}
}

/* --- interrupts --- */

static bool unmatched(void *context)
{
	(void)context;
	return true;
}

static const irq_handler two_handlers[] = { unmatched, unmatched };

/* Reading ISR clears it (4.1.4.5.1); with MSI-X it is not valid and not read. */
static void an_interrupt_is_the_devices_where_isr_is_set(void **state)
{
	static const u8 values[] = { 1, 2, 3, 0 };

	(void)state;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		device->isr = values[i];
		assert_int_equal(virtio_interrupted(&v), values[i] != 0);
		assert_int_equal(device->isr, 0);
	}
	device->isr = 0xff;
	assert_false(virtio_interrupted(&v));
	device->fn->answers = 0;
	assert_false(virtio_interrupted(&v));
	v.irq.message = true;
	fake_clear_log(bench.fake);
	assert_true(virtio_interrupted(&v));
	assert_int_equal(bench.fake->logged, 0);
}

static void as_many_vectors_as_handlers_are_taken(void **state)
{
	(void)state;
	for (unsigned int count = 1; count <= 2; count++) {
		assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
		assert_int_equal(virtio_queue_vector(&v, count - 1), 0xffff); /* not yet */
		assert_int_equal(virtio_connect_msix(&v, two_handlers, count, NULL), OK);
		assert_true(v.irq.message);
		for (unsigned int i = 0; i < 2; i++) {
			if (i < count)
				assert_int_equal(fake_mem_get(device->msix, 16 * i + 8, 4), v.irq.number + i);
			assert_int_equal(fake_mem_get(device->msix, 16 * i + 12, 4) & 1, i >= count);
			assert_int_equal(virtio_queue_vector(&v, (u16)i), i);
		}
		/* INTx is the other way, and stays off. */
		assert_int_equal(virtio_connect_intx(&v, unmatched, NULL), OK);
		assert_true(fake_get(device->fn, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
		bench_end(state);
		begin(state);
	}
}

static void without_msix_no_vector_is_taken(void **state)
{
	(void)state;
	bench.dev->msix = 0;
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_int_equal(virtio_connect_msix(&v, two_handlers, 2, NULL), OK);
	assert_false(v.irq.message);
	assert_int_equal(virtio_queue_vector(&v, 1), 0xffff);
	assert_int_equal(fake_mem_get(device->msix, 8, 4), 0);
}

/* Nor half of it: one handler on the table's only entry, and another on none. */
static void with_fewer_vectors_than_handlers_none_is_taken(void **state)
{
	(void)state;
	bench.dev->inherited.msix_flags = 0; /* one entry */
	assert_int_equal(virtio_pci_find(&v, bench.dev), OK);
	assert_int_equal(virtio_connect_msix(&v, two_handlers, 2, NULL), OK);
	assert_false(v.irq.message);
	assert_int_equal(virtio_queue_vector(&v, 0), 0xffff);
	assert_no_writes(bench.fake);
	assert_int_equal(fake_log_lines(), 0);
	assert_int_equal(virtio_connect_msix(&v, two_handlers, 1, NULL), OK); /* the twin */
	assert_true(v.irq.message);
	assert_int_equal(virtio_queue_vector(&v, 0), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
	const struct CMUnitTest tests[] = {
		T(the_structures_are_where_the_capabilities_say),
		T(memory_is_switched_on_and_nothing_else),
		T(of_two_capabilities_of_a_type_the_first_counts),
		T(a_transport_without_a_structure_is_absent),
		T(a_capability_that_points_nowhere_is_absent_with_a_line),
		T(a_structure_that_cannot_be_mapped_is_an_error),
		T(a_capability_that_does_not_fit_below_0x100_is_not_read),
		T(a_structure_that_is_too_short_is_refused),
		T(a_reset_waits_until_the_device_says_0),
		T(a_reset_that_is_never_done_times_out_with_a_line),
		T(a_driver_logs_the_inherited_status),
		T(a_reset_of_a_removed_device_ends),
		T(negotiation_follows_the_standards_order),
		T(access_platform_is_accepted_where_it_is_offered),
		T(features_that_the_device_refuses_are_an_error),
		T(a_device_without_version_1_is_refused),
		T(a_queue_is_written_to_the_device),
		T(a_small_queue_stays_small),
		T(a_queue_that_is_none_is_refused_with_a_line),
		T(a_vector_that_the_device_refuses_is_an_error),
		T(a_queue_whose_notifications_go_elsewhere_is_refused),
		T(wherever_memory_runs_out_the_queue_is_not_enabled),
		T(a_buffer_is_one_descriptor),
		T(from_a_queue_that_is_not_set_up_nothing_is_taken),
		T(heads_are_made_available_and_taken_in_order_across_the_wraps),
		T(an_interrupt_is_the_devices_where_isr_is_set),
		T(as_many_vectors_as_handlers_are_taken),
		T(without_msix_no_vector_is_taken),
		T(with_fewer_vectors_than_handlers_none_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
