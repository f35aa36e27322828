/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/time.h"
#include "pci/dev.h"

#define PENDING_MAX_US 700000UL /* Linux's bound (pci_wait_for_pending) */

void pci_flush_posted(const struct pci_dev *dev)
{
	pci_read_config_word(dev, PCI_COMMAND);
}

void pci_wait_for_pending_transaction(const struct pci_dev *dev)
{
	struct deadline deadline;
	u16 status;

	if (!dev->pcie || dev->pcie + PCI_EXP_DEVSTA + 2 > PCI_CFG_SPACE_SIZE)
		return;
	deadline = deadline_after_us(PENDING_MAX_US);
	while ((status = pci_read_config_word(dev, (u16)(dev->pcie + PCI_EXP_DEVSTA))) & PCI_EXP_DEVSTA_TRPND && status != 0xffff) {
		if (deadline_passed(&deadline)) {
			pci_line(dev, "transactions still pending after %lu ms", PENDING_MAX_US / 1000);
			return;
		}
	}
}
