/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq/vector.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

/* SDM Vol. 3, table 10-6: x2APIC registers as MSRs. */
#define X2APIC_ID   0x802
#define X2APIC_TPR  0x808
#define X2APIC_EOI  0x80b
#define X2APIC_SPIV 0x80f
#define X2APIC_ISR  0x810
#define X2APIC_IRR  0x820
#define X2APIC_LVT  0x832
#define LVT_MASK    0x10000
#define SPIV_ENABLE 0x100

struct fake_lapic fake_lapic;

static u32 bits(const bool *vectors)
{
	u32 value = 0;

	for (unsigned int i = 0; i < 32; i++)
		value |= (u32)vectors[i] << i;
	return value;
}

static u64 rdmsr(u32 msr)
{
	if (msr == MSR_APIC_BASE)
		return fake_lapic.apic_base;
	if (msr == X2APIC_ID)
		return fake_lapic.id;
	if (msr == X2APIC_SPIV)
		return fake_lapic.spiv;
	if (msr >= X2APIC_ISR && msr < X2APIC_ISR + 8)
		return bits(&fake_lapic.isr[(msr - X2APIC_ISR) * 32]);
	if (msr >= X2APIC_IRR && msr < X2APIC_IRR + 8)
		return bits(&fake_lapic.irr[(msr - X2APIC_IRR) * 32]);
	fail_msg("MSR 0x%x is read", msr);
	return 0;
}

static int highest(const bool *vectors)
{
	for (int v = 255; v >= 0; v--)
		if (vectors[v])
			return v;
	return -1;
}

static void end_of_interrupt(void)
{
	int v = highest(fake_lapic.isr);

	fake_lapic.eois++;
	if (v >= 0)
		fake_lapic.isr[v] = false;
}

static void wrmsr(u32 msr, u64 value)
{
	if (value >> 32)
		fail_msg("MSR 0x%x <- 0x%lx: reserved bits", msr, value);
	if (msr == X2APIC_TPR) {
		fake_lapic.tpr = (u32)value;
	} else if (msr == X2APIC_EOI) {
		assert_int_equal(value, 0); /* any other is a #GP */
		end_of_interrupt();
	} else if (msr == X2APIC_SPIV) {
		fake_lapic.spiv = (u32)value;
		for (unsigned int i = 0; i < 6 && !(value & SPIV_ENABLE); i++)
			fake_lapic.lvt[i] |= LVT_MASK;
	} else if (msr >= X2APIC_LVT && msr < X2APIC_LVT + 6) {
		/* 10.4.7.2: in the software-disabled state, attempts to reset the mask bits are ignored. */
		fake_lapic.lvt[msr - X2APIC_LVT] = (u32)value | (fake_lapic.spiv & SPIV_ENABLE ? 0 : LVT_MASK);
	} else {
		fail_msg("MSR 0x%x <- 0x%lx", msr, value);
	}
}

void fake_lapic_start(void)
{
	memset(&fake_lapic, 0, sizeof(fake_lapic));
	fake_lapic.apic_base = 0xfee00000 | 0x800 | 0x400;
	fake_lapic.spiv = 0xff;
	fake_lapic.storm = -1;
	for (unsigned int i = 0; i < 6; i++)
		fake_lapic.lvt[i] = LVT_MASK;
	fake_x86.rdmsr = rdmsr;
	fake_x86.wrmsr = wrmsr;
	fake_x86.window = fake_lapic_deliver;
}

void fake_lapic_deliver(void)
{
	int v = highest(fake_lapic.irr), served = highest(fake_lapic.isr);
	bool before = fake_x86.irq_on;

	/* 10.8.3.1: priority is the upper half of the vector. */
	if (v < 0 || v >> 4 <= (int)fake_lapic.tpr >> 4 || (served >= 0 && v >> 4 <= served >> 4))
		return;
	fake_lapic.irr[v] = v == fake_lapic.storm;
	fake_lapic.isr[v] = true;
	fake_lapic.delivered++;
	fake_x86.irq_on = false;
	vector_dispatch((u8)v);
	fake_x86.irq_on = before;
}

void fake_lapic_message(u64 address, u32 data)
{
	/* 10.11.1 and 10.11.2: physical destination, fixed, edge. */
	if (address != (0xfee00000 | (u64)fake_lapic.id << 12) || data & ~0xffU || data < 16)
		fail_msg("message 0x%x to 0x%lx reaches no CPU", data, address);
	fake_lapic.irr[data] = true;
	/* A handler may have made its device send the next one. */
	for (unsigned int before = ~0U; fake_x86.irq_on && fake_lapic.delivered != before;) {
		before = fake_lapic.delivered;
		fake_lapic_deliver();
	}
}

bool fake_lapic_busy(void)
{
	return highest(fake_lapic.isr) >= 0 || highest(fake_lapic.irr) >= 0;
}
