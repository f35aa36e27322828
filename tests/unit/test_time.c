/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: time_us counts microseconds by the PM timer or by the 8254, across the wraps of either.
 * Could be false: the PM timer has 24 bits and what is above may be anything; the 8254 counts down, is latched, and read in halves.
 * Provoked: counters set by hand, no time passes. The expected microseconds come from the frequencies that ACPI (3.579545 MHz) and
 * the PC (1.193182 MHz) define.
 * Failure: another number of microseconds, or a port written that is not the 8254's.
 */
#include "lib/time.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define PM_HZ  3579545ULL
#define PIT_HZ 1193182ULL

static int begin(void **state)
{
	(void)state;
	fake_x86_reset();
	fake_x86.pm_step = 0;
	return 0;
}

/* time_init has to see it count; afterwards it stays at what time_init read last. */
static void init_pm_timer(u32 value)
{
	fake_x86.pm_timer = value;
	fake_x86.pm_step = 1;
	time_init(FAKE_PM_TIMER);
	fake_x86.pm_step = 0;
	fake_x86.pm_timer--;
}

static void the_pm_timer_counts_from_init(void **state)
{
	(void)state;
	init_pm_timer(0x123456);
	assert_string_equal(time_source(), "ACPI PM timer");
	assert_int_equal(time_us(), 0);
	fake_x86.pm_timer += 3579545; /* a second */
	assert_int_equal(time_us(), 1000000);
	fake_x86.pm_timer += 4;
	assert_int_equal(time_us(), 1000001);
}

static void the_pm_timer_wraps_at_24_bits(void **state)
{
	u64 ticks = 0;

	(void)state;
	init_pm_timer(0x00fffff0);
	for (unsigned int i = 0; i < 100; i++) {
		fake_x86.pm_timer = (fake_x86.pm_timer + 0xfedcba) & 0xffffff; /* almost one wrap */
		ticks += 0xfedcba;
		assert_int_equal(time_us(), ticks * 1000000 / PM_HZ);
	}
}

static void bits_above_24_are_not_used(void **state)
{
	(void)state;
	init_pm_timer(0xab000000);
	fake_x86.pm_timer = 0x5c000000 + (fake_x86.pm_timer & 0xffffff) + 3579545;
	assert_int_equal(time_us(), 1000000);
}

static void a_deadline_passes_when_its_time_has_come(void **state)
{
	struct deadline d;

	(void)state;
	init_pm_timer(0);
	d = deadline_after_us(1000);
	assert_false(deadline_passed(&d));
	fake_x86.pm_timer += 3579; /* 999.8 us */
	assert_false(deadline_passed(&d));
	fake_x86.pm_timer += 1;
	assert_true(deadline_passed(&d));
}

static void interrupts_are_as_before(void **state)
{
	(void)state;
	init_pm_timer(0);
	fake_x86.irq_on = true;
	time_us();
	assert_true(fake_x86.irq_on);
}

/* Counter 2 of an 8254 (Intel data sheet): counts down from the loaded value, 0 meaning 0x10000, and starts again. */
static struct {
	u8 gate;
	u8 control;
	u32 count;
	u32 latched;
	bool is_latched;
	bool high_next;
	bool loaded;
} pit;

static u32 pit_in(u16 port, unsigned int size)
{
	u32 value = pit.is_latched ? pit.latched : pit.count;

	assert_int_equal(size, 1);
	if (port == 0x61)
		return pit.gate;
	assert_int_equal(port, 0x42);
	assert_true(pit.is_latched); /* it counts on between its two halves */
	pit.high_next = !pit.high_next;
	if (pit.high_next)
		return value & 0xff;
	pit.is_latched = false;
	return value >> 8 & 0xff;
}

static void pit_out(u16 port, unsigned int size, u32 value)
{
	assert_int_equal(size, 1);
	if (port == 0x61) {
		pit.gate = (u8)value;
	} else if (port == 0x42) {
		pit.count = pit.high_next ? (pit.count & 0xff) | value << 8 : value;
		pit.loaded = pit.high_next;
		pit.high_next = !pit.high_next;
	} else if ((value & 0x30) == 0) { /* latch */
		assert_int_equal(value & 0xc0, 0x80);
		pit.latched = pit.count;
		pit.is_latched = true;
	} else {
		pit.control = (u8)value;
		pit.high_next = false;
	}
}

static const struct fake_ports pit_ports = { 0x42, 0x43, pit_in, pit_out }, gate_port = { 0x61, 0x61, pit_in, pit_out };

static void begin_8254(u16 pm_timer_port)
{
	memset(&pit, 0, sizeof(pit));
	pit.gate = 0xfe; /* gate shut, speaker on, the rest another owner's */
	fake_x86_claim(&pit_ports);
	fake_x86_claim(&gate_port);
	time_init(pm_timer_port);
}

static void pit_runs(u32 ticks)
{
	pit.count = (pit.count - ticks) & 0xffff;
}

static void without_a_pm_timer_counter_2_of_the_8254_runs(void **state)
{
	(void)state;
	begin_8254(0);
	assert_string_equal(time_source(), "8254 counter 2");
	assert_int_equal(pit.gate, 0xfd);					 /* gate open, speaker off, the rest as it was */
	assert_int_equal(pit.control & 0xf0, 0xb0);				 /* counter 2, low byte then high byte */
	assert_true((pit.control >> 1 & 7) == 2 || (pit.control >> 1 & 7) == 3); /* starts again by itself */
	assert_false(pit.control & 1);						 /* binary */
	assert_true(pit.loaded);
	assert_int_equal(pit.count, 0);
}

/* Firmware may have stopped the timer that its own table names: no wait would end. */
static void a_pm_timer_that_is_stopped_is_not_used(void **state)
{
	volatile u32 reads = 0;

	(void)state;
	fake_x86.pm_reads = &reads;
	begin_8254(FAKE_PM_TIMER);
	assert_string_equal(time_source(), "8254 counter 2");
	assert_true(pit.loaded);
	assert_uint_in_range(reads, 2, 100000);
	pit_runs(1193);
	assert_int_equal(time_us(), 1193 * 1000000ULL / PIT_HZ);
}

static void the_8254_counts_down_and_wraps(void **state)
{
	u64 ticks = 0;

	(void)state;
	begin_8254(0);
	for (unsigned int i = 0; i < 100; i++) {
		pit_runs(0xfabc);
		ticks += 0xfabc;
		assert_int_equal(time_us(), ticks * 1000000 / PIT_HZ);
	}
}

/* The twin of both: a counter that went the other way gives another time. */
static void the_direction_is_seen(void **state)
{
	(void)state;
	begin_8254(0);
	pit_runs((u32)-1000);
	assert_int_not_equal(time_us(), 1000 * 1000000ULL / PIT_HZ);
	begin(state);
	init_pm_timer(1000);
	fake_x86.pm_timer -= 1000;
	assert_int_not_equal(time_us(), 1000 * 1000000ULL / PM_HZ);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(the_pm_timer_counts_from_init),
		T(the_pm_timer_wraps_at_24_bits),
		T(bits_above_24_are_not_used),
		T(a_deadline_passes_when_its_time_has_come),
		T(interrupts_are_as_before),
		T(without_a_pm_timer_counter_2_of_the_8254_runs),
		T(a_pm_timer_that_is_stopped_is_not_used),
		T(the_8254_counts_down_and_wraps),
		T(the_direction_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
