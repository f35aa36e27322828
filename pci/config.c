/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/dev.h"

u32 pci_bus_read_dev_vendor_id(const struct pci_access *access, u16 bdf)
{
	return access->ops->cfg_read(access, bdf, PCI_VENDOR_ID, 4);
}

bool pci_vendor_id_valid(u32 id)
{
	return (id & 0xffff) && (id & 0xffff) != 0xffff;
}

u8 pci_read_config_byte(const struct pci_dev *dev, u16 reg)
{
	return (u8)dev->access->ops->cfg_read(dev->access, dev->bdf, reg, 1);
}

u16 pci_read_config_word(const struct pci_dev *dev, u16 reg)
{
	return (u16)dev->access->ops->cfg_read(dev->access, dev->bdf, reg, 2);
}

u32 pci_read_config_dword(const struct pci_dev *dev, u16 reg)
{
	return dev->access->ops->cfg_read(dev->access, dev->bdf, reg, 4);
}

void pci_write_config_byte(const struct pci_dev *dev, u16 reg, u8 value)
{
	dev->access->ops->cfg_write(dev->access, dev->bdf, reg, 1, value);
}

void pci_write_config_word(const struct pci_dev *dev, u16 reg, u16 value)
{
	dev->access->ops->cfg_write(dev->access, dev->bdf, reg, 2, value);
}

void pci_write_config_dword(const struct pci_dev *dev, u16 reg, u32 value)
{
	dev->access->ops->cfg_write(dev->access, dev->bdf, reg, 4, value);
}
