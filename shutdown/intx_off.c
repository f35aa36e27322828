/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * In no kernel, but a question that the argument of 2015 leaves open: to disable MSI at shutdown makes the function assert INTx;
 * with INTx disabled first it cannot. The next kernel has to enable INTx again, which Linux does for a device that it enables
 * (do_pci_enable_device).
 *
 * Not done here: nothing ends the device's work, nor masks a vector.
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
