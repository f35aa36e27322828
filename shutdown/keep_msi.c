/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_clear_master(dev);
}

const struct pci_policy shutdown_keep_msi = { "keep-msi", apply, .clears_master = true };
