/* SPDX-License-Identifier: BSD-2-Clause */
#include "startup/policies.h"

/* Before 2011 nothing was done: what the previous kernel left enabled stayed enabled until a driver came, if one came. */
static void apply(struct pci_dev *dev)
{
	(void)dev;
}

const struct pci_policy startup_none = { "none", apply, .clears_master = false };
