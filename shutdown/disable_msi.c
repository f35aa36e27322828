/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * Linux at kexec from 2012 to 2017: MSI and MSI-X off, because the next kernel was not prepared for messages (d52877c7b1af, 2008),
 * then bus master off (b566a22c2332, 2012). Without its first step it is the reference.
 *
 * pci_msi_shutdown and pci_msix_shutdown also enable INTx, and bus master is still on: what completes from then on asserts INTx,
 * and no handler serves it. Clearing bus master does not deassert it.
 *
 * Not done here: nothing disables INTx (shutdown/intx_off.c); nothing ends the device's work, nor waits for its posted writes.
 */
static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_msi_shutdown(dev);
	pci_msix_shutdown(dev);
	pci_clear_master(dev);
}

const struct pci_policy shutdown_disable_msi = { "disable-msi", apply, .clears_master = true };
