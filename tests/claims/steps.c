/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * C1: a cleared bus master suppresses MSI and MSI-X. C2: it neither suppresses INTx nor lowers a line that is asserted.
 *
 * The image has one device and one kind of interrupt, and takes the steps that its command line names, such as lab.e1000e lab.msix
 * lab.clear-master lab.raise. Before each step is a point of the step's name. The CPU takes interrupts in the step lab.take and in
 * no other, so that a line stays as the device and configuration space leave it.
 *
 * edu, e1000e, the port and the UART raise an interrupt when a register is written. A disk interrupts when a request completes: its
 * driver has it under way, and the harness holds it until the point.
 *
 * C1 fails if a message arrives in a step in which the device has its event with bus master off, or if that message arrives later,
 * when bus master is on again. C2 fails if the line is low after the device has had its event, or after bus master was cleared with
 * the line high. c01_bus_master.py and c02_intx.py judge by the trace, from each point to the next.
 */
#include "boot/start.h"
#include "drivers/edu/registers.h"
#include "lib/string.h"
#include "lib/x86.h"
#include "tests/claims/lab.h"

/* 82574 datasheet, chapter 10, as in drivers/e1000e/e1000e.c */
#define E1000_ICR	0x00c0
#define E1000_ICR_RXQ0	0x00100000
#define E1000_ICS	0x00c8
#define E1000_IMS	0x00d0
#define E1000_IVAR	0x00e4
#define E1000_IVAR_RXQ0 0x00000008 /* valid, and entry 0 of the MSI-X table */
#define E1000_REGISTERS 0x20000

/* PC16550D data sheet, as in drivers/serial/serial.c */
#define UART_IER      1
#define UART_IER_THRI 0x02 /* transmitter empty: always true here */
#define UART_IIR      2
#define UART_PORTS    8

/* An e1000e delays an interrupt within 128 us of its last one (QEMU 7.2: EITR is never less). */
#define SETTLE_US 1000

static struct kernel kernel;
static struct pci_dev *dev;
static struct lab_edu edu;
static u64 bar;
static u16 port;

static void nothing(void)
{
}

static void edu_open(void)
{
	lab_edu_open(&edu, dev);
}

static void edu_raise(void)
{
	lab_edu_write(&edu, EDU_IRQ_RAISE, EDU_IRQ_OURS);
}

static void edu_ack(void)
{
	lab_edu_write(&edu, EDU_IRQ_ACK, EDU_IRQ_OURS);
}

static void e1000e_write(u32 reg, u32 value)
{
	pci_mem_write32(dev, bar + reg, value);
}

static void e1000e_open(void)
{
	if (pci_map_bar(dev, "e1000e", 0, 0, E1000_REGISTERS, &bar) != OK)
		lab_fail("no registers");
	e1000e_write(E1000_IVAR, E1000_IVAR_RXQ0);
	e1000e_write(E1000_IMS, E1000_ICR_RXQ0);
}

static void e1000e_raise(void)
{
	e1000e_write(E1000_ICS, E1000_ICR_RXQ0);
}

static void e1000e_ack(void)
{
	e1000e_write(E1000_ICR, E1000_ICR_RXQ0);
}

/* Each write to Slot Control is a command; its completion is the event (PCIe 6.7.3.2). */
static void port_raise(void)
{
	u16 at = (u16)(dev->pcie + PCI_EXP_SLTCTL);

	pci_write_config_word(dev, at, pci_read_config_word(dev, at) | PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE);
}

static void port_ack(void)
{
	pci_write_config_word(dev, (u16)(dev->pcie + PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_CC);
}

static void serial_open(void)
{
	if (pci_map_io_bar(dev, "serial", 0, 0, UART_PORTS, &port) != OK)
		lab_fail("no ports");
}

static void serial_raise(void)
{
	x86_outb((u16)(port + UART_IER), UART_IER_THRI);
}

static void serial_ack(void)
{
	x86_inb((u16)(port + UART_IIR));
}

static const struct device {
	const char *driver;
	void (*open)(void); /* NULL: the driver does it all; the harness releases the request */
	void (*raise)(void);
	void (*ack)(void);
} devices[] = {
	{ "edu", edu_open, edu_raise, edu_ack },
	{ "e1000e", e1000e_open, e1000e_raise, e1000e_ack },
	{ "pcie-port", nothing, port_raise, port_ack },
	{ "serial", serial_open, serial_raise, serial_ack },
	{ "ahci", NULL, nothing, nothing },
	{ "virtio-blk", NULL, nothing, nothing },
};
static const struct device *device;

static bool serve(void *context)
{
	(void)context;
	device->ack();
	return true;
}

static void choose(void)
{
	dev = lab_chosen(&kernel);
	for (unsigned int i = 0; i < ARRAY_SIZE(devices); i++)
		if (!strcmp(dev->driver->name, devices[i].driver))
			device = &devices[i];
	if (!device)
		lab_fail("this device has no interrupt to raise");
	/* A device without a capability for messages uses INTx. */
	if (!lab_has(&kernel, "lab.msix"))
		dev->msix = 0;
	if (!lab_has(&kernel, "lab.msi"))
		dev->msi = 0;
}

static void bring_up(void)
{
	struct driver_irq irq;

	if (!device->open) {
		lab_work(&kernel, dev);
		lab_point("driven", 0);
		if (driver_of(dev)->arm(dev) != OK)
			lab_fail("nothing in flight");
		return;
	}
	if (dev->driver->reset(dev) != OK)
		lab_fail("no reset");
	pci_set_master(dev);
	if (driver_connect(dev, serve, NULL, &irq) != OK)
		lab_fail("no interrupt");
	device->open();
}

static void raise(void)
{
	device->raise();
}

static void ack(void)
{
	device->ack();
}

static void set_master(void)
{
	pci_set_master(dev);
}

static void clear_master(void)
{
	pci_clear_master(dev);
}

static void enable_intx(void)
{
	pci_intx(dev, true);
}

static void disable_intx(void)
{
	pci_intx(dev, false);
}

#define PREFIX "lab."

static const struct step {
	const char *name;
	void (*take)(void);
} steps[] = {
	{ "raise", raise },
	{ "ack", ack },
	{ "set-master", set_master },
	{ "clear-master", clear_master },
	{ "enable-intx", enable_intx },
	{ "disable-intx", disable_intx },
	{ "take", x86_irq_window },
};

static void run(const char *name, size_t n)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++) {
		if (strlen(steps[i].name) != n || memcmp(steps[i].name, name, n))
			continue;
		lab_point(steps[i].name, 0);
		steps[i].take();
		lab_wait_us(SETTLE_US);
	}
}

_Noreturn void image_main(const struct boot_params *params)
{
	lab_start(&kernel, "steps", "", params);
	choose();
	bring_up();
	x86_irq_disable();
	for (const char *at = kernel.cmdline, *end; *at; at = *end ? end + 1 : end) {
		for (end = at; *end && *end != ' '; end++)
			;
		if (str_starts(at, PREFIX))
			run(at + strlen(PREFIX), (size_t)(end - at) - strlen(PREFIX));
	}
	lab_point("end", 0);
	kernel_exit(&kernel);
}
