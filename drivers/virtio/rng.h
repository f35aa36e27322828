/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_VIRTIO_RNG_H
#define DRIVERS_VIRTIO_RNG_H

#include "drivers/driver.h"

/*
 * virtio-rng (virtio 1.2, 5.4): one queue of buffers that the device fills. With a limited source a request takes as long as the
 * source needs, so what is in flight at a handoff stays so.
 */
extern const struct driver virtio_rng_driver;

#endif
