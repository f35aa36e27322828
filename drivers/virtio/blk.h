/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_VIRTIO_BLK_H
#define DRIVERS_VIRTIO_BLK_H

#include "drivers/driver.h"

/*
 * virtio-blk (virtio 1.2, 5.2) with one queue and one MSI-X vector; INTx where the function has no MSI-X.
 *
 * A disk is written only when its first MiB is zero or bears our signature. What is written is the pattern of pattern.h, so that
 * this driver in the next kernel, and the host, can check every byte.
 */
extern const struct driver virtio_blk_driver;

#endif
