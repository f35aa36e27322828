/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/string.h"
#include "pci/dev.h"

const struct pci_policy *pci_policy_named(const struct pci_policy *const *table, const char *name)
{
	while (*table && strcmp((*table)->name, name))
		table++;
	return *table;
}

void pci_driver_shutdown(struct pci_dev *dev)
{
	if (dev->driver && dev->driver->shutdown)
		dev->driver->shutdown(dev);
}

void pci_driver_reset(struct pci_dev *dev)
{
	if (dev->driver && dev->driver->reset)
		dev->driver->reset(dev);
}

void pci_apply_forward(struct pci *pci, const struct pci_policy *policy)
{
	for (unsigned int i = 0; i < pci->count; i++)
		if (!pci->dev[i].read_only)
			policy->apply(&pci->dev[i]);
}

void pci_apply_backward(struct pci *pci, const struct pci_policy *policy)
{
	for (unsigned int i = pci->count; i-- > 0;)
		if (!pci->dev[i].read_only)
			policy->apply(&pci->dev[i]);
}
