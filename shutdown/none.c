/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * A crash: in kdump the dying kernel walks no device list, since each step may hang (machine_crash_shutdown calls no driver).
 *
 * Nothing is done here. The next kernel gets every function as it runs, with bus master, messages and DMA on; startup/hardened.c
 * and the memory reserved for it protect it.
 */
static void apply(struct pci_dev *dev)
{
	(void)dev;
}

const struct pci_policy shutdown_none = { "none", apply, .clears_master = false };
