/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: INTx of a PCI line reaches its handlers, gets exactly one EOI after them, and a line whose interrupts are unhandled is
 * disabled as Linux does. Could be false: a line left edge-triggered that is high already never interrupts; an EOI before the
 * handler interrupts twice; a request that was deasserted comes as input 7 and must get no EOI. Provoked: a model of both
 * controllers with ELCR, which fails the test at an EOI of what is not in service. Each test has lines of its own, since the
 * driver's state lasts. Failure: a count, a mask, or what the model refuses.
 */
#include "irq/i8259.h"
#include "irq/lapic.h"
#include "irq/spurious.h"
#include "lib/time.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

static struct device {
	unsigned int line;
	bool asserts; /* its level */
	bool stuck;   /* its handler does not clear it */
	unsigned int calls;
} a, b;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	fake_x86_reset();
	fake_x86.pm_step = 1;
	time_init(FAKE_PM_TIMER);
	fake_lapic_start();
	assert_int_equal(lapic_init(NULL), OK); /* x2APIC: nothing is mapped */
	fake_i8259_start();
	i8259_init();
	vector_clear_unexpected();
	a = b = (struct device){ 0 };
	fake_x86.irq_on = true;
	return 0;
}

static void set_line(unsigned int line)
{
	fake_irq_line(line, (a.line == line && a.asserts) || (b.line == line && b.asserts));
}

static void raise(struct device *d)
{
	d->asserts = true;
	set_line(d->line);
}

static bool handler(void *context)
{
	struct device *d = context;

	assert_false(fake_x86.irq_on);
	d->calls++;
	if (!d->asserts || d->stuck)
		return false;
	d->asserts = false;
	set_line(d->line);
	return true;
}

/* Nothing in service at either controller. */
static bool all_ended(void)
{
	return !fake_i8259.pic[0].isr && !fake_i8259.pic[1].isr;
}

static void init_programs_both_with_all_lines_masked(void **state)
{
	(void)state;
	assert_int_equal(fake_i8259.pic[0].base, 0x20);
	assert_int_equal(fake_i8259.pic[1].base, 0x28);
	assert_int_equal(fake_i8259.pic[0].cascade, 1 << 2); /* a slave at input 2 */
	assert_int_equal(fake_i8259.pic[1].cascade, 2);
	assert_int_equal(fake_i8259.pic[0].icw, 0);
	for (unsigned int line = 0; line < 16; line++)
		assert_true(fake_irq_masked(line));
}

static void a_request_makes_its_line_level_triggered_and_unmasks_it(void **state)
{
	(void)state;
	fake_i8259.pic[0].elcr = 0x20; /* another owner's */
	assert_int_equal(i8259_request(11, handler, &a), OK);
	assert_true(fake_irq_level_triggered(11));
	assert_true(fake_irq_level_triggered(5));
	for (unsigned int line = 0; line < 16; line++)
		assert_int_equal(fake_irq_masked(line), line != 11 && line != 2);
	i8259_release(11, handler, &a);
	assert_true(fake_irq_masked(11));
}

static void lines_of_isa_devices_are_refused(void **state)
{
	static const u8 lines[] = { 0, 1, 2, 8, 13, 16, 255 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		fake_log_start();
		assert_int_equal(i8259_request(lines[i], handler, &a), ERR_RANGE);
		assert_one_line("edge-only line, not usable by PCI");
	}
	for (unsigned int line = 0; line < 16; line++)
		assert_true(fake_irq_masked(line));
	assert_int_equal(fake_i8259.pic[0].elcr | fake_i8259.pic[1].elcr, 0);
}

static void an_interrupt_is_handled_and_ended_once(void **state)
{
	static const u8 lines[] = { 5, 10 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		a = (struct device){ .line = lines[i] };
		fake_i8259.delivered = 0;
		assert_int_equal(i8259_request(lines[i], handler, &a), OK);
		raise(&a);
		assert_int_equal(a.calls, 1);
		assert_int_equal(fake_i8259.delivered, 1); /* an EOI before the handler would bring it again */
		assert_int_equal(fake_i8259.taken[lines[i]], 1);
		assert_true(all_ended());
		raise(&a);
		assert_int_equal(fake_i8259.taken[lines[i]], 2);
		i8259_release(lines[i], handler, &a);
		raise(&a);
		assert_int_equal(fake_i8259.taken[lines[i]], 2);
		a.asserts = false;
		set_line(lines[i]);
	}
	assert_int_equal(vector_unexpected_count(), 0);
}

/* OVMF and kexec leave ELCR at edge, and a device may have been asserting INTx since long before. */
static void a_line_that_is_high_already_interrupts(void **state)
{
	(void)state;
	a.line = 12;
	raise(&a);
	fake_i8259.pic[1].irr = 0; /* the edge was before i8259_init */
	assert_int_equal(i8259_request(12, handler, &a), OK);
	fake_irq_run();
	assert_int_equal(a.calls, 1);
	/* The twin: at edge, it would not. */
	a.calls = 0;
	fake_x86.irq_on = false;
	raise(&a);
	fake_i8259.pic[1].elcr = 0;
	fake_i8259.pic[1].irr = 0;
	fake_x86.irq_on = true;
	fake_irq_run();
	assert_int_equal(a.calls, 0);
	i8259_release(12, handler, &a);
}

static void a_shared_line_calls_every_handler(void **state)
{
	(void)state;
	a.line = b.line = 9;
	assert_int_equal(i8259_request(9, handler, &a), OK);
	assert_int_equal(i8259_request(9, handler, &b), OK);
	raise(&b);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 1);
	i8259_release(9, handler, &a);
	assert_false(fake_irq_masked(9)); /* b still needs it */
	raise(&b);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 2);
	/* Again, which changes nothing: neither of one that was the first, nor of one that was the last. */
	i8259_release(9, handler, &a);
	assert_false(fake_irq_masked(9));
	assert_int_equal(i8259_request(9, handler, &a), OK);
	i8259_release(9, handler, &a);
	i8259_release(9, handler, &a);
	raise(&b);
	assert_int_equal(b.calls, 3);
	i8259_release(9, handler, &b);
	assert_true(fake_irq_masked(9));
}

static void more_handlers_than_there_is_room_for_are_refused(void **state)
{
	unsigned int n = 0;
	enum status s;

	(void)state;
	while (n < 100 && (s = i8259_request(4, handler, &a)) == OK)
		n++;
	assert_int_equal(s, ERR_RANGE);
	assert_one_line("handlers share it already");
	while (n--)
		i8259_release(4, handler, &a);
	assert_true(fake_irq_masked(4));
}

/*
 * 8259A data sheet: a request that is withdrawn before INTA comes as input 7, with nothing in service. The model fails at a wrong
 * EOI.
 */
static void a_request_that_was_withdrawn_is_not_an_interrupt(void **state)
{
	(void)state;
	a.line = 7;
	b.line = 15;
	assert_int_equal(i8259_request(7, handler, &a), OK);
	assert_int_equal(i8259_request(15, handler, &b), OK);
	fake_x86.irq_on = false;
	for (unsigned int i = 0; i <= SPURIOUS_WINDOW; i++) {
		fake_irq_glitch(7);
		fake_irq_glitch(15);
	}
	assert_int_equal(a.calls + b.calls, 0);
	assert_false(i8259_line_disabled(7) || i8259_line_disabled(15)); /* there was nothing to be handled */
	assert_true(all_ended());					 /* the master's cascade was in service, and was ended */
	/* The twins: real ones on the same lines count. */
	fake_x86.irq_on = true;
	raise(&a);
	raise(&b);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 1);
	assert_true(all_ended());
	i8259_release(7, handler, &a);
	i8259_release(15, handler, &b);
}

/* Linux allocates vectors from 0x21 on, so after a crash its messages may come on those that the 8259 has here. */
static void a_message_on_a_lines_vector_is_unexpected_and_gets_its_eoi_where_it_came_from(void **state)
{
	(void)state;
	a.line = 6;
	assert_int_equal(i8259_request(6, handler, &a), OK);
	fake_lapic_message(0xfee00000, VECTOR_8259 + 6);
	assert_int_equal(a.calls, 0);
	assert_int_equal(vector_unexpected_count(), 1);
	assert_int_equal(fake_lapic.eois, 1);
	assert_false(fake_lapic_busy());
	raise(&a); /* the twin: the line's own interrupt has the same vector, and is ended at the 8259 */
	assert_int_equal(a.calls, 1);
	assert_int_equal(vector_unexpected_count(), 1);
	assert_int_equal(fake_lapic.eois, 1);
	assert_true(all_ended());
	i8259_release(6, handler, &a);
}

static void a_line_whose_interrupts_are_unhandled_is_disabled_after_100000(void **state)
{
	(void)state;
	fake_x86.pm_step = 0;
	a.line = 14;
	b.line = 6;
	a.stuck = true;
	assert_int_equal(i8259_request(14, handler, &a), OK);
	assert_int_equal(i8259_request(6, handler, &b), OK);
	raise(&a);
	assert_int_equal(a.calls, 100000);
	assert_int_equal(fake_i8259.taken[14], 100000);
	for (u8 line = 0; line < I8259_LINES; line++)
		assert_int_equal(i8259_line_disabled(line), line == 14);
	assert_true(fake_irq_masked(14));
	assert_true(all_ended());
	assert_one_line("irq 14: nobody cared, 100000 interrupts; line disabled");
	/* Others continue; the line stays disabled, whichever handler is added. */
	raise(&b);
	assert_int_equal(b.calls, 1);
	assert_int_equal(i8259_request(14, handler, &b), OK);
	assert_true(fake_irq_masked(14));
	i8259_mask_all();
	for (u8 line = 0; line < I8259_LINES; line++)
		assert_int_equal(i8259_line_disabled(line), line == 14);
	i8259_release(14, handler, &a);
	i8259_release(14, handler, &b);
	i8259_release(6, handler, &b);
}

static void mask_all_masks_every_line(void **state)
{
	(void)state;
	assert_int_equal(i8259_request(3, handler, &a), OK);
	i8259_mask_all();
	for (unsigned int line = 0; line < 16; line++)
		assert_true(fake_irq_masked(line));
	a.line = 3;
	raise(&a);
	assert_int_equal(a.calls, 0);
	i8259_release(3, handler, &a);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(init_programs_both_with_all_lines_masked),
		T(a_request_makes_its_line_level_triggered_and_unmasks_it),
		T(lines_of_isa_devices_are_refused),
		T(an_interrupt_is_handled_and_ended_once),
		T(a_line_that_is_high_already_interrupts),
		T(a_shared_line_calls_every_handler),
		T(more_handlers_than_there_is_room_for_are_refused),
		T(a_request_that_was_withdrawn_is_not_an_interrupt),
		T(a_message_on_a_lines_vector_is_unexpected_and_gets_its_eoi_where_it_came_from),
		T(a_line_whose_interrupts_are_unhandled_is_disabled_after_100000),
		T(mask_all_masks_every_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
