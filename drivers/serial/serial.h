/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_SERIAL_H
#define DRIVERS_SERIAL_H

#include "drivers/driver.h"

/*
 * QEMU's PCI serial port (docs/specs/pci-serial.rst): a 16550A in I/O BAR 0, with INTx and nothing else: no MSI, no DMA. It is what
 * a console on a shared line is: its handler stays there for good, every byte goes out by interrupt, and its last line goes out in
 * its shutdown callback, while the policy is under way. A line that a neighbour holds and nobody serves costs it that
 * (fda78d7a0ead).
 */
extern const struct driver serial_driver;

#endif
