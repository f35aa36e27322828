/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/claims/lab.h"

#include "boot/paging.h"
#include "drivers/edu/registers.h"
#include "irq/lapic.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/qemu.h"
#include "lib/string.h"
#include "lib/time.h"
#include "lib/x86.h"

/* COM2, a 16550: QEMU's end of it is the harness. */
#define COM2	       0x2f8
#define UART_DATA      0
#define UART_FCR       2
#define UART_FCR_RESET 0x07 /* FIFOs on, and empty */
#define UART_LSR       5
#define UART_LSR_DR    0x01
#define UART_LSR_THRE  0x20

/* The harness answers in milliseconds; under icount the machine's clock runs some ten times faster than the host's. */
#define POINT_WAIT_US 600000000
#define DMA_MAX	      0xffffffffULL

_Noreturn void lab_fail(const char *what)
{
	char verdict[64];

	format(verdict, sizeof(verdict), "error %s", what);
	log_release();
	log_verdict(verdict);
	x86_outl(QEMU_EXIT_PORT, QEMU_EXIT_ERROR);
	x86_halt();
}

static void await_line(u8 bit)
{
	struct deadline deadline = deadline_after_us(POINT_WAIT_US);

	while (!(x86_inb(COM2 + UART_LSR) & bit))
		if (deadline_passed(&deadline))
			lab_fail("no answer from the harness");
}

void lab_start(struct kernel *kernel, const char *name, const char *default_next, const struct boot_params *params)
{
	kernel_start(kernel, name, default_next, params);
	x86_outb(COM2 + UART_FCR, UART_FCR_RESET);
	kernel_find_devices(kernel);
}

bool lab_has(const struct kernel *kernel, const char *option)
{
	size_t n = strlen(option);

	for (const char *at = kernel->cmdline; *at;) {
		const char *end = at;

		while (*end && *end != ' ')
			end++;
		if ((size_t)(end - at) == n && !memcmp(at, option, n))
			return true;
		at = *end ? end + 1 : end;
	}
	return false;
}

static void report(const char *kind, const char *name, u64 value)
{
	char line[64];

	format(line, sizeof(line), "%s%s 0x%lx\n", kind, name, value);
	for (const char *c = line; *c; c++) {
		await_line(UART_LSR_THRE);
		x86_outb(COM2 + UART_DATA, (u8)*c);
	}
}

void lab_mark(const char *name, u64 value)
{
	report("-", name, value);
}

void lab_point(const char *name, u64 value)
{
	report("", name, value);
	await_line(UART_LSR_DR);
	x86_inb(COM2 + UART_DATA);
}

struct pci_dev *lab_device(struct kernel *kernel, const char *driver, unsigned int n)
{
	for (unsigned int i = 0; i < kernel->pci.count; i++) {
		struct pci_dev *dev = &kernel->pci.dev[i];

		if (dev->driver && !strcmp(dev->driver->name, driver) && !n--)
			return dev;
	}
	log_line("lab: not enough %s on this machine", driver);
	lab_fail("no device");
}

struct pci_dev *lab_chosen(struct kernel *kernel)
{
	for (unsigned int i = 0; i < kernel->pci.count; i++) {
		struct pci_dev *dev = &kernel->pci.dev[i];
		unsigned int n = 0;
		char option[32];

		if (!dev->driver)
			continue;
		for (unsigned int j = 0; j < i; j++)
			n += kernel->pci.dev[j].driver == dev->driver;
		if (n)
			format(option, sizeof(option), "lab.%s.%u", dev->driver->name, n);
		else
			format(option, sizeof(option), "lab.%s", dev->driver->name);
		if (lab_has(kernel, option))
			return dev;
	}
	lab_fail("no device named, or not on this machine");
}

static void check(enum status s, const struct pci_dev *dev, const char *what)
{
	if (s == OK)
		return;
	log_line("lab: " PCI_FMT " %s: %s", PCI_ARGS(dev), what, status_text(s));
	lab_fail(what);
}

void lab_probe(struct kernel *kernel, struct pci_dev *dev)
{
	struct driver_env env = { &kernel->heap, &kernel->dma };

	check(dev->driver->reset(dev), dev, "reset");
	pci_set_master(dev);
	check(dev->driver->probe(dev, &env), dev, "probe");
}

void lab_work(struct kernel *kernel, struct pci_dev *dev)
{
	const struct driver *driver = driver_of(dev);

	lab_probe(kernel, dev);
	check(driver->work(dev, false), dev, "work");
	if (driver->finish)
		check(driver->finish(dev), dev, "work");
	dev->working = true;
}

void *lab_dma(struct kernel *kernel, u64 size)
{
	u64 address;

	if (memmap_take(&kernel->memmap, size, PAGE_SIZE, 2 * MIB, DMA_MAX, MEM_USED, &address) != OK ||
	    paging_map(address, size, PAGING_CACHED) != OK)
		lab_fail("no memory for DMA");
	return (void *)(uintptr_t)address;
}

void lab_wait_us(u64 us)
{
	struct deadline deadline = deadline_after_us(us);

	while (!deadline_passed(&deadline))
		x86_relax();
}

u32 lab_edu_read(const struct lab_edu *edu, u32 reg)
{
	return pci_mem_read32(edu->dev, edu->bar + reg);
}

void lab_edu_write(const struct lab_edu *edu, u32 reg, u32 value)
{
	pci_mem_write32(edu->dev, edu->bar + reg, value);
}

void lab_edu_open(struct lab_edu *edu, struct pci_dev *dev)
{
	edu->dev = dev;
	check(pci_map_bar(dev, "edu", 0, 0, EDU_BAR_SIZE, &edu->bar), dev, "edu");
}

u8 lab_vector(irq_handler handler, void *context)
{
	u8 vector;

	if (vector_alloc(&handler, 1, context, &vector) != OK)
		lab_fail("no vector");
	return vector;
}

void lab_edu_enable_msi(struct lab_edu *edu, irq_handler handler, void *context)
{
	struct msi_message message;

	edu->vector = lab_vector(handler, context);
	check(lapic_msi_message(edu->vector, &message), edu->dev, "message");
	check(pci_enable_msi(edu->dev, message, 1), edu->dev, "MSI");
}

void lab_edu_start_dma(const struct lab_edu *edu, const void *target, u32 size)
{
	lab_edu_write(edu, EDU_DMA_SOURCE, EDU_BUFFER);
	lab_edu_write(edu, EDU_DMA_TARGET, (u32)(uintptr_t)target);
	lab_edu_write(edu, EDU_DMA_COUNT, size);
	lab_edu_write(edu, EDU_DMA_COMMAND, EDU_DMA_RUN | EDU_DMA_TO_RAM | EDU_DMA_IRQ);
}
