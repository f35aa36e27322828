/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/driver.h"

#include "drivers/edu/edu.h"
#include "drivers/nvme/nvme.h"
#include "drivers/pirq/pirq.h"
#include "drivers/port/port.h"
#include "drivers/virtio/blk.h"
#include "drivers/virtio/net.h"
#include "drivers/virtio/rng.h"
#include "irq/i8259.h"
#include "lib/log.h"
#include "lib/time.h"

/*
 * The PIRQ router comes before whoever wants INTx. A port comes before what is behind it: while its BAR is sized, nothing there can be
 * reached. virtio-blk comes before the rest: the silence after a handoff ends with the first I/O.
 */
const struct driver *const drivers[] = {
	&pirq_driver,	    &pcie_port_driver, &virtio_blk_driver, &virtio_rng_driver,
	&virtio_net_driver, &nvme_driver,      &edu_driver,	   NULL,
};

_Static_assert(offsetof(struct driver, pci) == 0, "driver_of");

enum status driver_await(const struct pci_dev *dev, const char *what, const volatile u32 *count, u32 want, u64 bound_us)
{
	struct deadline deadline = deadline_after_us(bound_us);

	while (*count < want) {
		if (deadline_passed(&deadline)) {
			log_line(PCI_FMT " %s: no %s within %lu ms, %u of %u", PCI_ARGS(dev), dev->driver->name, what,
				 bound_us / 1000, *count, want);
			return ERR_TIMEOUT;
		}
	}
	return OK;
}

enum status driver_request_intx(const struct pci_dev *dev, irq_handler handler, void *context, u8 *line)
{
	*line = pci_read_config_byte(dev, PCI_INTERRUPT_LINE);
	/* 0 and 0xff are what firmware leaves where it routed nothing. */
	if (!pci_read_config_byte(dev, PCI_INTERRUPT_PIN) || !*line || *line == 0xff) {
		log_line(PCI_FMT " %s: INTx unavailable, Interrupt Line 0x%02x", PCI_ARGS(dev), dev->driver->name, *line);
		return ERR_ABSENT;
	}
	return i8259_request(*line, handler, context);
}
