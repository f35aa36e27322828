/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_NVME_H
#define DRIVERS_NVME_H

#include "drivers/driver.h"

/*
 * An NVMe controller (NVM Express Base Specification 2.0) with its admin queues: MSI-X, else INTx; its table is in a 64-bit BAR.
 * Its work is Identify, a page of DMA that begins with the controller's vendor ID. In flight at a handoff is an Asynchronous Event
 * Request, which completes when something happens. No namespace is read or written.
 */
extern const struct driver nvme_driver;

#endif
