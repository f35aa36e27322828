/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/dev.h"

/*
 * MSI (PCIe 6.1.4): the function signals an interrupt by writing Data to Address. The write is a request like any DMA, so a cleared
 * bus master suppresses it; INTx is not a request of the function and continues.
 */

#define VECTORS_MAX 32U /* larger values of QMASK are reserved */

static void write_flags(struct pci_dev *dev, u16 old, u16 new, const char *why)
{
	pci_write_config_word(dev, (u16)(dev->msi + PCI_MSI_FLAGS), new);
	pci_line(dev, "msi control 0x%04x -> 0x%04x (%s)", old, new, why);
}

/* Clears the enable bit where it is set; returns whether it was. */
static bool disable(struct pci_dev *dev)
{
	u16 flags;

	if (!dev->msi)
		return false;
	flags = pci_read_config_word(dev, (u16)(dev->msi + PCI_MSI_FLAGS));
	if (flags == 0xffff || !(flags & PCI_MSI_FLAGS_ENABLE))
		return false;
	write_flags(dev, flags, flags & (u16)~PCI_MSI_FLAGS_ENABLE, "disable MSI");
	return true;
}

unsigned int pci_msi_vec_count(const struct pci_dev *dev)
{
	return dev->msi ? MIN(1U << ((dev->inherited.msi_flags & PCI_MSI_FLAGS_QMASK) >> 1), VECTORS_MAX) : 0;
}

static u16 mask_register(const struct pci_dev *dev, u16 flags)
{
	return (u16)(dev->msi + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32));
}

/* In the mask register; bits beyond are reserved (PCIe 7.7.1.6). */
static u32 all_vectors(const struct pci_dev *dev)
{
	return (u32)((1ULL << pci_msi_vec_count(dev)) - 1);
}

enum status pci_enable_msi(struct pci_dev *dev, struct msi_message message, unsigned int count)
{
	u16 pos = dev->msi, flags, mask, granted;
	unsigned int vectors;
	bool wide;
	u32 all;

	if (!pos)
		return ERR_ABSENT;
	flags = pci_read_config_word(dev, (u16)(pos + PCI_MSI_FLAGS));
	/* Its layout is read-only; if it differs, it was not checked against the space. */
	if (flags == 0xffff || (flags ^ dev->inherited.msi_flags) & (PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT))
		return ERR_ABSENT;
	wide = flags & PCI_MSI_FLAGS_64BIT;
	if ((!wide && message.address >> 32) || message.data >> 16) {
		pci_line(dev, "msi address 0x%lx does not fit %u bits, or data 0x%x 16", message.address, wide ? 64 : 32,
			 message.data);
		return ERR_RANGE;
	}
	vectors = pci_msi_vec_count(dev);
	if (!count || count & (count - 1) || count > vectors || message.data & (count - 1)) {
		pci_line(dev, "msi has %u vectors, %u from 0x%02x on are needed", vectors, count, message.data);
		return ERR_RANGE;
	}
	disable(dev);
	mask = mask_register(dev, flags);
	all = all_vectors(dev);
	if (flags & PCI_MSI_FLAGS_MASKBIT)
		pci_write_config_dword(dev, mask, all);
	pci_write_config_dword(dev, (u16)(pos + PCI_MSI_ADDRESS_LO), (u32)message.address);
	if (wide)
		pci_write_config_dword(dev, (u16)(pos + PCI_MSI_ADDRESS_HI), (u32)(message.address >> 32));
	pci_write_config_word(dev, (u16)(pos + (wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32)), (u16)message.data);
	/* Before enabling: a function with an event in between signals it by neither, as while MSI is masked. */
	pci_intx(dev, false);
	flags &= (u16)~PCI_MSI_FLAGS_ENABLE;	    /* as disable() left it */
	granted = (u16)(__builtin_ctz(count) << 4); /* log2 */
	write_flags(dev, flags, (flags & (u16)~PCI_MSI_FLAGS_QSIZE) | granted | PCI_MSI_FLAGS_ENABLE, "enable MSI");
	if (flags & PCI_MSI_FLAGS_MASKBIT)
		pci_write_config_dword(dev, mask, (u32)(UINT64_MAX << count) & all);
	return OK;
}

void pci_msi_shutdown(struct pci_dev *dev)
{
	if (disable(dev))
		pci_intx(dev, true);
}

void pci_msi_init(struct pci_dev *dev)
{
	disable(dev);
}

void pci_msi_mask(struct pci_dev *dev)
{
	u16 flags;

	disable(dev);
	if (!dev->msi || !(dev->inherited.msi_flags & PCI_MSI_FLAGS_MASKBIT))
		return;
	flags = pci_read_config_word(dev, (u16)(dev->msi + PCI_MSI_FLAGS));
	/* As in pci_enable_msi: with another layout it is not the function that was enumerated. */
	if (flags == 0xffff || (flags ^ dev->inherited.msi_flags) & (PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT))
		return;
	pci_write_config_dword(dev, mask_register(dev, flags), all_vectors(dev));
}
