/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IRQ_LAPIC_H
#define IRQ_LAPIC_H

#include "lib/msi_message.h"
#include "lib/status.h"
#include "lib/types.h"

/*
 * The local APIC of this CPU (Intel SDM Vol. 3, chapter 10), in the mode that was inherited: xAPIC through memory, x2APIC through
 * MSRs. x2APIC can only be left by disabling the APIC, so the mode is never changed here.
 */

/* The spurious vector: an interrupt was withdrawn before it was delivered; it takes no EOI (SDM Vol. 3, 10.9). */
#define LAPIC_VECTOR_SPURIOUS 0xff

/* map makes the xAPIC's page accessible. ERR_ABSENT, after one line, when the local APIC is globally disabled. */
enum status lapic_init(enum status (*map)(u64 address, u64 size));

const char *lapic_mode(void); /* "xAPIC" or "x2APIC" */
u32 lapic_id(void);
void lapic_eoi(void);

/*
 * Whether the local APIC delivered it and awaits its EOI. An interrupt of the 8259 (ExtINT) never is in service (SDM Vol. 3,
 * 10.8.1).
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
