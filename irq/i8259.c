/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq/i8259.h"

#include "irq/spurious.h"
#include "lib/log.h"
#include "lib/time.h"
#include "lib/x86.h"

/* Intel 8259A data sheet. ELCR1 and ELCR2 of ICH9 and PIIX3: a bit a line, 1 is level. */
#define PIC_MASTER	  0x20
#define PIC_SLAVE	  0xa0
#define PIC_DATA	  1    /* from the command port */
#define ICW1_INIT_ICW4	  0x11 /* edge, cascade, ICW4 follows */
#define ICW4_8086	  0x01
#define OCW2_EOI_SPECIFIC 0x60
#define OCW3_READ_ISR	  0x0b
#define CASCADE		  2
#define ELCR_MASTER	  0x4d0
#define ELCR_SLAVE	  0x4d1
#define ELCR_EDGE_ONLY	  0x2107 /* lines 0, 1, 2, 8 and 13 always belong to ISA devices */

#define HANDLERS_MAX	  8

static struct line {
	unsigned int handlers;
	irq_handler handler[HANDLERS_MAX];
	void *context[HANDLERS_MAX];
	u64 count;
	struct spurious spurious;
} lines[I8259_LINES];

static u16 mask = 0xffff;

static void write_mask(void)
{
	x86_outb(PIC_MASTER + PIC_DATA, (u8)mask);
	x86_outb(PIC_SLAVE + PIC_DATA, (u8)(mask >> 8));
}

static void end_of_interrupt(u8 line)
{
	if (line >= 8) {
		x86_outb(PIC_SLAVE, OCW2_EOI_SPECIFIC | (line - 8));
		line = CASCADE;
	}
	x86_outb(PIC_MASTER, OCW2_EOI_SPECIFIC | line);
}

static bool in_service(u8 line)
{
	u16 port = line >= 8 ? PIC_SLAVE : PIC_MASTER;

	x86_outb(port, OCW3_READ_ISR);
	return x86_inb(port) & 1U << (line & 7);
}

static void serve(u8 number)
{
	struct line *line = &lines[number];
	bool handled = false;

	/* A request that is deasserted before it is acknowledged comes as the controller's line 7, and is not in service. */
	if ((number == 7 || number == 15) && !in_service(number)) {
		if (number == 15)
			end_of_interrupt(CASCADE);
		return;
	}
	line->count++;
	for (unsigned int i = 0; i < line->handlers; i++)
		handled |= line->handler[i](line->context[i]);
	if (spurious_note(&line->spurious, handled, time_us())) {
		log_line("irq %u: nobody cared, %lu interrupts; line disabled", number, line->count);
		mask |= (u16)(1U << number);
		write_mask();
	}
	end_of_interrupt(number);
}

void i8259_init(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		u16 port = i ? PIC_SLAVE : PIC_MASTER;

		x86_outb(port, ICW1_INIT_ICW4);
		x86_outb(port + PIC_DATA, (u8)(VECTOR_8259 + 8 * i));
		x86_outb(port + PIC_DATA, i ? CASCADE : 1 << CASCADE);
		x86_outb(port + PIC_DATA, ICW4_8086);
	}
	i8259_mask_all();
	vector_route_8259(serve);
}

enum status i8259_request(u8 line, irq_handler handler, void *context)
{
	struct line *l;
	u16 elcr, bit;
	u64 flags;

	if (line >= I8259_LINES || ELCR_EDGE_ONLY & 1U << line) {
		log_line("irq %u: edge-only line, not usable by PCI", line);
		return ERR_RANGE;
	}
	l = &lines[line];
	if (l->handlers == HANDLERS_MAX) {
		log_line("irq %u: %d handlers share it already", line, HANDLERS_MAX);
		return ERR_RANGE;
	}
	flags = x86_irq_save(); /* the line may be unmasked already, and serve() changes the mask */
	l->handler[l->handlers] = handler;
	l->context[l->handlers] = context;
	l->handlers++;
	/* OVMF and Linux's kexec leave ELCR at edge; a line that is high already would then interrupt once, or never. */
	bit = (u16)(1U << line);
	elcr = (u16)(x86_inb(ELCR_MASTER) | x86_inb(ELCR_SLAVE) << 8);
	x86_outb(ELCR_MASTER, (u8)(elcr | bit));
	x86_outb(ELCR_SLAVE, (u8)((elcr | bit) >> 8));
	if (!l->spurious.disabled)
		mask &= (u16) ~(bit | 1U << CASCADE);
	write_mask();
	x86_irq_restore(flags);
	return OK;
}

void i8259_release(u8 line, irq_handler handler, void *context)
{
	struct line *l = &lines[line];
	u64 flags = x86_irq_save();

	for (unsigned int i = 0; i < l->handlers; i++) {
		if (l->handler[i] != handler || l->context[i] != context)
			continue;
		l->handlers--;
		l->handler[i] = l->handler[l->handlers];
		l->context[i] = l->context[l->handlers];
		break;
	}
	if (!l->handlers) {
		mask |= (u16)(1U << line);
		write_mask();
	}
	x86_irq_restore(flags);
}

bool i8259_line_disabled(u8 line)
{
	return *(volatile bool *)&lines[line].spurious.disabled;
}

void i8259_mask_all(void)
{
	mask = 0xffff;
	write_mask();
}
