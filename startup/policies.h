/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef STARTUP_POLICIES_H
#define STARTUP_POLICIES_H

#include "pci/dev.h"

/*
 * What a kernel does to one function on its way in, before any driver; pci_apply_forward does it to all, parents first. A policy is
 * a file here and a row; the first is the default.
 */
/* clang-format off */
#define STARTUP_POLICIES(row) \
	row(startup_disable_msi) /* the reference: Linux since 2011 (d5dea7d95c48) */ \
	row(startup_none)        /* Linux before that */ \
	row(startup_hardened)    /* interrupts and bus master off until the driver's reset */
/* clang-format on */

STARTUP_POLICIES(PCI_POLICY_DECLARE)
enum { STARTUP_POLICIES(PCI_POLICY_NUMBER) STARTUP_COUNT };
extern const struct pci_policy *const startup_policies[STARTUP_COUNT + 1];

#endif
