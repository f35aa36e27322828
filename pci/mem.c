/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/dev.h"

u32 pci_mem_read(const struct pci_dev *dev, u64 address, unsigned int size)
{
	return dev->access->ops->mem_read(dev->access, address, size);
}

void pci_mem_write(const struct pci_dev *dev, u64 address, unsigned int size, u32 value)
{
	dev->access->ops->mem_write(dev->access, address, size, value);
}

u32 pci_mem_read32(const struct pci_dev *dev, u64 address)
{
	return pci_mem_read(dev, address, 4);
}

void pci_mem_write32(const struct pci_dev *dev, u64 address, u32 value)
{
	pci_mem_write(dev, address, 4, value);
}

void pci_mem_write64_lo_hi(const struct pci_dev *dev, u64 address, u64 value)
{
	pci_mem_write32(dev, address, (u32)value);
	pci_mem_write32(dev, address + 4, (u32)(value >> 32));
}
