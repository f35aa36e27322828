/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_AHCI_H
#define DRIVERS_AHCI_H

#include "drivers/driver.h"

/*
 * A SATA controller (Serial ATA AHCI 1.3.1), with the disk on its first port that has a device: MSI, else INTx. Its work is
 * IDENTIFY DEVICE. In flight at a handoff are reads of the disk (READ DMA EXT), one in the device, the others queued. Nothing is
 * written to the disk. Without a disk it is reset, and not used.
 */
extern const struct driver ahci_driver;

#endif
