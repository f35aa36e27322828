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
 * The PIRQ router comes before whoever wants INTx; a console next, whose handler is on its line before anybody else's, and stays. A
 * port comes before what has memory behind it: while its BAR is sized, that cannot be reached. virtio-blk comes before the rest:
 * the silence after a handoff ends with the first I/O.
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
