/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_FAKE_IRQ_H
#define TESTS_UNIT_FAKE_IRQ_H

#include "irq/vector.h"

/*
 * The interrupt controllers that the fakes of x86.c access: a local APIC in x2APIC mode (Intel SDM Vol. 3, chapter 10) and the pair
 * of 8259s with ELCR. They deliver at once, through vector_dispatch, whenever IF is 1.
 */
extern struct fake_lapic {
	u64 apic_base; /* IA32_APIC_BASE */
	u32 id;
	u32 tpr;
	u32 spiv;
	u32 lvt[6]; /* timer, thermal, performance, LINT0, LINT1, error */
	bool isr[256];
	bool irr[256];
	unsigned int eois;
	unsigned int delivered;
	int storm; /* a vector that is requested again each time that it is taken; negative: none */
} fake_lapic;

#define LVT_TIMER   0
#define LVT_THERMAL 1
#define LVT_PERF    2
#define LVT_LINT0   3
#define LVT_LINT1   4
#define LVT_ERROR   5

/* As reset leaves it, in x2APIC mode; claims the MSRs. After fake_x86_reset. */
void fake_lapic_start(void);
/* Delivers one interrupt if there is one and its priority allows; what x86_irq_window does. */
void fake_lapic_deliver(void);
/* A device's message. */
void fake_lapic_message(u64 address, u32 data);
bool fake_lapic_busy(void);

extern struct fake_i8259 {
	struct fake_pic {
		u8 base;
		u8 mask;
		u8 irr; /* latched edges */
		u8 isr;
		u8 elcr;
		u8 wires; /* levels of the inputs */
		u8 cascade;
		unsigned int icw; /* the next initialisation word; 0: none */
		bool read_isr;
	} pic[2];
	unsigned int delivered;
	unsigned int taken[16]; /* of these, by line */
	unsigned int limit;	/* of deliveries; a storm ends there */
} fake_i8259;

/* As power-on leaves them; claims the ports. After fake_x86_reset. */
void fake_i8259_start(void);
/* Sets the level of a line; interrupts follow at once where IF is 1. */
void fake_irq_line(unsigned int line, bool high);
/* A request that is withdrawn before it is acknowledged. */
void fake_irq_glitch(unsigned int line);
void fake_irq_run(void);
/* A vector for one message. */
static inline enum status one_vector(irq_handler handler, void *context, u8 *vector)
{
	return vector_alloc(&handler, 1, context, vector);
}

static inline bool fake_irq_high(unsigned int line)
{
	return fake_i8259.pic[line / 8].wires >> line % 8 & 1;
}
static inline bool fake_irq_masked(unsigned int line)
{
	return fake_i8259.pic[line / 8].mask >> line % 8 & 1;
}
static inline bool fake_irq_level_triggered(unsigned int line)
{
	return fake_i8259.pic[line / 8].elcr >> line % 8 & 1;
}

#endif
