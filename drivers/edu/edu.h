/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_EDU_H
#define DRIVERS_EDU_H

#include "drivers/driver.h"

/*
 * QEMU's teaching device (docs/specs/edu.txt): one MSI vector, INTx, and a DMA engine that takes 100 ms. The device model does not
 * read bus master, so it shows what QEMU's PCI core does with the bit; virtio switches itself off as a whole.
 */
extern const struct driver edu_driver;

#endif
