/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/pirq/pirq.h"

/* PIRQ[n]_ROUT of the ICH9, PIRQRC of the 82371SB (PIIX3): 8 bits a PIRQ, bit 7 disables, bits 3..0 the line. */
#define PIRQ_DISABLE 0x80
#define PIRQ_LINE    0x0f

struct router {
	u16 vendor;
	u16 device;
	u8 registers[8];
	unsigned int count;
};

static const struct router routers[] = {
	{ 0x8086, 0x2918, { 0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b }, 8 }, /* ICH9 LPC (q35) */
	{ 0x8086, 0x7000, { 0x60, 0x61, 0x62, 0x63 }, 4 },			   /* PIIX3 (pc) */
};

static const struct router *find(const struct pci_dev *dev)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(routers); i++)
		if (routers[i].vendor == dev->vendor && routers[i].device == dev->device)
			return &routers[i];
	return NULL;
}

static bool match(const struct pci_dev *dev)
{
	return find(dev) != NULL;
}

/* Enables the PIRQs that are routed to a line but disabled. */
static enum status reset(struct pci_dev *dev)
{
	const struct router *router = find(dev);

	for (unsigned int i = 0; router && i < router->count; i++) {
		u8 old = pci_read_config_byte(dev, router->registers[i]);
		u8 new = old &(u8)~PIRQ_DISABLE;

		if (old == 0xff || old == new || !(old & PIRQ_LINE))
			continue;
		pci_write_config_byte(dev, router->registers[i], new);
		pci_line(dev, "pirq 0x%02x 0x%02x -> 0x%02x (enable)", router->registers[i], old, new);
	}
	return OK;
}

const struct driver pirq_driver = { .pci = { .name = "PIRQ router", .match = match, .reset = reset } };
