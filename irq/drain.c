/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq/drain.h"

#include "irq/lapic.h"
#include "irq/vector.h"
#include "lib/log.h"
#include "lib/x86.h"

/* Vectors 16 to 255 may be in ISR and in IRR each; what is left after twice that many rounds is not stale but new. */
#define DRAIN_ROUNDS 512

static bool holds_any(void)
{
	return lapic_any_in_service() || lapic_any_requested();
}

unsigned int irq_drain(void)
{
	unsigned int ended = 0, taken;

	for (unsigned int round = 0; round < DRAIN_ROUNDS && holds_any(); round++) {
		/* An interrupt in service keeps those of its priority and below pending, so it is ended first. */
		if (lapic_any_in_service()) {
			lapic_eoi();
			ended++;
		} else {
			x86_irq_window();
		}
	}
	taken = (unsigned int)vector_unexpected_count();
	vector_clear_unexpected();
	if (holds_any())
		log_line("irq: the local APIC still has interrupts after %d rounds: a device keeps sending", DRAIN_ROUNDS);
	return ended + taken;
}
