/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * Linux 2008 to 2012 (d52877c7b1af): the next kernel was not prepared for MSI. Nobody cleared bus master, so DMA went on into
 * memory that was the next kernel's.
 */
static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_msi_shutdown(dev);
	pci_msix_shutdown(dev);
}

const struct pci_policy shutdown_disable_msi_only = { "disable-msi-only", apply, .clears_master = false };
