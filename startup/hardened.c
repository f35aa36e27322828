/* SPDX-License-Identifier: BSD-2-Clause */
#include "startup/policies.h"

/*
 * A kernel that believes nobody: whoever had the function, it is silent before anything is asked of it. INTx goes first, so that
 * clearing MSI asserts nothing, and comes back when a driver asks for it, which has reset the device by then. No reset here: one
 * may take its time, in which the functions further down would go on.
 *
 * A bridge loses bus master before what is behind it, which ends there at once. The CPU's accesses still pass, and so do their
 * completions (PCIe 7.5.1.1.3); what a function sends meanwhile is an Unsupported Request, which some firmware takes for a fatal
 * error.
 */
static void apply(struct pci_dev *dev)
{
	pci_intx(dev, false);
	pci_clear_master(dev);
	pci_msi_mask(dev);
	pci_msix_mask(dev);
}

const struct pci_policy startup_hardened = { "hardened", apply, .clears_master = true };
