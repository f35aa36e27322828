/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_X86_H
#define LIB_X86_H

#include "lib/types.h"

/* Instructions that C has no name for. Functions and not macros, so that a host test can link fakes in their place. */

u8 x86_inb(u16 port);
u32 x86_inl(u16 port);
void x86_outb(u16 port, u8 v);
void x86_outw(u16 port, u16 v);
void x86_outl(u16 port, u32 v);

/* Ports of a variable width, as CF8/CFC configuration accesses need them; size is 1, 2 or 4. */
u32 x86_in(u16 port, unsigned int size);
void x86_out(u16 port, unsigned int size, u32 v);

u64 x86_rdmsr(u32 msr);
void x86_wrmsr(u32 msr, u64 v);

struct x86_cpuid {
	u32 eax, ebx, ecx, edx;
};
struct x86_cpuid x86_cpuid(u32 leaf);

void x86_irq_enable(void);
void x86_irq_disable(void);

/* Clears IF and returns RFLAGS as they were; restores IF. For what an interrupt handler shares with the code that it interrupts. */
u64 x86_irq_save(void);
void x86_irq_restore(u64 flags);

/* Opens a window of a few instructions with IF=1 in which every pending interrupt is taken; leaves IF=0. */
void x86_irq_window(void);

/* A pause in a bounded wait. */
void x86_relax(void);

/* Stops the CPU: IF=0 and hlt, forever. */
_Noreturn void x86_halt(void);

/* Loads an empty IDT and faults: the CPU resets the machine. */
_Noreturn void x86_triple_fault(void);

/* Whether 5-level paging is on: an image that is entered then must support it. */
bool x86_la57(void);

#define MSR_APIC_BASE 0x1b

#endif
