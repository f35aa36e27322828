/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_msi_shutdown(dev);
	pci_msix_shutdown(dev);
	pci_clear_master(dev);
}

const struct pci_policy shutdown_disable_msi = { "disable-msi", apply, .clears_master = true };
