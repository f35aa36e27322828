/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_SERIAL_H
#define DRIVERS_SERIAL_H

#include "drivers/driver.h"

/*
 * QEMU's PCI serial port (docs/specs/pci-serial.rst): a 16550A in I/O BAR 0, with INTx and nothing else: no MSI, no DMA. It stands
 * for a console on a shared line: its handler stays there, every byte is sent by interrupt, and its last line is sent in its
 * shutdown callback, while the policy runs. If another device asserts the line and no handler clears it, that last line is lost
 * (fda78d7a0ead).
 */
extern const struct driver serial_driver;

#endif
