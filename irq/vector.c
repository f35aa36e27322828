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
static u64 strays;

enum status vector_alloc(irq_handler handler, void *context, u8 *vector)
{
	if (next_vector > VECTOR_MSI_LAST) {
		log_line("irq: no vector left, %u are in use", VECTOR_MSI_LAST - VECTOR_MSI + 1);
		return ERR_RANGE;
	}
	*vector = (u8)next_vector++;
	vectors[*vector].handler = handler;
	vectors[*vector].context = context;
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

u64 vector_strays(void)
{
	return *(volatile u64 *)&strays;
}

void vector_forget_strays(void)
{
	strays = 0;
}

void vector_dispatch(u8 vector)
{
	vectors[vector].count++;
	if (vector == VECTOR_SPURIOUS)
		return; /* SDM Vol. 3, 10.9: no EOI */
	if (serve_line && vector >= VECTOR_8259 && vector < VECTOR_8259 + 16) {
		serve_line(vector - VECTOR_8259);
		return; /* the 8259's interrupts are acknowledged there */
	}
	if (!vectors[vector].handler || !vectors[vector].handler(vectors[vector].context))
		strays++;
	lapic_eoi();
}
