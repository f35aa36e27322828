/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IRQ_IDT_H
#define IRQ_IDT_H

#include "lib/types.h"

/* What entry.S leaves on the stack: registers, then vector and error code, then what the CPU pushed (Intel SDM Vol. 3, 6.14). */
struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector;
	u64 error;
	u64 rip, cs, rflags, rsp, ss;
};

/* Loads an IDT in which all 256 vectors lead to trap_dispatch. Leaves IF alone. */
void idt_init(void);

/* entry.S calls it with IF=0: faults go to fault_die, interrupts to vector_dispatch. */
void trap_dispatch(const struct trap_frame *frame);

/*
 * Prints vector, error code, RIP, CR2 and the return addresses that the frame pointers lead to, then whatever the log still holds
 * in RAM, and ends the run without a verdict: a guest that faults has crashed.
 */
_Noreturn void fault_die(const struct trap_frame *frame);

/* Sets where the image is, so that addresses are printed as offsets into its ELF file, too. */
void fault_init(u64 image_start, u64 image_size);

#endif
