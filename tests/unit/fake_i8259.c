/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq/vector.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define CASCADE 2

struct fake_i8259 fake_i8259;

static struct fake_pic *pic_of(u16 port)
{
	return &fake_i8259.pic[port >= 0xa0];
}

static u32 command_in(u16 port, unsigned int size)
{
	const struct fake_pic *p = pic_of(port);

	assert_int_equal(size, 1);
	return port & 1 ? p->mask : p->read_isr ? p->isr : p->irr;
}

static void initialise(struct fake_pic *p, u8 value)
{
	switch (p->icw) {
	case 2:
		p->base = value;
		break;
	case 3:
		p->cascade = value;
		break;
	case 4:
		assert_int_equal(value, 1); /* 8086 mode, EOI by the driver */
		break;
	}
	p->icw = p->icw == 4 ? 0 : p->icw + 1;
}

static void command_out(u16 port, unsigned int size, u32 value)
{
	struct fake_pic *p = pic_of(port);

	assert_int_equal(size, 1);
	if (port & 1) {
		if (p->icw)
			initialise(p, (u8)value);
		else
			p->mask = (u8)value;
	} else if (value & 0x10) { /* ICW1: cascade, ICW4 follows */
		assert_int_equal(value & 0x1f, 0x11);
		p->icw = 2;
		p->mask = p->isr = p->irr = 0;
		p->read_isr = false;
	} else if (value & 0x08) { /* OCW3 */
		p->read_isr = value & 1;
	} else { /* OCW2: only a specific EOI of what is in service makes sense here */
		assert_int_equal(value & 0xf8, 0x60);
		if (!(p->isr & 1U << (value & 7)))
			fail_msg("EOI of input %u at port 0x%x, which is not in service", value & 7, port);
		p->isr &= (u8) ~(1U << (value & 7));
	}
}

static u32 elcr_in(u16 port, unsigned int size)
{
	assert_int_equal(size, 1);
	return fake_i8259.pic[port & 1].elcr;
}

static void elcr_out(u16 port, unsigned int size, u32 value)
{
	assert_int_equal(size, 1);
	/* ICH9 13.4.12: lines 0, 1, 2, 8 and 13 stay edge-triggered; the bits are reserved. */
	assert_int_equal(value & (port & 1 ? 0x21 : 0x07), 0);
	fake_i8259.pic[port & 1].elcr = (u8)value;
}

void fake_i8259_start(void)
{
	static const struct fake_ports ports[] = { { 0x20, 0x21, command_in, command_out },
						   { 0xa0, 0xa1, command_in, command_out },
						   { 0x4d0, 0x4d1, elcr_in, elcr_out } };

	memset(&fake_i8259, 0, sizeof(fake_i8259));
	fake_i8259.limit = 1000000;
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		fake_x86_claim(&ports[i]);
}

/* The input that requests, with priority over what is in service; negative: none. */
static int request(const struct fake_pic *p)
{
	u8 asking = (u8)((p->irr | (p->wires & p->elcr)) & ~p->mask);

	for (int i = 0; i < 8 && !(p->isr & 1U << i); i++)
		if (asking & 1U << i)
			return i;
	return -1;
}

static void update_cascade(void)
{
	if (request(&fake_i8259.pic[1]) >= 0)
		fake_i8259.pic[0].irr |= 1U << CASCADE;
	else
		fake_i8259.pic[0].irr &= (u8) ~(1U << CASCADE);
}

/* INTA: which vector, and what is in service now. Input 7 where the request was withdrawn, and then nothing is in service. */
static u8 acknowledge(struct fake_pic *p)
{
	int i = request(p);

	if (i < 0)
		return p->base + 7;
	p->isr |= (u8)(1U << i);
	p->irr &= (u8) ~(1U << i);
	return (u8)(p->base + i);
}

static void deliver(void)
{
	struct fake_pic *p = fake_i8259.pic;
	u8 vector = acknowledge(p);
	bool before = fake_x86.irq_on;

	if (vector == p->base + CASCADE)
		vector = acknowledge(++p);
	fake_i8259.delivered++;
	fake_i8259.taken[8 * (p - fake_i8259.pic) + vector - p->base]++;
	fake_x86.irq_on = false;
	vector_dispatch(vector);
	fake_x86.irq_on = before;
}

void fake_irq_run(void)
{
	for (;;) {
		update_cascade();
		if (!fake_x86.irq_on || fake_i8259.delivered >= fake_i8259.limit || request(&fake_i8259.pic[0]) < 0)
			return;
		deliver();
	}
}

void fake_irq_line(unsigned int line, bool high)
{
	struct fake_pic *p = &fake_i8259.pic[line / 8];
	u8 bit = (u8)(1U << line % 8);

	if (high && !(p->wires & bit) && !(p->elcr & bit))
		p->irr |= bit;
	if (high)
		p->wires |= bit;
	else
		p->wires &= (u8)~bit;
	fake_irq_run();
}

void fake_irq_glitch(unsigned int line)
{
	/* The master has seen a request; for a line of the slave that is its cascade input. */
	if (line >= 8) {
		fake_i8259.pic[0].isr |= 1U << CASCADE;
		vector_dispatch(acknowledge(&fake_i8259.pic[1]));
	} else {
		vector_dispatch(acknowledge(&fake_i8259.pic[0]));
	}
}
