/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a line is disabled exactly when Linux disables it (kernel/irq/spurious.c, note_interrupt): of 100,000 interrupts more than
 * 99,900 unhandled; an unhandled one that comes more than 100 ms after the last begins the count again. Could be false: off by one
 * at either number, or handled interrupts that are not counted at all. Provoked: both sides of each number, and random sequences
 * against a model that is written from Linux's description. Failure: disabled too early, too late, or not at all.
 */
#include "irq/spurious.h"
#include "tests/unit/unit.h"

/* Notes n interrupts 1 us apart; how many were noted when the line was disabled, 0 where it was not. */
static unsigned int note(struct spurious *s, bool handled, unsigned int n, u64 *now)
{
	for (unsigned int i = 1; i <= n; i++)
		if (spurious_note(s, handled, (*now)++))
			return i;
	return 0;
}

static void the_100000th_unhandled_one_is_the_last(void **state)
{
	struct spurious s = { 0 };
	u64 now = 5000000;

	(void)state;
	assert_int_equal(note(&s, false, 200000, &now), 100000);
	assert_true(s.disabled);
}

static void more_than_99900_of_100000_are_too_many(void **state)
{
	struct spurious s = { 0 };
	u64 now = 5000000;

	(void)state;
	assert_int_equal(note(&s, false, 1, &now), 0);
	assert_int_equal(note(&s, true, 99, &now), 0);
	assert_int_equal(note(&s, false, 200000, &now), 99900); /* 99,901 unhandled */
}

static void exactly_99900_of_100000_are_not(void **state)
{
	struct spurious s = { 0 };
	u64 now = 5000000;

	(void)state;
	assert_int_equal(note(&s, false, 1, &now), 0);
	assert_int_equal(note(&s, true, 100, &now), 0);
	assert_int_equal(note(&s, false, 99899, &now), 0);
	assert_false(s.disabled);
	/* The next window counts from the beginning. */
	assert_int_equal(note(&s, false, 200000, &now), 100000);
}

static void a_line_that_is_handled_is_never_disabled(void **state)
{
	struct spurious s = { 0 };
	u64 now = 5000000;

	(void)state;
	assert_int_equal(note(&s, true, 300000, &now), 0);
}

static void a_gap_begins_the_count_again(void **state)
{
	struct spurious s = { 0 };
	u64 now = 5000000;

	(void)state;
	assert_int_equal(note(&s, false, 60000, &now), 0);
	now += 100001;
	assert_int_equal(note(&s, false, 40000, &now), 0); /* the window of 100,000 is over, with 40,000 counted */
	/* A gap of exactly 100 ms is none. */
	s = (struct spurious){ 0 };
	assert_int_equal(note(&s, false, 60000, &now), 0);
	now += 100000 - 1; /* note() has added 1 already */
	assert_int_equal(note(&s, false, 40000, &now), 40000);
}

/* Linux's note_interrupt, with jiffies as microseconds. */
struct linux_desc {
	u64 last_unhandled;
	unsigned int irqs_unhandled, irq_count;
};

static bool linux_note_interrupt(struct linux_desc *desc, bool handled, u64 now)
{
	bool bad;

	if (!handled) {
		if (now > desc->last_unhandled + 100000)
			desc->irqs_unhandled = 1;
		else
			desc->irqs_unhandled++;
		desc->last_unhandled = now;
	}
	if (!desc->irqs_unhandled)
		return false;
	desc->irq_count++;
	if (desc->irq_count < 100000)
		return false;
	desc->irq_count = 0;
	bad = desc->irqs_unhandled > 99900;
	desc->irqs_unhandled = 0;
	return bad;
}

/* Whether both decide alike over a sequence; one in `handled_in` is handled, one in `gap_in` comes late. */
static bool alike(u64 seed, unsigned int handled_in, unsigned int gap_in, unsigned int threshold_shift)
{
	struct prng prng = { seed };
	struct spurious ours = { 0 };
	struct linux_desc theirs = { 0 };
	u64 now = 1000000;

	for (unsigned int i = 0; i < 250000; i++) {
		bool handled = prng_below(&prng, handled_in) == 0;

		now += prng_below(&prng, gap_in) == 0 ? 100001 : 1;
		if (spurious_note(&ours, handled, now) != linux_note_interrupt(&theirs, handled && i >= threshold_shift, now))
			return false;
	}
	return true;
}

static void decisions_are_as_linux_makes_them(void **state)
{
	(void)state;
	assert_true(alike(1, 900, 1000000, 0));
	assert_true(alike(2, 1000, 1000000, 0));
	assert_true(alike(3, 1100, 1000000, 0));
	assert_true(alike(4, 2, 50, 0));
	assert_true(alike(5, 1000000, 100000, 0));
	/* The twin: a model that misses handled interrupts in the beginning decides otherwise. */
	assert_false(alike(1, 900, 1000000, 200000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_100000th_unhandled_one_is_the_last),
		cmocka_unit_test(more_than_99900_of_100000_are_too_many),
		cmocka_unit_test(exactly_99900_of_100000_are_not),
		cmocka_unit_test(a_line_that_is_handled_is_never_disabled),
		cmocka_unit_test(a_gap_begins_the_count_again),
		cmocka_unit_test(decisions_are_as_linux_makes_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
