/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_TIME_H
#define LIB_TIME_H

#include "lib/types.h"

/*
 * Every wait is bounded, and bounded in real time: by the ACPI PM timer (ACPI 6.4, 4.8.3.3), 3.579545 MHz and at least 24 bits
 * wide. Where the tables name none, or one that stands still, by counter 2 of the 8254, which every PC has.
 */

/* port: the PM timer's I/O port from the FADT, or 0 for none. */
void time_init(u16 pm_timer_port);

/* What time_init chose, for the log. */
const char *time_source(void);

/* Microseconds since time_init. Exact as long as it is called more often than the counter wraps: 4.6 s, or 54 ms on the 8254. */
u64 time_us(void);

/* A bound: made where a wait begins, checked while it lasts. */
struct deadline {
	u64 end_us;
};
struct deadline deadline_after_us(u64 us);
bool deadline_passed(const struct deadline *d);

#endif
