/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/fake_x86.h"

#include "tests/unit/unit.h"

#define FLAGS_IF 0x200
#define CLAIMS	 8

struct fake_x86 fake_x86;

static const struct fake_ports *claims[CLAIMS];
static unsigned int claimed;

void fake_x86_reset(void)
{
	memset(&fake_x86, 0, sizeof(fake_x86));
	fake_x86.pm_step = 4096; /* 1.1 ms a read */
	claimed = 0;
}

void fake_x86_claim(const struct fake_ports *ports)
{
	assert_true(claimed < CLAIMS);
	claims[claimed++] = ports;
}

void fake_x86_tick(void (*tick)(unsigned int looks))
{
	fake_x86.tick = tick;
	fake_x86.looks = 0;
}

/* Reading the time disables interrupts meanwhile (lib/time.c); the event happens just before. */
static void look(void)
{
	if (!fake_x86.tick || !fake_x86.irq_held)
		return;
	fake_x86.irq_on = true;
	fake_x86.tick(++fake_x86.looks);
	fake_x86.irq_on = false;
}

static const struct fake_ports *owner(u16 port)
{
	for (unsigned int i = 0; i < claimed; i++)
		if (port >= claims[i]->first && port <= claims[i]->last)
			return claims[i];
	fail_msg("no device at port 0x%x", port);
	return NULL;
}

static void note(struct fake_io io)
{
	if (fake_x86.io_count < ARRAY_SIZE(fake_x86.io))
		fake_x86.io[fake_x86.io_count++] = io;
}

u32 x86_in(u16 port, unsigned int size)
{
	u32 value;

	if (port == FAKE_PM_TIMER) {
		assert_int_equal(size, 4);
		look();
		value = fake_x86.pm_timer;
		fake_x86.pm_timer += fake_x86.pm_step;
		if (fake_x86.pm_reads)
			++*fake_x86.pm_reads;
		return value;
	}
	value = owner(port)->in(port, size);
	note((struct fake_io)IN(port, (u8)size, value));
	return value;
}

void x86_out(u16 port, unsigned int size, u32 value)
{
	note((struct fake_io)OUT(port, (u8)size, value));
	owner(port)->out(port, size, value);
}

bool fake_io_is(const struct fake_io *want, size_t n)
{
	if (fake_x86.io_count != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		const struct fake_io *a = &fake_x86.io[i], *b = &want[i];

		if (a->out != b->out || a->port != b->port || a->size != b->size || a->value != b->value)
			return false;
	}
	return true;
}

u8 x86_inb(u16 port)
{
	return (u8)x86_in(port, 1);
}

u32 x86_inl(u16 port)
{
	return x86_in(port, 4);
}

void x86_outb(u16 port, u8 v)
{
	x86_out(port, 1, v);
}

void x86_outw(u16 port, u16 v)
{
	x86_out(port, 2, v);
}

void x86_outl(u16 port, u32 v)
{
	x86_out(port, 4, v);
}

u64 x86_rdmsr(u32 msr)
{
	assert_non_null(fake_x86.rdmsr);
	return fake_x86.rdmsr(msr);
}

void x86_wrmsr(u32 msr, u64 v)
{
	assert_non_null(fake_x86.wrmsr);
	fake_x86.wrmsr(msr, v);
}

struct x86_cpuid x86_cpuid(u32 leaf)
{
	assert_int_equal(leaf, 1);
	return fake_x86.cpuid_1;
}

void x86_irq_enable(void)
{
	fake_x86.irq_on = true;
}

void x86_irq_disable(void)
{
	fake_x86.irq_on = false;
}

u64 x86_irq_save(void)
{
	u64 flags = fake_x86.irq_on ? FLAGS_IF : 0;

	fake_x86.irq_held = fake_x86.irq_on;
	fake_x86.irq_on = false;
	return flags;
}

void x86_irq_restore(u64 flags)
{
	if (flags & FLAGS_IF)
		fake_x86.irq_on = true;
}

void x86_irq_window(void)
{
	fake_x86.irq_on = true;
	if (fake_x86.window)
		fake_x86.window();
	fake_x86.irq_on = false;
}

void x86_relax(void)
{
}

_Noreturn void x86_halt(void)
{
	fail_msg("the CPU was halted");
	abort();
}

_Noreturn void x86_triple_fault(void)
{
	fail_msg("the machine was reset");
	abort();
}
