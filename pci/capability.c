/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/dev.h"

/*
 * Two lists describe what a function has beyond its header. Capabilities (PCI 6.7) are in the first 256 bytes: where Status says
 * that there are any, the byte at 0x34 is the offset of the first, and each begins with its ID and the offset of the next; 0 ends
 * the list. Extended ones (PCIe 7.6) are beyond, so ECAM alone reaches them: the first is at 0x100, each begins with 16 bits of ID,
 * 4 of version and 12 of the next offset, and all zeros there say that there is none.
 *
 * Every offset comes from the device. It may point into the header, past the space, or back to an earlier entry. A list without a
 * loop has no more entries than fit into the space, which bounds the walk (Linux: PCI_FIND_CAP_TTL, 48); a function that was
 * removed reads all ones, which ends it.
 */

/* Below 0x40 is the header; a capability takes 4 bytes or more, so a list without a loop has no more than these. */
#define CAP_FIRST     0x40
#define CAP_COUNT_MAX ((PCI_CFG_SPACE_SIZE - CAP_FIRST) / 4)
#define EXT_COUNT_MAX ((PCI_CFG_SPACE_EXP_SIZE - PCI_EXT_CAP_START) / 8)

bool pci_next_capability(const struct pci_dev *dev, struct pci_cap *cap)
{
	u16 header;

	if (!cap->seen) {
		if (!(dev->inherited.status & PCI_STATUS_CAP_LIST))
			return false;
		cap->next = pci_read_config_byte(dev, PCI_CAPABILITY_LIST);
	}
	cap->pos = cap->next & 0xfc; /* PCI 6.7: the low two bits are reserved */
	if (cap->pos < CAP_FIRST)
		return false;
	if (cap->seen == CAP_COUNT_MAX) {
		pci_line(dev, "capability list loops, %u entries seen", CAP_COUNT_MAX);
		return false;
	}
	header = pci_read_config_word(dev, cap->pos);
	cap->id = (u8)header;
	cap->next = (u8)(header >> 8);
	cap->seen++;
	return header != 0xffff; /* else the function was removed */
}

enum status pci_find_ext_capability(const struct pci_dev *dev, u16 id, u16 size, u16 *pos)
{
	u16 at = PCI_EXT_CAP_START;

	if (!dev->pcie || dev->access->cfg_size < PCI_CFG_SPACE_EXP_SIZE)
		return ERR_ABSENT;
	for (unsigned int i = 0; i < EXT_COUNT_MAX && at >= PCI_EXT_CAP_START; i++) {
		u32 header = pci_read_config_dword(dev, at);

		if (!header || header == 0xffffffff)
			return ERR_ABSENT;
		if ((header & 0xffff) == id) {
			*pos = at;
			return at + size <= PCI_CFG_SPACE_EXP_SIZE ? OK : ERR_ABSENT;
		}
		at = header >> 20 & 0xffc;
	}
	return ERR_ABSENT;
}
