/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq/vector.h"

#include "irq/lapic.h"
#include "lib/log.h"

static struct {
	irq_handler handler;
	void *context;
	u64 count;
} vectors[256];

static line_handler serve_line;
static unsigned int next_vector = VECTOR_MSI;
static u64 unexpected;

enum status vector_alloc(const irq_handler *handlers, unsigned int count, void *context, u8 *first)
{
	unsigned int start = (unsigned int)ALIGN_UP(next_vector, count);

	if (start + count - 1 > VECTOR_MSI_LAST) {
		log_line("irq: no vector left for %u more, %u are in use", count, next_vector - VECTOR_MSI);
		return ERR_RANGE;
	}
	for (unsigned int i = 0; i < count; i++) {
		vectors[start + i].handler = handlers[i];
		vectors[start + i].context = context;
	}
	*first = (u8)start;
	next_vector = start + count;
	return OK;
}

void vector_route_8259(line_handler handler)
{
	serve_line = handler;
}

u64 vector_count(u8 vector)
{
	return *(volatile u64 *)&vectors[vector].count;
}

u64 vector_unexpected_count(void)
{
	return *(volatile u64 *)&unexpected;
}

void vector_clear_unexpected(void)
{
	unexpected = 0;
}

void vector_dispatch(u8 vector)
{
	vectors[vector].count++;
	if (vector == LAPIC_VECTOR_SPURIOUS)
		return;
	/*
	 * The 8259's interrupts never are in service in the local APIC (SDM Vol. 3, 10.8.1), and get their EOI at the 8259; a
	 * message that the previous kernel programmed may have their vector.
	 */
	if (serve_line && vector >= VECTOR_8259 && vector < VECTOR_8259 + 16 && !lapic_in_service(vector)) {
		serve_line(vector - VECTOR_8259);
		return;
	}
	if (!vectors[vector].handler || !vectors[vector].handler(vectors[vector].context))
		unexpected++;
	lapic_eoi();
}
