/* SPDX-License-Identifier: BSD-2-Clause */
#include "startup/policies.h"

/*
 * Linux before 2011: what the previous kernel left enabled stayed enabled until a driver was probed, if there was one.
 *
 * Nothing is done here, as in Linux until d5dea7d95c48.
 */
static void apply(struct pci_dev *dev)
{
	(void)dev;
}

const struct pci_policy startup_none = { "none", apply, .clears_master = false };
