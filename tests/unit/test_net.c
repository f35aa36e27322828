/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the virtio-net driver keeps all its receive buffers with the device from DRIVER_OK on, sends one ARP probe for 10.0.2.2
 * (RFC 826, RFC 5227), takes only an ARP reply from there as the answer, and gives each buffer back whatever came in it. Could be
 * false: a frame may be cut short, be another's, or be no ARP at all; the device may report that it wrote nothing, or more than the
 * buffer holds, or complete what was never made available; interrupts of two queues come in either order, on two vectors or one
 * line. Provoked: the device of fake_virtio.c, a peer that answers, or answers wrongly, and one fault at a time. Failure: other
 * bytes on the wire, a buffer that is missing, an answer that is none, or a line that does not say what happened. What virtio
 * drivers have in common is in test_virtio_drivers.c.
 */
#include "drivers/virtio/net.h"
#include "irq/i8259.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_virtio.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define RX	0
#define TX	1
#define FRAME	1514 /* the longest without offloads */
#define SILENCE "0000:00:05.0 virtio-net: no answer to ARP within 1000 ms, 0 of 1"
#define IS_AT	"0000:00:05.0 virtio-net: 10.0.2.2 is at 52:55:0a:00:02:02"

/*
 * virtio 1.2, 5.1.6: header. Ethernet: to all, ARP. RFC 826: Ethernet, IPv4, 6, 4, request. RFC 5227, 2.1.1: the sender's hardware
 * address, no IP address yet, no target hardware address, 10.0.2.2. The rest fills Ethernet's minimum of 60.
 */
static const u8 probe[72] = {
	0,    0,    0,	  0,	0,    0,    0,	  0,	0, 0, 0, 0, /* header */
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff,			    /* destination */
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56,			    /* source */
	0x08, 0x06,						    /* EtherType */
	0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01,		    /* hrd, pro, hln, pln, op */
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56,			    /* sha */
	0x00, 0x00, 0x00, 0x00,					    /* spa */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00,			    /* tha */
	0x0a, 0x00, 0x02, 0x02,					    /* tpa */
};

/* A reply from another address than the one in it. */
static const u8 reply[42] = {
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56,		/* destination */
	0x02, 0x00, 0x00, 0x00, 0x00, 0x99,		/* source */
	0x08, 0x06,					/* EtherType */
	0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x02, /* hrd, pro, hln, pln, op */
	0x52, 0x55, 0x0a, 0x00, 0x02, 0x02,		/* sha */
	0x0a, 0x00, 0x02, 0x02,				/* spa */
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56,		/* tha */
	0x00, 0x00, 0x00, 0x00,				/* tpa */
};

static struct fake_virtio *device;
static u16 buffers; /* that the driver offers */

static int begin(void **state)
{
	(void)state;
	bench_begin();
	device = fake_virtio_new(bench.fake, BENCH_BDF, FAKE_NET);
	bench_attach(&virtio_net_driver);
	return 0;
}

static enum status bring_up(void)
{
	enum status s = bench_bring_up();

	buffers = fake_virtio_available(device, RX);
	return s;
}

static void answer(struct fake_virtio *v)
{
	fake_virtio_receive(v, reply, sizeof(reply), FAKE_NET_HEADER + sizeof(reply));
}

/* Each buffer is with the device once, has room for the longest frame (5.1.6.3.1), and none overlap. */
static bool all_buffers_offered(void)
{
	for (u16 i = 0; i < buffers; i++) {
		u16 head = fake_virtio_head(device, RX, i);

		if (head >= device->queue[RX].size || fake_virtio_length(device, RX, head) < FAKE_NET_HEADER + FRAME)
			return false;
		for (u16 j = 0; j < i; j++) {
			u16 other = fake_virtio_head(device, RX, j);
			u64 a = fake_virtio_buffer(device, RX, head), o = fake_virtio_buffer(device, RX, other);

			if (a < o + fake_virtio_length(device, RX, other) && o < a + fake_virtio_length(device, RX, head))
				return false;
		}
	}
	return buffers && fake_virtio_available(device, RX) == buffers;
}

/* --- buffers --- */

static bool offered_before;

static void watch(struct fake_pci *fake, const struct fake_access *access)
{
	if (access->kind != FAKE_MEM_WRITE || access->where != FAKE_VIRTIO_STATUS || !(access->value & 0x04))
		return;
	fake->watch = NULL;
	buffers = fake_virtio_available(device, RX);
	offered_before = all_buffers_offered() && !device->queue[RX].notified;
	answer(device);
}

/* 3.1.1: the queue is filled before DRIVER_OK, the device is notified afterwards; it may have taken a buffer by then. */
static void buffers_are_offered_before_a_frame_can_come(void **state)
{
	(void)state;
	offered_before = false;
	bench.fake->watch = watch;
	assert_int_equal(bring_up(), OK);
	assert_true(offered_before);
	assert_true(all_buffers_offered());
	assert_int_equal(device->queue[RX].notified, 2); /* of one again, and of all */
	assert_int_equal(device->queue[TX].notified, 0);
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(": 1 frames out, 1 in"));
	/* The twins: one is missing; one is there twice, and another is not. */
	device->queue[RX].seen++;
	assert_false(all_buffers_offered());
	device->queue[RX].seen--;
	((u16 *)(uintptr_t)device->queue[RX].ring[1])[2 + device->queue[RX].seen] ^= 1;
	assert_false(all_buffers_offered());
}

/* More frames than there are buffers and entries in the rings. */
static void a_buffer_that_came_back_is_offered_again(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	for (unsigned int i = 1; i <= 100; i++) {
		answer(device);
		assert_true(all_buffers_offered());
		assert_int_equal(device->queue[RX].notified, 1 + i);
	}
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(": 1 frames out, 100 in"));
}

/* Frames that came during no interrupt are taken with one, and the device is notified once. */
static void several_frames_can_come_with_one_interrupt(void **state)
{
	char expected[32];

	(void)state;
	assert_int_equal(bring_up(), OK);
	device->silent = true;
	for (unsigned int i = 0; i < buffers - 1U; i++)
		answer(device);
	device->silent = false;
	answer(device);
	assert_true(all_buffers_offered());
	assert_int_equal(device->queue[RX].notified, 2);
	assert_int_equal(bench_work(false), OK);
	snprintf(expected, sizeof(expected), ": 1 frames out, %u in", buffers);
	assert_true(fake_log_has(expected));
}

static void a_small_queue_gets_as_many_buffers_as_it_has_room_for(void **state)
{
	(void)state;
	device->queue_max = 4;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(buffers, 4);
	assert_int_equal(bench_in_flight(), 4);
	fake_virtio_ghosts(device, RX, 60); /* buffers that are not there */
	assert_int_equal(fake_virtio_available(device, RX), 4);
	device->peer = answer;
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(IS_AT));
}

/* --- the wire --- */

static void the_probe_is_rfc_5227s_and_its_answer_is_taken(void **state)
{
	(void)state;
	device->peer = answer;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(device->writes, 0);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(device->writes, 1);
	assert_int_equal(device->sent_size, sizeof(probe));
	assert_memory_equal(device->sent, probe, sizeof(probe));
	assert_int_equal(fake_log_lines(), 2);
	assert_true(fake_log_has("0000:00:05.0 virtio-net: 52:54:00:12:34:56 link up, MSI-X vector 0x"));
	assert_true(fake_log_has(": 1 frames out, 1 in"));
	assert_true(fake_log_has(IS_AT));
	assert_int_equal(fake_lapic.delivered, 2);
	assert_int_equal(fake_lapic.eois, 2);
}

/* 5.1.5: its own then, locally administered and no group's (IEEE 802). */
static void a_device_without_an_address_gets_one(void **state)
{
	(void)state;
	device->features &= ~(1ULL << 5); /* VIRTIO_NET_F_MAC */
	assert_int_equal(bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(device->sent[18] & 0x03, 0x02);
	assert_memory_equal(device->sent + 18, device->sent + 34, 6); /* source and sender */
	assert_true(fake_log_has("02:00:00:00:00:01 link up"));
}

static void no_reply_is_required(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(fake_log_lines(), 2);
	assert_string_equal(fake_log_line(0), SILENCE);
	assert_true(fake_log_has("link up, MSI-X vector 0x"));
	assert_true(fake_log_has(": 1 frames out, 0 in"));
	assert_true(all_buffers_offered());
}

static void with_the_link_down_nothing_is_sent(void **state)
{
	(void)state;
	device->link = 0xfffe;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_one_line("0000:00:05.0 virtio-net: 52:54:00:12:34:56 link down");
	assert_int_equal(bench_arm(), OK);
	assert_int_equal(device->writes, 0);
	assert_int_equal(device->queue[TX].notified, 0);
	assert_int_equal(bench_in_flight(), buffers);
}

/* 5.1.4.2: without the feature the link is up, and there is no such field: the device fails the test if it is read. */
static void a_device_without_link_status_has_the_link_up(void **state)
{
	(void)state;
	device->features &= ~(1ULL << 16); /* VIRTIO_NET_F_STATUS */
	device->link = 0;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(device->writes, 1);
}

/* --- what is no reply --- */

static void a_frame_that_is_no_reply_from_there_is_not_taken_for_one(void **state)
{
	static const struct {
		u32 size;
		u8 offset, value;
	} rows[] = {
		{ 42, 12, 0x86 }, { 42, 13, 0x00 },				     /* EtherType */
		{ 42, 14, 1 },	  { 42, 15, 6 },    { 42, 16, 0x86 }, { 42, 17, 6 }, /* hrd, pro */
		{ 42, 18, 8 },	  { 42, 19, 16 },   { 42, 20, 1 },		     /* hln, pln, op */
		{ 42, 21, 1 },	  { 42, 21, 0 },    { 42, 21, 3 },		     /* op: request, none, RARP's */
		{ 42, 28, 11 },	  { 42, 29, 1 },    { 42, 30, 3 },		     /* spa */
		{ 42, 31, 1 },	  { 42, 31, 0x82 },				     /* spa */
		{ 41, 0, 0x52 },  { 14, 0, 0x52 },  { 1, 0, 0x52 },		     /* cut short, by the length in the used ring */
	};
	char frames[32];

	(void)state;
	assert_int_equal(bring_up(), OK);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		u8 frame[42];

		memcpy(frame, reply, sizeof(frame));
		frame[rows[i].offset] = rows[i].value;
		fake_virtio_receive(device, frame, sizeof(frame), FAKE_NET_HEADER + rows[i].size);
		assert_true(all_buffers_offered());
	}
	assert_int_equal(bench_work(false), OK);
	assert_string_equal(fake_log_line(0), SILENCE);
	snprintf(frames, sizeof(frames), "%zu in", ARRAY_SIZE(rows));
	assert_true(fake_log_has(frames));
	assert_false(fake_log_has("is at"));
	/* The twin: the same frame, as it is. */
	fake_log_start();
	answer(device);
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(IS_AT));
}

/* The bytes in the buffer are a reply's each time; the length in the used ring is impossible. */
static void a_length_that_cannot_be_is_no_frame(void **state)
{
	u32 expected[] = { 0, 1, FAKE_NET_HEADER - 1, FAKE_NET_HEADER, 0, 0x10000 + 54, 0xffffffff }, room;

	(void)state;
	assert_int_equal(bring_up(), OK);
	room = fake_virtio_length(device, RX, fake_virtio_head(device, RX, 0));
	expected[4] = room + 1;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		fake_virtio_receive(device, reply, sizeof(reply), expected[i]);
		assert_true(all_buffers_offered());
		assert_int_equal(device->queue[RX].notified, 2 + i);
	}
	assert_int_equal(bench_work(false), OK);
	assert_string_equal(fake_log_line(0), SILENCE);
	assert_true(fake_log_has(": 1 frames out, 0 in"));
	/* The twin: all of the buffer. */
	fake_log_start();
	fake_virtio_receive(device, reply, sizeof(reply), room);
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(": 2 frames out, 1 in"));
	assert_true(fake_log_has(IS_AT));
}

/* --- what was never made available --- */

static void a_buffer_that_was_never_offered_is_not_used(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	fake_virtio_ghosts(device, RX, FAKE_NET_HEADER + sizeof(reply));
	assert_true(all_buffers_offered());
	assert_int_equal(device->queue[RX].notified, 1); /* nothing was offered, so there is no notification */
	device->peer = answer;
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(": 1 frames out, 1 in"));
	assert_true(fake_log_has(IS_AT));
}

/* While the driver waits for another. */
static void ghosts(unsigned int looks)
{
	if (looks == 2)
		fake_virtio_ghosts(device, TX, 0);
}

static void a_frame_that_was_never_sent_is_not_counted(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	fake_virtio_ghosts(device, TX, 0);
	device->hold = true;
	fake_x86_tick(ghosts);
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_one_line("0000:00:05.0 virtio-net: no transmitted frame within 1000 ms, 0 of 1");
	assert_int_equal(bench_in_flight(), buffers + 1);
	fake_virtio_run(device);
	fake_virtio_used(device, TX, device->queue[TX].taken, 0); /* and once more than it was */
	assert_int_equal(bench_in_flight(), buffers);
	device->hold = false;
	fake_log_start();
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(": 2 frames out, 0 in"));
}

/* --- interrupts --- */

/* The driver has seen neither when it begins to wait; the answer is there before the frame has come back, and after. */
static void the_answer_before_the_frame(unsigned int looks)
{
	if (looks == 3)
		answer(device);
	if (looks == 6)
		fake_virtio_run(device);
}

static void the_frame_before_the_answer(unsigned int looks)
{
	if (looks == 3)
		fake_virtio_run(device);
	if (looks == 9)
		answer(device);
}

static void frame_and_answer_come_in_either_order(void **state)
{
	void (*const orders[])(unsigned int) = { the_answer_before_the_frame, the_frame_before_the_answer };

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		assert_int_equal(bring_up(), OK);
		device->hold = true;
		fake_x86_tick(orders[i]);
		assert_int_equal(bench_work(false), OK);
		assert_int_equal(fake_log_lines(), 2);
		assert_true(fake_log_has(": 1 frames out, 1 in"));
		assert_true(fake_log_has(IS_AT));
		bench_end(state);
		begin(state);
	}
}

/* On each queue's interrupt the driver reads that queue; so a frame whose interrupt is missing stays where it is. */
static void each_vector_is_its_queues(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	device->silent = true;
	answer(device);
	device->silent = false;
	assert_int_equal(bench_work(false), OK);
	assert_string_equal(fake_log_line(0), SILENCE);
	assert_int_equal(fake_virtio_available(device, RX), buffers - 1);
	answer(device);
	assert_true(all_buffers_offered());
}

static void answer_with_the_only_interrupt(struct fake_virtio *v)
{
	v->silent = false;
	answer(v);
}

/* One line for both: whichever queue raised it, both are read. */
static void without_msix_one_line_serves_both_queues(void **state)
{
	u8 line = bench_intx();
	char expected[64];

	(void)state;
	assert_int_equal(bring_up(), OK);
	device->silent = true;
	device->peer = answer_with_the_only_interrupt;
	assert_int_equal(bench_work(false), OK);
	snprintf(expected, sizeof(expected), "link up, INTx irq 0x%02x: 1 frames out, 1 in", line);
	assert_true(fake_log_has(expected));
	assert_true(fake_log_has(IS_AT));
	assert_int_equal(fake_i8259.taken[line], 1);
	/* The other way round. */
	device->peer = NULL;
	device->silent = true;
	answer(device);
	device->silent = false;
	fake_log_start();
	assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(": 2 frames out, 2 in"));
	assert_int_equal(fake_i8259.taken[line], 2);
	/* A transmitted frame alone is no reason to notify the device of buffers. */
	assert_int_equal(device->queue[RX].notified, 3);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(device->queue[RX].notified, 3);
	/* An interrupt of another: ISR says 0, and what is in the queues waits for its own. */
	device->silent = true;
	answer(device);
	fake_irq_line(line, true);
	assert_int_equal(fake_i8259.taken[line], 4);
	assert_int_equal(fake_virtio_available(device, RX), buffers - 1);
}

/* A table of one entry; INTx disabled, as a kernel leaves it that used MSI-X all the same. */
static void with_too_few_vectors_intx_does_it(void **state)
{
	u8 line = bench_line();
	char expected[64];

	(void)state;
	bench.dev->inherited.msix_flags = 0;
	fake_set(device->fn, FAKE_BLK_MSIX + 2, 2, 0);
	fake_set(device->fn, PCI_COMMAND, 2, 0x0407);
	device->peer = answer;
	assert_int_equal(bring_up(), OK);
	assert_true(fake_virtio_in_order(device));
	assert_int_equal(device->queue[RX].vector, 0xffff);
	assert_int_equal(device->queue[TX].vector, 0xffff);
	assert_int_equal(fake_get(device->fn, PCI_COMMAND, 2), 0x0007);
	assert_int_equal(bench_work(false), OK);
	snprintf(expected, sizeof(expected), "link up, INTx irq 0x%02x: 1 frames out, 1 in", line);
	assert_true(fake_log_has(expected));
	assert_true(fake_log_has(IS_AT));
	assert_int_equal(fake_i8259.taken[line], 2);
	assert_int_equal(fake_lapic.delivered, 0);
	for (unsigned int i = 0; i < bench.fake->logged; i++) { /* MSI-X stays as it is */
		const struct fake_access *a = &bench.fake->log[i];

		assert_false(fake_is_write(a) && a->kind == FAKE_CFG_WRITE && a->where == FAKE_BLK_MSIX + 2);
		assert_false(a->kind != FAKE_CFG_READ && a->kind != FAKE_CFG_WRITE && a->where - FAKE_BLK_MSIX_BAR < 0x1000);
	}
}

/* One buffer over and over: as many as there are entries, and the rest with the next interrupt. */
static void a_used_ring_that_runs_away_is_followed_for_one_pass(void **state)
{
	u16 size;

	(void)state;
	assert_int_equal(bring_up(), OK);
	size = device->queue[RX].size;
	device->silent = true;
	for (u16 i = 0; i < 3 * size; i++)
		fake_virtio_used(device, RX, fake_virtio_head(device, RX, 0), 60);
	device->silent = false;
	for (u16 round = 1; round <= 4; round++) {
		fake_virtio_message(device, device->queue[RX].vector);
		assert_int_equal(fake_virtio_available(device, RX), buffers + MIN(round, 3) * size);
		assert_int_equal(device->queue[RX].notified, 1 + MIN(round, 3));
	}
}

/* --- in flight --- */

static void buffers_and_one_more_frame_are_in_flight(void **state)
{
	(void)state;
	device->peer = answer;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(bench_in_flight(), buffers);
	device->hold = true;
	assert_int_equal(bench_arm(), OK);
	assert_int_equal(bench_arm(), OK); /* one is enough */
	assert_int_equal(fake_virtio_available(device, TX), 1);
	assert_int_equal(bench_in_flight(), buffers + 1);
	fake_virtio_run(device);
	assert_int_equal(device->writes, 2);
	assert_memory_equal(device->sent, probe, sizeof(probe));
	assert_int_equal(bench_in_flight(), buffers);
	assert_true(all_buffers_offered());
	assert_int_equal(bench_arm(), OK); /* and is sent again */
	assert_int_equal(bench_in_flight(), buffers + 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
	const struct CMUnitTest tests[] = {
		T(buffers_are_offered_before_a_frame_can_come),
		T(a_buffer_that_came_back_is_offered_again),
		T(several_frames_can_come_with_one_interrupt),
		T(a_small_queue_gets_as_many_buffers_as_it_has_room_for),
		T(the_probe_is_rfc_5227s_and_its_answer_is_taken),
		T(a_device_without_an_address_gets_one),
		T(no_reply_is_required),
		T(with_the_link_down_nothing_is_sent),
		T(a_device_without_link_status_has_the_link_up),
		T(a_frame_that_is_no_reply_from_there_is_not_taken_for_one),
		T(a_length_that_cannot_be_is_no_frame),
		T(a_buffer_that_was_never_offered_is_not_used),
		T(a_frame_that_was_never_sent_is_not_counted),
		T(frame_and_answer_come_in_either_order),
		T(each_vector_is_its_queues),
		T(without_msix_one_line_serves_both_queues),
		T(with_too_few_vectors_intx_does_it),
		T(a_used_ring_that_runs_away_is_followed_for_one_pass),
		T(buffers_and_one_more_frame_are_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
