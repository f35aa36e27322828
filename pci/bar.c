/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/dev.h"

/*
 * Base Address Registers (PCIe 7.5.1.2.1): a function decodes a range of memory, or of I/O ports, at the address that its register
 * holds. Firmware assigns the addresses. The low bits are read-only flags: I/O or memory; 32 bits, or 64 with the next register for
 * the upper half; prefetchable.
 *
 * The register does not say how large the range is. A range is a power of two and aligned to itself, so the address bits below its
 * size are wired to 0: of what reads back after ones were written, the lowest address bit that is set is the size. While it holds
 * ones the register is an address, too, so decoding is off meanwhile, and stays off where the old value does not read back.
 *
 * Linux sizes every BAR at enumeration (__pci_read_base). Here a BAR is sized when a capability or a driver needs something in it,
 * and only once: what is outside would be the registers of another device.
 */

/* A BAR's register, or two of them. */
struct bar {
	u16 reg;
	bool io;
	bool wide;
	u64 value; /* with the flags in the low bits */
};

static unsigned int count_bars(const struct pci_dev *dev)
{
	if (dev->header_type == PCI_HEADER_TYPE_BRIDGE)
		return 2;
	return dev->header_type == PCI_HEADER_TYPE_NORMAL ? PCI_STD_NUM_BARS : 0;
}

static bool is_wide(u32 low)
{
	return !(low & PCI_BASE_ADDRESS_SPACE_IO) && (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
}

static enum status read_bar(const struct pci_dev *dev, unsigned int number, struct bar *bar)
{
	unsigned int bars = count_bars(dev);
	u32 low;

	if (number >= bars)
		return ERR_ABSENT;
	/* What looks like a BAR may be the upper half of one. */
	for (unsigned int i = 0; i < number; i++)
		if (is_wide(pci_read_config_dword(dev, (u16)(PCI_BASE_ADDRESS_0 + 4 * i))) && ++i == number)
			return ERR_ABSENT;
	bar->reg = (u16)(PCI_BASE_ADDRESS_0 + 4 * number);
	low = pci_read_config_dword(dev, bar->reg);
	if (low == 0xffffffff) /* no function responds */
		return ERR_ABSENT;
	bar->value = low;
	bar->io = low & PCI_BASE_ADDRESS_SPACE_IO;
	bar->wide = is_wide(low);
	if (bar->wide) {
		if (number + 1 >= bars)
			return ERR_ABSENT;
		bar->value |= (u64)pci_read_config_dword(dev, (u16)(bar->reg + 4)) << 32;
	}
	return OK;
}

static u64 address_bits(const struct bar *bar)
{
	return bar->value & (bar->io ? PCI_BASE_ADDRESS_IO_MASK : PCI_BASE_ADDRESS_MEM_MASK);
}

static enum status bar_address(const struct pci_dev *dev, unsigned int number, bool io, u64 *address)
{
	struct bar bar;
	enum status s = read_bar(dev, number, &bar);

	if (s != OK)
		return s;
	if (bar.io != io)
		return ERR_ABSENT;
	*address = address_bits(&bar);
	if (io && *address > UINT16_MAX)
		return ERR_ABSENT; /* the CPU has 64 KiB of ports */
	return *address ? OK : ERR_ABSENT;
}

static void write_bar(const struct pci_dev *dev, const struct bar *bar, u64 value)
{
	pci_write_config_dword(dev, bar->reg, (u32)value);
	if (bar->wide)
		pci_write_config_dword(dev, (u16)(bar->reg + 4), (u32)(value >> 32));
}

static void enable(struct pci_dev *dev, bool io)
{
	if (io)
		pci_enable_io(dev);
	else
		pci_enable_memory(dev);
}

/* The bits that hold ones are the address's own (PCIe 7.5.1.2.1). */
static u64 probe_size(struct pci_dev *dev, unsigned int number)
{
	struct bar bar, now;
	bool decoded;
	u64 mask = 0;

	if (read_bar(dev, number, &bar) != OK)
		return 0;
	/* Else the function would decode the address that the ones are. Still set: it was removed, or the bit is hardwired. */
	decoded = bar.io ? pci_disable_io(dev) : pci_disable_memory(dev);
	if (pci_read_config_word(dev, PCI_COMMAND) & (bar.io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY))
		return 0;
	write_bar(dev, &bar, UINT64_MAX);
	if (read_bar(dev, number, &now) == OK && now.io == bar.io && now.wide == bar.wide)
		mask = address_bits(&now);
	write_bar(dev, &bar, bar.value);
	if (read_bar(dev, number, &now) != OK || now.value != bar.value)
		return 0; /* it must not decode whatever address it has now */
	if (decoded)
		enable(dev, bar.io);
	return mask & -mask;
}

/* The address, or the port, of what the device says to be in a BAR. */
static enum status locate(struct pci_dev *dev, const char *what, unsigned int number, bool io, u64 offset, u64 size, u64 *address)
{
	u64 *bar_size = &dev->bar_size[number % PCI_STD_NUM_BARS], base;
	enum status s = bar_address(dev, number, io, &base);

	if (s != OK) {
		pci_line(dev, "%s is in BAR %u, which is not an assigned %s BAR", what, number, io ? "I/O" : "memory");
		return s;
	}
	if (!*bar_size)
		*bar_size = probe_size(dev, number);
	/* A BAR is aligned to its size, so that no end wraps. */
	if (!size || size > *bar_size || offset > *bar_size - size || base & (*bar_size - 1)) {
		pci_line(dev, "%s is at 0x%lx of BAR %u, %lu bytes: the BAR has %lu", what, offset, number, size, *bar_size);
		return ERR_RANGE;
	}
	*address = base + offset;
	return OK;
}

enum status pci_map_bar(struct pci_dev *dev, const char *what, unsigned int number, u64 offset, u64 size, u64 *address)
{
	u64 at;
	enum status s = locate(dev, what, number, false, offset, size, &at);

	if (s == OK)
		s = dev->access->map(at, size);
	if (s != OK)
		return s;
	enable(dev, false);
	*address = at;
	return OK;
}

enum status pci_map_io_bar(struct pci_dev *dev, const char *what, unsigned int number, u64 offset, u64 size, u16 *port)
{
	u64 at;
	enum status s = locate(dev, what, number, true, offset, size, &at);

	if (s != OK)
		return s;
	enable(dev, true);
	*port = (u16)at;
	return OK;
}
