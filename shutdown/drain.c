/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * keep-msi, and whatever was on its way has arrived: a function may go on with what it had begun when bus master went. Linux does
 * this before a function's reset (pcie_flr, pci_wait_for_pending_transaction), not at shutdown.
 */
static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_clear_master(dev);
	pci_flush_posted(dev);
	pci_wait_for_pending_transaction(dev);
}

const struct pci_policy shutdown_drain = { "drain", apply, .clears_master = true };
