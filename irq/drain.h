/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IRQ_DRAIN_H
#define IRQ_DRAIN_H

/*
 * Takes what earlier kernels left in the local APIC: interrupts that they had begun (ISR) are ended, messages that it had accepted
 * for them (IRR) are delivered, and forgotten by the vectors' count of strays. Those outlive the jump, the disabled device and a
 * software-disabled APIC; only taking them with IF=1 consumes them. Returns how many there were. Call with IF=0, an IDT, and no
 * handlers installed.
 */
unsigned int irq_drain(void);

#endif
