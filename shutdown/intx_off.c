/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * Nobody's history, but what the argument of 2015 leaves to be asked: disabling MSI at shutdown lets INTx loose; with INTx disabled
 * first it does not. The next kernel has to enable it again, which Linux does for a device that it enables (do_pci_enable_device).
 */
static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_intx(dev, false);
	pci_msi_init(dev);
	pci_msix_init(dev);
	pci_clear_master(dev);
}

const struct pci_policy shutdown_intx_off = { "intx-off", apply, .clears_master = true };
