/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IRQ_VECTOR_H
#define IRQ_VECTOR_H

#include "lib/status.h"
#include "lib/types.h"

/* The CPU's interrupt vectors: the handler of each, and how often it was delivered. */
#define VECTOR_8259	0x20 /* 16 lines */
#define VECTOR_MSI	0x40 /* to VECTOR_MSI_LAST, allocated in order */
#define VECTOR_MSI_LAST 0xdf

/* Runs with IF=0. Returns whether the interrupt was its device's: what Linux calls IRQ_HANDLED and IRQ_NONE. */
typedef bool (*irq_handler)(void *context);

/*
 * Allocates count vectors for a device's messages, a power of two: they begin at a multiple of count, as MSI requires, and have a
 * handler each. ERR_RANGE, after one line, when there is no room.
 */
enum status vector_alloc(const irq_handler *handlers, unsigned int count, void *context, u8 *first);

/* Routes the sixteen vectors of the 8259 to the handler of its lines (i8259.c). */
typedef void (*line_handler)(u8 line);
void vector_route_8259(line_handler handler);

/* How often a vector was delivered. */
u64 vector_count(u8 vector);

/* Interrupts that no handler took, since the last call of vector_clear_unexpected. */
u64 vector_unexpected_count(void);
void vector_clear_unexpected(void);

/* Called by the IDT. */
void vector_dispatch(u8 vector);

#endif
