/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/driver.h"

#include "irq/i8259.h"
#include "irq/lapic.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/time.h"

_Static_assert(offsetof(struct driver, pci) == 0, "driver_of");

void driver_line(const struct pci_dev *dev, const char *fmt, ...)
{
	char prefix[64];
	va_list args;

	format(prefix, sizeof(prefix), PCI_FMT " %s: ", PCI_ARGS(dev), dev->driver->name);
	va_start(args, fmt);
	log_line_va(prefix, fmt, args);
	va_end(args);
}

enum status driver_gone(const struct pci_dev *dev)
{
	driver_line(dev, "does not respond");
	return ERR_ABSENT;
}

enum status driver_poll(const struct pci_dev *dev, const char *expired, const struct driver_poll *poll)
{
	struct deadline deadline = deadline_after_us(poll->bound_us);
	u32 value;

	while (((value = poll->read(dev, poll->address)) & (poll->mask | poll->failed)) != poll->want || value == 0xffffffff) {
		if (deadline_passed(&deadline) || value & poll->failed || value == 0xffffffff) {
			driver_line(dev, expired, poll->bound_us / 1000, value);
			return ERR_TIMEOUT;
		}
	}
	return OK;
}

enum status driver_poll32(const struct pci_dev *dev, const char *expired, u64 address, u32 mask, u32 want, u64 bound_us)
{
	return driver_poll(dev, expired, &(struct driver_poll){ pci_mem_read32, address, mask, want, 0, bound_us });
}

enum status driver_await(const struct pci_dev *dev, const char *what, const volatile u32 *count, u32 want, u64 bound_us)
{
	struct deadline deadline = deadline_after_us(bound_us);

	while (*count < want) {
		if (deadline_passed(&deadline)) {
			driver_line(dev, "no %s within %lu ms, %u of %u", what, bound_us / 1000, *count, want);
			return ERR_TIMEOUT;
		}
	}
	return OK;
}

enum status driver_request_intx(const struct pci_dev *dev, irq_handler handler, void *context, struct driver_irq *irq)
{
	u8 line = pci_read_config_byte(dev, PCI_INTERRUPT_LINE);

	*irq = (struct driver_irq){ "INTx", false, line };
	/* 0 and 0xff: firmware routed nothing. */
	if (!pci_read_config_byte(dev, PCI_INTERRUPT_PIN) || !line || line == 0xff) {
		driver_line(dev, "INTx unavailable, Interrupt Line 0x%02x", line);
		return ERR_ABSENT;
	}
	return i8259_request(line, handler, context);
}

enum status driver_request_messages(struct pci_dev *dev, const irq_handler *handlers, unsigned int count, void *context,
				    struct driver_irq *irq)
{
	struct msi_message messages[DRIVER_VECTORS_MAX] = { 0 };
	enum status s;

	*irq = (struct driver_irq){ dev->msix ? "MSI-X" : "MSI", true, 0 };
	s = vector_alloc(handlers, count, context, &irq->number);
	for (unsigned int i = 0; s == OK && i < count; i++)
		s = lapic_msi_message((u8)(irq->number + i), &messages[i]);
	if (s != OK)
		return s;
	return dev->msix ? pci_enable_msix(dev, messages, count) : pci_enable_msi(dev, messages[0], count);
}

enum status driver_connect(struct pci_dev *dev, irq_handler handler, void *context, struct driver_irq *irq)
{
	if (dev->msix || dev->msi)
		return driver_request_messages(dev, &handler, 1, context, irq);
	pci_intx(dev, true);
	return driver_request_intx(dev, handler, context, irq);
}
