/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IRQ_DRAIN_H
#define IRQ_DRAIN_H

/*
 * Takes what earlier kernels left in the local APIC: interrupts in service (ISR) are ended, messages accepted for them (IRR) are
 * delivered, and not counted as unexpected. Both survive the jump, a device that is disabled and an APIC that is software-disabled;
 * only taking them with IF=1 clears them. Returns how many there were. Call with IF=0, an IDT, and no handlers installed.
 */
unsigned int irq_drain(void);

#endif
