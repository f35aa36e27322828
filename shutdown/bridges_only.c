/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * What the EFI stub leaves behind with efi=disable_early_pci_dma, and what is asked of firmware at ExitBootServices: nothing behind
 * a bridge may reach memory, and what sits on a root bus may.
 */
static void apply(struct pci_dev *dev)
{
	if (dev->header_type == PCI_HEADER_TYPE_BRIDGE)
		pci_clear_master(dev);
}

const struct pci_policy shutdown_bridges_only = { "bridges-only", apply, .clears_master = false };
