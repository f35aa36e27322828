/* SPDX-License-Identifier: BSD-2-Clause */
#include "startup/policies.h"

static void apply(struct pci_dev *dev)
{
	pci_msi_init(dev);
	pci_msix_init(dev);
}

const struct pci_policy startup_disable_msi = { "disable-msi", apply, .clears_master = false };
