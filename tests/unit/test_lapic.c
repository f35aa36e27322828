/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whatever state a previous kernel leaves the local APIC in, afterwards only what this kernel requested can interrupt: stale
 * interrupts are ended or taken, bounded, and every interrupt gets exactly one EOI. Could be false: a stale ISR bit blocks its
 * priority for ever; a stale IRR bit fires at the first sti; an APIC that was left software-disabled ignores that an LVT is
 * unmasked; a device may keep sending. Provoked: each state, in a model of the APIC in x2APIC mode, and in memory for xAPIC mode.
 * Failure: a register or a count.
 */
#include "irq/drain.h"
#include "irq/lapic.h"
#include "irq/vector.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define MASKED 0x10000
#define EXTINT 0x700
#define NMI    0x400

static u64 mapped;
static enum status map_result;

static enum status map(u64 address, u64 size)
{
	assert_int_equal(size, 4096);
	mapped = address;
	return map_result;
}

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	fake_x86_reset();
	fake_lapic_start();
	vector_clear_unexpected();
	mapped = 0;
	map_result = OK;
	return 0;
}

/* SDM 10.5.1, 10.9: local sources off, the 8259 through LINT0, NMI through LINT1, enabled, no priority held back. */
static bool set_up(void)
{
	static const u32 want[] = { MASKED, MASKED, MASKED, EXTINT, NMI, MASKED };

	return !memcmp(fake_lapic.lvt, want, sizeof(want)) && fake_lapic.spiv == 0x1ff && fake_lapic.tpr == 0;
}

static void an_enabled_apic_is_set_up(void **state)
{
	(void)state;
	fake_lapic.spiv = 0x10f;
	fake_lapic.tpr = 0x80;
	for (unsigned int i = 0; i < 6; i++)
		fake_lapic.lvt[i] = 0xe0 + i; /* each of them running */
	assert_int_equal(lapic_init(map), OK);
	assert_true(set_up());
	assert_int_equal(mapped, 0);		   /* x2APIC has no memory */
	fake_lapic.lvt[LVT_TIMER] &= ~(u32)MASKED; /* the twin */
	assert_false(set_up());
}

/* As lapic_disable, and kexec, leave it. SDM 10.4.7.2: an LVT cannot be unmasked before the APIC is enabled. */
static void a_software_disabled_apic_is_set_up_as_well(void **state)
{
	(void)state;
	assert_int_equal(lapic_init(map), OK);
	assert_true(set_up());
	lapic_disable();
	assert_false(set_up());
	assert_int_equal(lapic_init(map), OK);
	assert_true(set_up());
}

static void a_globally_disabled_apic_is_absent(void **state)
{
	(void)state;
	fake_lapic.apic_base = 0xfee00000;
	fake_x86.wrmsr = NULL; /* nothing may be written */
	assert_int_equal(lapic_init(map), ERR_ABSENT);
	assert_one_line("the local APIC is disabled (IA32_APIC_BASE 0xfee00000)");
}

static void xapic_is_reached_through_its_page(void **state)
{
	u8 *page = aligned_alloc(4096, 4096);

	(void)state;
	memset(page, 0xee, 4096);
	*(u32 *)(void *)(page + 0x020) = 0x05000000;
	fake_lapic.apic_base = (u64)(uintptr_t)page | 0x800;
	assert_int_equal(lapic_init(map), OK);
	assert_int_equal(mapped, (u64)(uintptr_t)page);
	assert_int_equal(lapic_id(), 5);
	assert_string_equal(lapic_mode(), "xAPIC");
	assert_int_equal(*(u32 *)(void *)(page + 0x080), 0);
	assert_int_equal(*(u32 *)(void *)(page + 0x0f0), 0x1ff);
	assert_int_equal(*(u32 *)(void *)(page + 0x320), MASKED);
	assert_int_equal(*(u32 *)(void *)(page + 0x350), EXTINT);
	assert_int_equal(*(u32 *)(void *)(page + 0x360), NMI);
	lapic_eoi();
	assert_int_equal(*(u32 *)(void *)(page + 0x0b0), 0);
	lapic_disable();
	assert_int_equal(*(u32 *)(void *)(page + 0x350) & MASKED, MASKED);
	assert_int_equal(*(u32 *)(void *)(page + 0x0f0) & 0x100, 0);
	map_result = ERR_RANGE;
	assert_int_equal(lapic_init(map), ERR_RANGE);
	free(page);
}

static void disable_lets_nothing_through(void **state)
{
	(void)state;
	assert_int_equal(lapic_init(map), OK);
	lapic_disable();
	for (unsigned int i = 0; i < 6; i++)
		assert_true(fake_lapic.lvt[i] & MASKED);
	assert_false(fake_lapic.spiv & 0x100);
}

/* --- drain --- */

static unsigned int drain(void)
{
	unsigned int n;

	assert_int_equal(lapic_init(map), OK);
	n = irq_drain();
	assert_false(fake_x86.irq_on);
	return n;
}

static void nothing_stale_is_nothing(void **state)
{
	(void)state;
	assert_int_equal(drain(), 0);
	assert_int_equal(fake_lapic.eois, 0);
	assert_int_equal(fake_lapic.delivered, 0);
}

static void what_was_in_service_is_ended_and_what_was_pending_is_taken(void **state)
{
	static const u8 in_service[] = { 0x31, 0x60, 0xef }, pending[] = { 0x22, 0x30, 0x65, 0x66, 0xfd };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(in_service); i++)
		fake_lapic.isr[in_service[i]] = true;
	for (size_t i = 0; i < ARRAY_SIZE(pending); i++)
		fake_lapic.irr[pending[i]] = true;
	assert_int_equal(drain(), ARRAY_SIZE(in_service) + ARRAY_SIZE(pending));
	assert_false(fake_lapic_busy());
	assert_int_equal(fake_lapic.delivered, ARRAY_SIZE(pending));
	assert_int_equal(fake_lapic.eois, ARRAY_SIZE(in_service) + ARRAY_SIZE(pending));
	assert_int_equal(vector_unexpected_count(), 0); /* cleared: this kernel's devices did not cause them */
	assert_int_equal(fake_log_lines(), 0);
}

static void every_vector_at_once_is_not_too_much(void **state)
{
	(void)state;
	for (unsigned int v = 32; v < 255; v++)
		fake_lapic.isr[v] = fake_lapic.irr[v] = true;
	assert_int_equal(drain(), 2 * (255 - 32));
	assert_false(fake_lapic_busy());
	assert_int_equal(fake_log_lines(), 0);
}

static void the_twin_undrained_is_seen(void **state)
{
	(void)state;
	fake_lapic.irr[0x65] = true;
	assert_int_equal(lapic_init(map), OK);
	assert_true(fake_lapic_busy());
}

static void a_device_that_keeps_sending_ends_bounded_and_with_a_line(void **state)
{
	(void)state;
	fake_lapic.irr[0x65] = true;
	fake_lapic.storm = 0x65;
	assert_uint_in_range(drain(), 1, 512);
	assert_one_line("a device keeps sending");
}

/* --- vectors --- */

static unsigned int calls;

static bool handled(void *context)
{
	calls++;
	assert_false(fake_x86.irq_on);
	return context != NULL;
}

static void an_interrupt_is_handled_counted_and_acknowledged_once(void **state)
{
	u64 before;
	u8 vector;

	(void)state;
	assert_int_equal(lapic_init(map), OK);
	assert_int_equal(one_vector(handled, &calls, &vector), OK);
	assert_uint_in_range(vector, VECTOR_MSI, VECTOR_MSI_LAST);
	calls = 0;
	before = vector_count(vector);
	fake_x86.irq_on = true;
	fake_lapic_message(0xfee00000, vector);
	assert_int_equal(calls, 1);
	assert_int_equal(vector_count(vector), before + 1);
	assert_int_equal(fake_lapic.eois, 1);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_false(fake_lapic_busy());
}

static void an_unhandled_vector_is_unexpected_and_gets_its_eoi_as_well(void **state)
{
	u8 vector;

	(void)state;
	assert_int_equal(lapic_init(map), OK);
	assert_int_equal(one_vector(handled, NULL, &vector), OK); /* its handler returns that it was not its device */
	fake_x86.irq_on = true;
	fake_lapic_message(0xfee00000, vector);
	fake_lapic_message(0xfee00000, 0xe5); /* a vector without a handler */
	assert_int_equal(vector_unexpected_count(), 2);
	assert_int_equal(fake_lapic.eois, 2);
	assert_false(fake_lapic_busy());
}

/* SDM 10.9: it sets no ISR bit, so an EOI would end another interrupt. */
static void the_spurious_vector_is_not_acknowledged(void **state)
{
	u64 before = vector_count(LAPIC_VECTOR_SPURIOUS);

	(void)state;
	assert_int_equal(lapic_init(map), OK);
	vector_dispatch(LAPIC_VECTOR_SPURIOUS);
	assert_int_equal(fake_lapic.eois, 0);
	assert_int_equal(vector_count(LAPIC_VECTOR_SPURIOUS), before + 1);
	assert_int_equal(vector_unexpected_count(), 0);
}

static void a_message_names_this_cpu(void **state)
{
	struct msi_message message;

	(void)state;
	fake_lapic.id = 0xab;
	assert_int_equal(lapic_init(map), OK);
	assert_int_equal(lapic_msi_message(0x45, &message), OK);
	assert_int_equal(message.address, 0xfeeab000); /* 10.11.1: destination 19..12, physical */
	assert_int_equal(message.data, 0x45);	       /* 10.11.2: fixed, edge */
	fake_lapic.id = 0x100;
	assert_int_equal(lapic_msi_message(0x45, &message), ERR_RANGE);
	assert_one_line("APIC ID 256 cannot be a message's destination");
}

/* The last test: what it takes is not given back. */
static void vectors_are_allocated_once_each_until_none_is_left(void **state)
{
	bool given[256] = { false };
	enum status s;
	u8 vector;

	(void)state;
	while ((s = one_vector(handled, NULL, &vector)) == OK) {
		assert_false(given[vector]);
		assert_uint_in_range(vector, 0x40, 0xdf);
		given[vector] = true;
	}
	assert_int_equal(s, ERR_RANGE);
	assert_true(given[0xdf]);
	assert_one_line("irq: no vector left for 1 more, 160 are in use");
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(an_enabled_apic_is_set_up),
		T(a_software_disabled_apic_is_set_up_as_well),
		T(a_globally_disabled_apic_is_absent),
		T(xapic_is_reached_through_its_page),
		T(disable_lets_nothing_through),
		T(nothing_stale_is_nothing),
		T(what_was_in_service_is_ended_and_what_was_pending_is_taken),
		T(every_vector_at_once_is_not_too_much),
		T(the_twin_undrained_is_seen),
		T(a_device_that_keeps_sending_ends_bounded_and_with_a_line),
		T(an_interrupt_is_handled_counted_and_acknowledged_once),
		T(an_unhandled_vector_is_unexpected_and_gets_its_eoi_as_well),
		T(the_spurious_vector_is_not_acknowledged),
		T(a_message_names_this_cpu),
		T(vectors_are_allocated_once_each_until_none_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
