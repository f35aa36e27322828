/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SHUTDOWN_POLICIES_H
#define SHUTDOWN_POLICIES_H

#include "pci/dev.h"

/* What a kernel does to one function on its way out; pci_apply_backward does it to all, children first. */
extern const struct pci_policy shutdown_keep_msi;    /* the reference: the patch, and Linux since 2017 (fda78d7a0ead) */
extern const struct pci_policy shutdown_disable_msi; /* Linux 2012 to 2017 */
extern const struct pci_policy shutdown_none;	     /* kdump: nobody shut anything down */

#endif
