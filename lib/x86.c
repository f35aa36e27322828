/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/x86.h"

#define X86_FLAGS_IF 0x200
#define X86_CR4_LA57 (1UL << 12)

u8 x86_inb(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static u16 inw(u16 port)
{
	u16 v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

u32 x86_inl(u16 port)
{
	u32 v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

void x86_outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

void x86_outw(u16 port, u16 v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

void x86_outl(u16 port, u32 v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

u32 x86_in(u16 port, unsigned int size)
{
	return size == 1 ? x86_inb(port) : size == 2 ? inw(port) : x86_inl(port);
}

void x86_out(u16 port, unsigned int size, u32 v)
{
	if (size == 1)
		x86_outb(port, (u8)v);
	else if (size == 2)
		x86_outw(port, (u16)v);
	else
		x86_outl(port, v);
}

u64 x86_rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}

void x86_wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

struct x86_cpuid x86_cpuid(u32 leaf)
{
	struct x86_cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(0));
	return r;
}

void x86_irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}

void x86_irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

bool x86_la57(void)
{
	u64 cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	return cr4 & X86_CR4_LA57;
}

u64 x86_irq_save(void)
{
	u64 flags;

	__asm__ volatile("pushfq; pop %0; cli" : "=r"(flags) : : "memory");
	return flags;
}

void x86_irq_restore(u64 flags)
{
	if (flags & X86_FLAGS_IF)
		x86_irq_enable();
}

void x86_irq_window(void)
{
	/* sti takes effect after the next instruction: the nops are where interrupts arrive. */
	__asm__ volatile("sti; nop; nop; nop; cli" : : : "memory");
}

void x86_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

_Noreturn void x86_halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}

_Noreturn void x86_triple_fault(void)
{
	static const struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) none;

	__asm__ volatile("lidt %0; int3" : : "m"(none));
	x86_halt();
}
