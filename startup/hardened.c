/* SPDX-License-Identifier: BSD-2-Clause */
#include "startup/policies.h"

/*
 * In no kernel in this form: a function cannot interrupt or issue requests until its driver has reset it. INTx is disabled first,
 * so that clearing MSI asserts nothing, and is enabled again when a driver requests it, which has reset the device by then.
 *
 * A bridge loses bus master before what is below it, whose requests end there at once. The CPU's accesses still pass, and so do
 * their completions (PCIe 7.5.1.1.3); what a function sends meanwhile is an Unsupported Request, which some firmware takes for a
 * fatal error.
 *
 * Not done here: nothing is reset, since a reset may take its time, in which the functions further down would continue; each driver
 * resets its own before bus master is set again.
 */
static void apply(struct pci_dev *dev)
{
	pci_intx(dev, false);
	pci_clear_master(dev);
	pci_msi_mask(dev);
	pci_msix_mask(dev);
}

const struct pci_policy startup_hardened = { "hardened", apply, .clears_master = true };
