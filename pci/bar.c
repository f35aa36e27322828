/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/dev.h"

enum status pci_bar_address(const struct pci_dev *dev, unsigned int bar, u64 *address)
{
	unsigned int bars = dev->header_type == PCI_HEADER_TYPE_BRIDGE ? 2 : 6;
	u16 reg = (u16)(PCI_BASE_ADDRESS_0 + 4 * bar);
	u32 low;

	if (bar >= bars)
		return ERR_ABSENT;
	low = pci_read_config_dword(dev, reg);
	if (low == 0xffffffff || low & PCI_BASE_ADDRESS_SPACE_IO)
		return ERR_ABSENT;
	*address = low & ~0xfU;
	if ((low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64) {
		if (bar + 1 >= bars)
			return ERR_ABSENT;
		*address |= (u64)pci_read_config_dword(dev, (u16)(reg + 4)) << 32;
	}
	return *address ? OK : ERR_ABSENT;
}
