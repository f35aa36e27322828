/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * What Linux's virtio bus does since 2025 (8bd2fa086a04), for every device whose driver knows a reset: its requests end here, not
 * under the next kernel.
 *
 * Not done here: MSI and MSI-X stay on; a function without a driver loses its bus master only, as does one whose reset fails.
 */
static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_driver_reset(dev);
	pci_clear_master(dev);
}

const struct pci_policy shutdown_reset = { "reset", apply, .clears_master = true };
