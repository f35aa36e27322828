/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

const struct pci_policy *const shutdown_policies[] = { SHUTDOWN_POLICIES(PCI_POLICY_ADDRESS) NULL };
