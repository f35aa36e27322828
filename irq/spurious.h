/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IRQ_SPURIOUS_H
#define IRQ_SPURIOUS_H

#include "lib/types.h"

/*
 * Linux's accounting of unhandled interrupts (kernel/irq/spurious.c, note_interrupt): of 100,000 interrupts more than 99,900
 * unhandled, and the line is disabled with "nobody cared". An unhandled one that comes more than 100 ms after the last starts the
 * count again.
 */
#define SPURIOUS_WINDOW	   100000
#define SPURIOUS_UNHANDLED 99900
#define SPURIOUS_GAP_US	   100000

struct spurious {
	u32 count;
	u32 unhandled;
	u64 last_us;
	bool disabled;
};

/* Notes one interrupt; true when the line must be disabled now. */
bool spurious_note(struct spurious *s, bool handled, u64 now_us);

#endif
