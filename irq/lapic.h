/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IRQ_LAPIC_H
#define IRQ_LAPIC_H

#include "lib/msi_message.h"
#include "lib/status.h"
#include "lib/types.h"

/*
 * The local APIC of the CPU that runs (Intel SDM Vol. 3, chapter 10), in the mode that it was left in: xAPIC through memory, x2APIC
 * through MSRs. Leaving x2APIC is possible only by way of disabling it, so nobody here changes the mode.
 */

/* The vector on which it says that an interrupt went away before it was delivered; such a one has no end (SDM Vol. 3, 10.9). */
#define LAPIC_VECTOR_SPURIOUS 0xff

/* map makes the xAPIC's page accessible. ERR_ABSENT, after one line, when the local APIC is globally disabled. */
enum status lapic_init(enum status (*map)(u64 address, u64 size));

const char *lapic_mode(void); /* "xAPIC" or "x2APIC" */
u32 lapic_id(void);
void lapic_eoi(void);

/*
 * Whether the local APIC delivered it and awaits its end. What it passes on of the 8259's (ExtINT) never is (SDM Vol. 3, 10.8.1).
 */
bool lapic_in_service(u8 vector);

/* The same of any vector; and whether one was accepted that has not been delivered. */
bool lapic_any_in_service(void);
bool lapic_any_requested(void);

/* No interrupt from here on: local sources masked, APIC software-disabled. For the jump. */
void lapic_disable(void);

/* The message that delivers a vector to this CPU: fixed, edge, physical destination. ERR_RANGE when its ID needs remapping. */
enum status lapic_msi_message(u8 vector, struct msi_message *message);

#endif
