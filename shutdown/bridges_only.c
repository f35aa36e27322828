/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * What the EFI stub leaves with efi=disable_early_pci_dma, and what is asked of firmware at ExitBootServices: what is below a
 * bridge cannot reach memory.
 *
 * Not done here: a function on a root bus keeps its bus master, and so does each function below the bridge; no driver's callback is
 * called, whereas the stub has firmware's drivers release what is below a bridge (DisconnectController).
 */
static void apply(struct pci_dev *dev)
{
	if (dev->header_type == PCI_HEADER_TYPE_BRIDGE)
		pci_clear_master(dev);
}

const struct pci_policy shutdown_bridges_only = { "bridges-only", apply, .clears_master = false };
