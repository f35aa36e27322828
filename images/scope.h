/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IMAGES_SCOPE_H
#define IMAGES_SCOPE_H

#include "pci/dev.h"

/*
 * Which functions this kernel may write to. In QEMU all of them; anywhere else only those in handoff.allow, because a machine's
 * other devices may be in use. handoff.scope=bound leaves out those without a driver here; Linux at kexec leaves out functions that
 * none of its drivers ever enabled; it has a driver for bridges.
 */

/* Whether a comma-separated list such as "0000:00:03.0,00:04.0" names the function. */
bool scope_listed(const char *list, const struct pci_dev *dev);

/* Checks such a list. ERR_INVALID after one line that names the item that is no BDF. */
enum status scope_check(const char *list);

/* Sets read_only of every function, and unbinds the driver of those that are. */
void scope_apply(struct pci *pci, bool in_qemu, bool bound_only, const char *allow);

#endif
