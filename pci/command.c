/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/dev.h"

/*
 * 16 bits: a 32-bit write would write Status back, whose error bits are write-1-to-clear. A function that was removed reads all
 * ones, and must not be written to. No read-back: a configuration write is non-posted, and the next kernel's report is the proof.
 */
static bool update(struct pci_dev *dev, u16 clear, u16 set, const char *why)
{
	u16 old, new;

	if (dev->read_only)
		return false; /* a bridge upstream of a function that may be written to */
	old = pci_read_config_word(dev, PCI_COMMAND);
	new = (u16)((old & ~clear) | set);
	if (old == 0xffff || old == new)
		return false;
	pci_write_config_word(dev, PCI_COMMAND, new);
	pci_line(dev, "command 0x%04x -> 0x%04x (%s)", old, new, why);
	return true;
}

void pci_set_master(struct pci_dev *dev)
{
	if (dev->bridge)
		pci_set_master(dev->bridge);
	update(dev, 0, PCI_COMMAND_MASTER, "set bus master");
}

const struct pci_dev *pci_blocking_bridge(const struct pci_dev *dev)
{
	const struct pci_dev *bridge = dev->bridge;

	while (bridge && (!bridge->read_only || bridge->inherited.command & PCI_COMMAND_MASTER))
		bridge = bridge->bridge;
	return bridge;
}

void pci_clear_master(struct pci_dev *dev)
{
	update(dev, PCI_COMMAND_MASTER, 0, "clear bus master");
}

void pci_enable_memory(struct pci_dev *dev)
{
	update(dev, 0, PCI_COMMAND_MEMORY, "enable memory");
}

bool pci_disable_memory(struct pci_dev *dev)
{
	return update(dev, PCI_COMMAND_MEMORY, 0, "disable memory");
}

void pci_enable_io(struct pci_dev *dev)
{
	update(dev, 0, PCI_COMMAND_IO, "enable I/O");
}

bool pci_disable_io(struct pci_dev *dev)
{
	return update(dev, PCI_COMMAND_IO, 0, "disable I/O");
}

void pci_intx(struct pci_dev *dev, bool enable)
{
	if (enable)
		update(dev, PCI_COMMAND_INTX_DISABLE, 0, "enable INTx");
	else
		update(dev, 0, PCI_COMMAND_INTX_DISABLE, "disable INTx");
}
