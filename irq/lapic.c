/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq/lapic.h"

#include "lib/log.h"
#include "lib/x86.h"

/* Offsets of the xAPIC's registers; the x2APIC has them as MSRs at 0x800 + offset / 16. */
/* clang-format off */
#define LAPIC_ID		0x020
#define LAPIC_TPR		0x080
#define LAPIC_EOI		0x0b0
#define LAPIC_SPIV		0x0f0
#define  LAPIC_SPIV_ENABLE	0x100
#define LAPIC_ISR		0x100	/* 8 registers of 32 bits, 16 bytes apart */
#define LAPIC_IRR		0x200
#define LAPIC_LVT_TIMER		0x320
#define LAPIC_LVT_THERMAL	0x330
#define LAPIC_LVT_PERF		0x340
#define LAPIC_LVT_LINT0		0x350
#define LAPIC_LVT_LINT1		0x360
#define LAPIC_LVT_ERROR		0x370
#define  LVT_MASKED		0x10000	/* of each */
#define  LVT_EXTINT		0x700
#define  LVT_NMI		0x400
/* clang-format on */

#define APIC_BASE_ENABLE 0x800
#define APIC_BASE_X2APIC 0x400
#define APIC_BASE_MASK	 0x000ffffffffff000UL
#define X2APIC_MSR	 0x800

/* The address of messages: SDM Vol. 3, 10.11.1. */
#define MSI_ADDRESS    0xfee00000UL
#define MSI_DEST_SHIFT 12

struct ops {
	const char *name;
	u32 (*read)(u32 reg);
	void (*write)(u32 reg, u32 value);
};

static u64 base;

static u32 xapic_read(u32 reg)
{
	return *(volatile u32 *)(uintptr_t)(base + reg);
}

static void xapic_write(u32 reg, u32 value)
{
	*(volatile u32 *)(uintptr_t)(base + reg) = value;
}

static u32 x2apic_read(u32 reg)
{
	return (u32)x86_rdmsr(X2APIC_MSR + reg / 16);
}

static void x2apic_write(u32 reg, u32 value)
{
	x86_wrmsr(X2APIC_MSR + reg / 16, value);
}

static const struct ops xapic = { "xAPIC", xapic_read, xapic_write };
static const struct ops x2apic = { "x2APIC", x2apic_read, x2apic_write };
static const struct ops *apic;

enum status lapic_init(enum status (*map)(u64 address, u64 size))
{
	u64 msr = x86_rdmsr(MSR_APIC_BASE);
	enum status s;

	if (!(msr & APIC_BASE_ENABLE)) {
		log_line("irq: the local APIC is disabled (IA32_APIC_BASE 0x%lx): no interrupts", msr);
		return ERR_ABSENT;
	}
	base = msr & APIC_BASE_MASK;
	apic = msr & APIC_BASE_X2APIC ? &x2apic : &xapic;
	if (apic == &xapic) {
		s = map(base, PAGE_SIZE);
		if (s != OK)
			return s;
	}
	apic->write(LAPIC_TPR, 0);
	apic->write(LAPIC_LVT_TIMER, LVT_MASKED);
	apic->write(LAPIC_LVT_THERMAL, LVT_MASKED);
	apic->write(LAPIC_LVT_PERF, LVT_MASKED);
	apic->write(LAPIC_LVT_ERROR, LVT_MASKED);
	/* Before LINT0 and LINT1: while the APIC is software-disabled their mask bits cannot be cleared (SDM Vol. 3, 10.4.7.2). */
	apic->write(LAPIC_SPIV, LAPIC_SPIV_ENABLE | LAPIC_VECTOR_SPURIOUS);
	apic->write(LAPIC_LVT_LINT1, LVT_NMI);
	/* Virtual wire mode: the 8259 interrupts through LINT0. */
	apic->write(LAPIC_LVT_LINT0, LVT_EXTINT);
	return OK;
}

const char *lapic_mode(void)
{
	return apic->name;
}

u32 lapic_id(void)
{
	u32 id = apic->read(LAPIC_ID);

	return apic == &xapic ? id >> 24 : id;
}

void lapic_eoi(void)
{
	apic->write(LAPIC_EOI, 0);
}

bool lapic_in_service(u8 vector)
{
	return apic->read(LAPIC_ISR + vector / 32U * 16) >> vector % 32 & 1;
}

static bool any_set(u32 reg)
{
	for (u32 i = 0; i < 8; i++)
		if (apic->read(reg + i * 16))
			return true;
	return false;
}

bool lapic_any_in_service(void)
{
	return any_set(LAPIC_ISR);
}

bool lapic_any_requested(void)
{
	return any_set(LAPIC_IRR);
}

void lapic_disable(void)
{
	apic->write(LAPIC_LVT_LINT0, LVT_MASKED);
	apic->write(LAPIC_SPIV, LAPIC_VECTOR_SPURIOUS);
}

enum status lapic_msi_message(u8 vector, struct msi_message *message)
{
	u32 id = lapic_id();

	if (id > 0xff) {
		log_line("irq: APIC ID %u cannot be a message's destination without interrupt remapping", id);
		return ERR_RANGE;
	}
	*message = (struct msi_message){ MSI_ADDRESS | (u64)id << MSI_DEST_SHIFT, vector };
	return OK;
}
