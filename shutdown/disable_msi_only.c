/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * Linux from 2008 to 2012 (d52877c7b1af): MSI and MSI-X off, because the next kernel was not prepared for messages.
 *
 * Not done here: nothing clears bus master, so DMA continues into memory that is the next kernel's (until b566a22c2332); INTx is
 * enabled, and no handler serves it.
 */
static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_msi_shutdown(dev);
	pci_msix_shutdown(dev);
}

const struct pci_policy shutdown_disable_msi_only = { "disable-msi-only", apply, .clears_master = false };
