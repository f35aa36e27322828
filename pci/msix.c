/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/dev.h"

/*
 * MSI-X (PCIe 6.1.4): as MSI, but the messages are in a table in the function's memory, an entry a vector, each with a mask bit.
 * The entries survive when MSI-X is disabled: what the previous kernel wrote there is sent again if MSI-X is enabled without
 * masking first.
 */

static u16 read_flags(const struct pci_dev *dev)
{
	return pci_read_config_word(dev, (u16)(dev->msix + PCI_MSIX_FLAGS));
}

static void write_flags(struct pci_dev *dev, u16 old, u16 new, const char *why)
{
	pci_write_config_word(dev, (u16)(dev->msix + PCI_MSIX_FLAGS), new);
	pci_line(dev, "msix control 0x%04x -> 0x%04x (%s)", old, new, why);
}

static bool enabled(const struct pci_dev *dev, u16 *flags)
{
	if (!dev->msix)
		return false;
	*flags = read_flags(dev);
	return *flags != 0xffff && *flags & PCI_MSIX_FLAGS_ENABLE;
}

static void write_entry(const struct pci_dev *dev, unsigned int entry, u32 field, u32 value)
{
	pci_mem_write32(dev, dev->msix_table + (u64)entry * PCI_MSIX_ENTRY_SIZE + field, value);
}

unsigned int pci_msix_vec_count(const struct pci_dev *dev)
{
	return dev->msix ? (dev->inherited.msix_flags & PCI_MSIX_FLAGS_QSIZE) + 1U : 0;
}

static enum status map_table(struct pci_dev *dev, unsigned int entries)
{
	u32 table = pci_read_config_dword(dev, (u16)(dev->msix + PCI_MSIX_TABLE));
	enum status s = pci_map_bar(dev, "msix table", table & PCI_MSIX_TABLE_BIR, table & PCI_MSIX_TABLE_OFFSET,
				    (u64)entries * PCI_MSIX_ENTRY_SIZE, &dev->msix_table);

	return s == ERR_ABSENT ? ERR_RANGE : s; /* a table without memory is not a function without MSI-X */
}

enum status pci_enable_msix(struct pci_dev *dev, const struct msi_message *messages, unsigned int count)
{
	unsigned int entries;
	enum status s;
	u16 flags, masked;

	if (!dev->msix)
		return ERR_ABSENT;
	flags = read_flags(dev);
	if (flags == 0xffff)
		return ERR_ABSENT;
	entries = pci_msix_vec_count(dev);
	if (count > entries) {
		pci_line(dev, "msix has %u vectors, %u are needed", entries, count);
		return ERR_RANGE;
	}
	s = map_table(dev, entries);
	if (s != OK)
		return s;

	/*
	 * Enabled and masked as a whole first: some devices require MSI-X on before the table is accessed (Linux,
	 * msix_capability_init).
	 */
	masked = flags | PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
	write_flags(dev, flags, masked, "enable MSI-X, all masked");
	for (unsigned int i = 0; i < count; i++) {
		write_entry(dev, i, PCI_MSIX_ENTRY_LOWER_ADDR, (u32)messages[i].address);
		write_entry(dev, i, PCI_MSIX_ENTRY_UPPER_ADDR, (u32)(messages[i].address >> 32));
		write_entry(dev, i, PCI_MSIX_ENTRY_DATA, messages[i].data);
	}
	pci_intx(dev, false);
	/* Every entry gets its mask bit written: those beyond count may hold the previous kernel's messages, unmasked. */
	for (unsigned int i = 0; i < entries; i++)
		write_entry(dev, i, PCI_MSIX_ENTRY_VECTOR_CTRL, i < count ? 0 : PCI_MSIX_ENTRY_CTRL_MASKBIT);
	dev->msix_used = (u16)count;
	write_flags(dev, masked, masked & (u16)~PCI_MSIX_FLAGS_MASKALL, "unmask MSI-X");
	return OK;
}

void pci_msix_shutdown(struct pci_dev *dev)
{
	u16 flags;

	if (!enabled(dev, &flags))
		return;
	for (unsigned int i = 0; i < dev->msix_used; i++)
		write_entry(dev, i, PCI_MSIX_ENTRY_VECTOR_CTRL, PCI_MSIX_ENTRY_CTRL_MASKBIT);
	write_flags(dev, flags, flags & (u16)~PCI_MSIX_FLAGS_ENABLE, "disable MSI-X");
	pci_intx(dev, true);
}

void pci_msix_init(struct pci_dev *dev)
{
	u16 flags;

	if (enabled(dev, &flags))
		write_flags(dev, flags, flags & (u16)~PCI_MSIX_FLAGS_ENABLE, "disable MSI-X");
}

void pci_msix_mask(struct pci_dev *dev)
{
	u16 old, new;

	if (!dev->msix)
		return;
	old = read_flags(dev);
	new = (old & (u16)~PCI_MSIX_FLAGS_ENABLE) | PCI_MSIX_FLAGS_MASKALL;
	if (old != 0xffff && old != new)
		write_flags(dev, old, new, "disable MSI-X, all masked");
}
