/* SPDX-License-Identifier: BSD-2-Clause */
#include "shutdown/policies.h"

/*
 * The reference: Linux at kexec since January 2017 (fda78d7a0ead). A cleared bus master stops every request of the function.
 * A message is a memory write, so it stops, too; INTx is not a request, and does not.
 *
 * MSI and MSI-X stay on: a function in which both are off signals by INTx, and no handler is left to serve it. The next kernel
 * turns them off before it probes the function (startup/disable_msi.c).
 *
 * Not done here: nothing ends the device's work, which pauses and resumes when bus master is set again, so the next kernel resets
 * the device first; nothing waits for its posted writes (shutdown/drain.c); INTx Disable, decoding and mask bits stay.
 */
static void apply(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	pci_clear_master(dev);
}

const struct pci_policy shutdown_keep_msi = { "keep-msi", apply, .clears_master = true };
