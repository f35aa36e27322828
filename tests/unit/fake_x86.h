/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_FAKE_X86_H
#define TESTS_UNIT_FAKE_X86_H

#include "lib/x86.h"

/*
 * Replaces lib/x86.c of an image. Ports and MSRs belong to the models that claimed them; any other access fails the test. The PM
 * timer advances with each read, so that bounded waits expire without time passing.
 */
#define FAKE_PM_TIMER 0x608

struct fake_ports {
	u16 first;
	u16 last;
	u32 (*in)(u16 port, unsigned int size);
	void (*out)(u16 port, unsigned int size, u32 value);
};

struct fake_io {
	bool out;
	u16 port;
	u8 size;
	u32 value;
};
#define IN(port, size, value)                                                                                                      \
	{                                                                                                                          \
		false, port, size, value                                                                                           \
	}
#define OUT(port, size, value)                                                                                                     \
	{                                                                                                                          \
		true, port, size, value                                                                                            \
	}

extern struct fake_x86 {
	bool irq_on;   /* IF */
	bool irq_held; /* IF when x86_irq_save was last called: of the reader of the clock */
	u32 pm_timer;
	u32 pm_step;
	volatile u32 *pm_reads; /* counts the reads, where set */
	void (*tick)(unsigned int looks);
	unsigned int looks;
	struct x86_cpuid cpuid_1;
	u64 (*rdmsr)(u32 msr);
	void (*wrmsr)(u32 msr, u64 value);
	void (*window)(void);	 /* what happens in x86_irq_window, IF=1 */
	struct fake_io io[4096]; /* the first accesses, in order, the PM timer's left out */
	unsigned int io_count;
} fake_x86;

void fake_x86_reset(void);
void fake_x86_claim(const struct fake_ports *ports);

/* What happens during a wait: before each read of the clock, the first of which is 1, unless interrupts were off. */
void fake_x86_tick(void (*tick)(unsigned int looks));

/* Whether all port accesses were these, in order. */
bool fake_io_is(const struct fake_io *want, size_t n);

#endif
