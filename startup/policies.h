/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef STARTUP_POLICIES_H
#define STARTUP_POLICIES_H

#include "pci/dev.h"

/* What a kernel does to one function on its way in, before any driver; pci_apply_forward does it to all, parents first. */
extern const struct pci_policy startup_disable_msi; /* the reference: Linux since 2011 (d5dea7d95c48) */
extern const struct pci_policy startup_none;	    /* Linux before that */
extern const struct pci_policy startup_hardened;    /* silent, whoever had it before */

#endif
