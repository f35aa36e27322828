/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/port/port.h"

#define VECTORS_MAX 2 /* one a source */

/* A command takes a second at most (PCIe 6.7.3.2). */
#define COMMAND_WAIT_US 1000000
#define COMMANDS	2

/*
 * The events that work() enables; and those that an owner may have enabled. While one is pending, the port sends no further message
 * (PCIe 6.7.3.4).
 */
#define LISTEN (PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE)
#define EVENTS                                                                                                                     \
	(LISTEN | PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PFDE | PCI_EXP_SLTCTL_MRLSCE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_DLLSCE)
#define ERRORS (PCI_ERR_ROOT_CMD_COR_EN | PCI_ERR_ROOT_CMD_NONFATAL_EN | PCI_ERR_ROOT_CMD_FATAL_EN)

/* Every event of Root Error Status; the rest of the register has the vector and what came first. */
#define ROOT_EVENTS (PCI_ERR_ROOT_COR_RCV | PCI_ERR_ROOT_MULTI_COR_RCV | PCI_ERR_ROOT_UNCOR_RCV | PCI_ERR_ROOT_MULTI_UNCOR_RCV)

struct port {
	u16 aer; /* capability offset, 0 where absent */
	struct driver_irq irq;
	unsigned int vectors;
	volatile u32 commands; /* completed */
	volatile u32 errors;
};

static u16 slot_control(const struct pci_dev *dev)
{
	return pci_read_config_word(dev, (u16)(dev->pcie + PCI_EXP_SLTCTL));
}

static void write_slot_control(const struct pci_dev *dev, u16 value)
{
	pci_write_config_word(dev, (u16)(dev->pcie + PCI_EXP_SLTCTL), value);
}

static u32 read_slot_status(const struct pci_dev *dev, u64 reg)
{
	u16 status = pci_read_config_word(dev, (u16)reg);

	return status == 0xffff ? 0xffffffff : status;
}

/* Write-1-to-clear. */
static void clear_completion(const struct pci_dev *dev)
{
	pci_write_config_word(dev, (u16)(dev->pcie + PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_CC);
}

/* Whether there was one. */
static bool take_completion(const struct pci_dev *dev)
{
	u32 status = read_slot_status(dev, dev->pcie + PCI_EXP_SLTSTA);

	if (status == 0xffffffff || !(status & PCI_EXP_SLTSTA_CC))
		return false;
	clear_completion(dev);
	return true;
}

/*
 * The last command of an owner, which is not to interrupt: it has to complete before the next is written (PCIe 6.7.3.2). A port
 * that does not report it is not at fault: many report no command that changes neither power nor indicators (Linux, pciehp_hpc.c).
 */
static void disable_events(const struct pci_dev *dev)
{
	const struct driver_poll completion = { .read = read_slot_status,
						.address = dev->pcie + PCI_EXP_SLTSTA,
						.mask = PCI_EXP_SLTSTA_CC,
						.want = PCI_EXP_SLTSTA_CC,
						.bound_us = COMMAND_WAIT_US };

	write_slot_control(dev, slot_control(dev) & (u16)~EVENTS);
	if (driver_poll(dev, "events not off within %lu ms", &completion) == OK)
		clear_completion(dev);
}

static u16 port_flags(const struct pci_dev *dev)
{
	return pci_read_config_word(dev, (u16)(dev->pcie + PCI_EXP_FLAGS));
}

static u16 port_type(const struct pci_dev *dev)
{
	return (port_flags(dev) & PCI_EXP_FLAGS_TYPE) >> 4;
}

/* Only a root port receives errors (PCIe 7.8.4.9). */
static u16 find_aer(const struct pci_dev *dev)
{
	u16 pos;

	if (port_type(dev) != PCI_EXP_TYPE_ROOT_PORT ||
	    pci_find_ext_capability(dev, PCI_EXT_CAP_ID_ERR, PCI_ERR_ROOT_STATUS + 4, &pos) != OK)
		return 0;
	return pos;
}

/* Which errors interrupt. No write where nothing changes. */
static void report_errors(const struct pci_dev *dev, u16 aer, u32 which)
{
	u16 at = (u16)(aer + PCI_ERR_ROOT_COMMAND);

	if (aer && pci_read_config_dword(dev, at) != which)
		pci_write_config_dword(dev, at, which);
}

/* Root Error Status, write-1-to-clear: whether there was an event. */
static bool take_error(const struct pci_dev *dev, u16 aer)
{
	u16 at = (u16)(aer + PCI_ERR_ROOT_STATUS);
	u32 status = aer ? pci_read_config_dword(dev, at) : 0;

	if (!(status & ROOT_EVENTS) || status == 0xffffffff)
		return false;
	pci_write_config_dword(dev, at, status);
	return true;
}

/* Its commands have to report completion. ACPI's _OSC would tell who owns hot-plug; that takes an AML interpreter. */
static bool match(const struct pci_dev *dev)
{
	u16 type;
	u32 slot;

	if (dev->header_type != PCI_HEADER_TYPE_BRIDGE || !dev->pcie || dev->pcie + PCI_EXP_SLTSTA + 2 > PCI_CFG_SPACE_SIZE)
		return false;
	type = port_type(dev);
	if ((type != PCI_EXP_TYPE_ROOT_PORT && type != PCI_EXP_TYPE_DOWNSTREAM) || !(port_flags(dev) & PCI_EXP_FLAGS_SLOT))
		return false;
	slot = pci_read_config_dword(dev, (u16)(dev->pcie + PCI_EXP_SLTCAP));
	return slot & PCI_EXP_SLTCAP_HPC && !(slot & PCI_EXP_SLTCAP_NCCS);
}

/* Events that the previous kernel enabled are disabled, and those of its time cleared. */
static enum status reset(struct pci_dev *dev)
{
	u16 control = slot_control(dev), aer = find_aer(dev);

	if (control == 0xffff)
		return driver_gone(dev);
	report_errors(dev, aer, 0);
	take_error(dev, aer);
	take_completion(dev);
	if (control & EVENTS)
		disable_events(dev);
	return OK;
}

static bool interrupt(void *context)
{
	struct pci_dev *dev = context;
	struct port *port = dev->driver_data;
	bool command = take_completion(dev), error = take_error(dev, port->aer);

	port->commands += command;
	port->errors += error;
	return true; /* its vectors are not shared: another one's handler may have handled this event already */
}

/* The port reports which of its vectors a source uses, once it knows how many it has (PCIe 7.5.3.2, 7.8.4.10). */
static enum status check_numbers(const struct pci_dev *dev, const struct port *port)
{
	unsigned int slot = (port_flags(dev) & PCI_EXP_FLAGS_IRQ) >> 9;
	u32 status = port->aer ? pci_read_config_dword(dev, (u16)(port->aer + PCI_ERR_ROOT_STATUS)) : 0;
	unsigned int errors = (status & PCI_ERR_ROOT_AER_IRQ) >> 27;

	if (slot < port->vectors && errors < port->vectors)
		return OK;
	driver_line(dev, "message numbers %u and %u, %u vectors allocated", slot, errors, port->vectors);
	return ERR_ABSENT;
}

static enum status connect(struct pci_dev *dev, struct port *port)
{
	static const irq_handler handlers[VECTORS_MAX] = { interrupt, interrupt };
	enum status s;

	port->vectors = MIN(dev->msix ? pci_msix_vec_count(dev) : pci_msi_vec_count(dev), VECTORS_MAX);
	if (!port->vectors) {
		driver_line(dev, "neither MSI nor MSI-X");
		return ERR_ABSENT;
	}
	s = driver_request_messages(dev, handlers, port->vectors, dev, &port->irq);
	return s == OK ? check_numbers(dev, port) : s;
}

static enum status probe(struct pci_dev *dev, void *context)
{
	struct driver_env *env = context;
	struct port *port = arena_alloc(env->heap, sizeof(*port), 8);

	if (!port)
		return ERR_RANGE;
	dev->driver_data = port;
	port->aer = find_aer(dev);
	return connect(dev, port);
}

/* Nothing here is left in flight, and the next owner inherits the port as we did. */
static void fall_silent(const struct pci_dev *dev, const struct port *port)
{
	report_errors(dev, port->aer, 0);
	disable_events(dev);
}

static enum status work(struct pci_dev *dev, bool write)
{
	struct port *port = dev->driver_data;
	u16 control = slot_control(dev);
	enum status s = OK;

	(void)write;
	report_errors(dev, port->aer, ERRORS);
	/* A write that changes no bit is a command, too. */
	for (u32 n = 1; s == OK && n <= COMMANDS; n++) {
		write_slot_control(dev, control | LISTEN);
		s = driver_await(dev, "completed command", &port->commands, n, COMMAND_WAIT_US);
	}
	if (s != OK)
		fall_silent(dev, port);
	return s;
}

static enum status finish(struct pci_dev *dev)
{
	struct port *port = dev->driver_data;

	fall_silent(dev, port);
	driver_line(dev, "%s, %u from vector 0x%02x on: %u commands completed, %u errors reported", port->irq.kind, port->vectors,
		    port->irq.number, port->commands, port->errors);
	return OK;
}

const struct driver pcie_port_driver = {
	.pci = { .name = "pcie-port", .match = match, .reset = reset, .probe = probe },
	.work = work,
	.finish = finish,
};
