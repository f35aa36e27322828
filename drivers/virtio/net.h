/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_VIRTIO_NET_H
#define DRIVERS_VIRTIO_NET_H

#include "drivers/driver.h"

/*
 * virtio-net (virtio 1.2, 5.1) with one pair of queues and an MSI-X vector for each; INTx where the function has no MSI-X.
 *
 * Its work is an ARP probe for 10.0.2.2 (RFC 5227: the sender has no address yet), which QEMU's user-mode network answers, too. No
 * reply is a result as well. In flight at a handoff are the empty receive buffers, into which a frame may be received at any time.
 */
extern const struct driver virtio_net_driver;

#endif
