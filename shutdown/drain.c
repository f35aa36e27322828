/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * The reference, then a wait for posted writes and pending reads: a function may complete what it had begun when bus master was
 * cleared. Linux does this before a function's reset (pcie_flr, pci_wait_for_pending_transaction), not at shutdown.
 *
 * Not done here: nothing ends the device's work, as in the reference; a conventional PCI function does not report what is pending.
 */
static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_clear_master(dev);
	pci_flush_posted(dev);
	pci_wait_for_pending_transaction(dev);
}

const struct pci_policy shutdown_drain = { "drain", apply, .clears_master = true };
