/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/driver.h"

#include "drivers/ahci/ahci.h"
#include "drivers/e1000e/e1000e.h"
#include "drivers/edu/edu.h"
#include "drivers/nvme/nvme.h"
#include "drivers/pirq/pirq.h"
#include "drivers/port/port.h"
#include "drivers/serial/serial.h"
#include "drivers/virtio/blk.h"
#include "drivers/virtio/net.h"
#include "drivers/virtio/rng.h"

/*
 * The PIRQ router comes before the drivers that need INTx; a console next, whose handler is on its line before any other, and
 * stays. A port comes before what has memory below it: while its BAR is sized, that cannot be accessed. virtio-blk comes before the
 * rest: the log is held until the first I/O after a handoff.
 */
const struct driver *const drivers[] = {
	&pirq_driver,
	&serial_driver,
	&pcie_port_driver,
	&virtio_blk_driver,
	&virtio_rng_driver,
	&virtio_net_driver,
	&e1000e_driver,
	&nvme_driver,
	&ahci_driver,
	&edu_driver,
	NULL,
};
