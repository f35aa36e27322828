/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SHUTDOWN_POLICIES_H
#define SHUTDOWN_POLICIES_H

#include "pci/dev.h"

/*
 * What a kernel does to one function on its way out; pci_apply_backward does it to all, children first. A policy is a file here and
 * a row; the first is the default.
 */
/* clang-format off */
#define SHUTDOWN_POLICIES(row) \
	row(shutdown_keep_msi)         /* the reference: the patch, and Linux since 2017 (fda78d7a0ead) */ \
	row(shutdown_disable_msi)      /* Linux 2012 to 2017 */ \
	row(shutdown_none)             /* kdump: no device is shut down */ \
	row(shutdown_disable_msi_only) /* Linux 2008 to 2012 */ \
	row(shutdown_bridges_only)     /* the EFI stub's disable_early_pci_dma */ \
	row(shutdown_reset)            /* Linux's virtio since 2025, for every device */ \
	row(shutdown_intx_off)         /* MSI off without INTx asserted */ \
	row(shutdown_drain)            /* the reference, and no transaction is pending */
/* clang-format on */

SHUTDOWN_POLICIES(PCI_POLICY_DECLARE)
enum { SHUTDOWN_POLICIES(PCI_POLICY_NUMBER) SHUTDOWN_COUNT };
extern const struct pci_policy *const shutdown_policies[SHUTDOWN_COUNT + 1];

#endif
