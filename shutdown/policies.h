/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SHUTDOWN_POLICIES_H
#define SHUTDOWN_POLICIES_H

#include "pci/dev.h"

/* What a kernel does to one function on its way out; pci_apply_backward does it to all, children first. */
extern const struct pci_policy shutdown_keep_msi;	  /* the reference: the patch, and Linux since 2017 (fda78d7a0ead) */
extern const struct pci_policy shutdown_disable_msi;	  /* Linux 2012 to 2017 */
extern const struct pci_policy shutdown_none;		  /* kdump: nobody shut anything down */
extern const struct pci_policy shutdown_disable_msi_only; /* Linux 2008 to 2012 */
extern const struct pci_policy shutdown_bridges_only;	  /* the EFI stub's disable_early_pci_dma */
extern const struct pci_policy shutdown_reset;		  /* Linux's virtio since 2025, for every device */
extern const struct pci_policy shutdown_intx_off;	  /* MSI off without letting INTx loose */
extern const struct pci_policy shutdown_drain;		  /* the reference, and nothing is on its way any more */

#endif
