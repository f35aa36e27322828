/* SPDX-License-Identifier: BSD-2-Clause */
#include "startup/policies.h"

/*
 * The reference: Linux since 2011 (d5dea7d95c48). The enable bits of MSI and MSI-X are cleared before any driver is probed, so that
 * no function sends what the previous kernel programmed.
 *
 * Not done here: the messages stay in the function and in its table, unmasked, so MSI-X must be masked before it is enabled
 * (pci_enable_msix); INTx and bus master stay as inherited; nothing is reset.
 */
static void apply(struct pci_dev *dev)
{
	pci_msi_init(dev);
	pci_msix_init(dev);
}

const struct pci_policy startup_disable_msi = { "disable-msi", apply, .clears_master = false };
