/* SPDX-License-Identifier: BSD-2-Clause */
#include "startup/policies.h"

const struct pci_policy *const startup_policies[] = { STARTUP_POLICIES(PCI_POLICY_ADDRESS) NULL };
