/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/serial/serial.h"

#include "lib/format.h"
#include "lib/log.h"
#include "lib/x86.h"

#define SERIAL_VENDOR 0x1b36
#define SERIAL_DEVICE 0x0002

/* PC16550D data sheet, 8; spelled as in Linux's serial_reg.h. 8 bits each. */
/* clang-format off */
#define UART_RX			0
#define UART_TX			0
#define UART_DLL		0	/* with DLAB set */
#define UART_DLM		1	/* with DLAB set */
#define UART_IER		1
#define  UART_IER_THRI		0x02	/* the transmitter is empty: its FIFO, where it has one */
#define UART_IIR		2
#define  UART_IIR_NO_INT	0x01
#define  UART_IIR_ID		0x0e
#define   UART_IIR_THRI		0x02	/* cleared by the read */
#define  UART_IIR_FIFO		0xc0
#define UART_FCR		2
#define  UART_FCR_ENABLE_FIFO	0x01
#define  UART_FCR_CLEAR_RCVR	0x02
#define  UART_FCR_CLEAR_XMIT	0x04
#define UART_LCR		3
#define  UART_LCR_8N1		0x03
#define  UART_LCR_DLAB		0x80
#define UART_MCR		4
#define  UART_MCR_READY		0x0b	/* DTR, RTS, OUT2 */
#define UART_LSR		5
#define UART_MSR		6
#define UART_PORTS		8
/* clang-format on */

#define FIFO_SIZE 16
#define LINE_MAX  64 /* 6 ms at 115200 baud */

/* A handoff is not to be delayed by a second for a last line. */
#define WORK_WAIT_US	 1000000
#define SHUTDOWN_WAIT_US 100000

struct serial {
	u16 port;
	struct driver_irq irq;
	char text[LINE_MAX];
	u32 length;
	u32 loaded;	   /* bytes written to the FIFO */
	volatile u32 sent; /* of those, how many have left it by an interrupt */
	volatile u32 interrupts;
};

static u8 uart_read(u16 port, u16 reg)
{
	return x86_inb((u16)(port + reg));
}

static void uart_write(u16 port, u16 reg, u8 value)
{
	x86_outb((u16)(port + reg), value);
}

static bool match(const struct pci_dev *dev)
{
	return dev->vendor == SERIAL_VENDOR && dev->device == SERIAL_DEVICE;
}

static enum status map(struct pci_dev *dev, u16 *port)
{
	return pci_map_io_bar(dev, "serial", 0, 0, UART_PORTS, port);
}

static enum status reset(struct pci_dev *dev)
{
	enum status s;
	u8 lcr, iir;
	u16 port;

	s = map(dev, &port);
	if (s != OK)
		return s;
	uart_write(port, UART_LCR, UART_LCR_8N1); /* first: under DLAB IER is another register */
	uart_write(port, UART_IER, 0);
	uart_write(port, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	/* Reads clear what may still be pending. */
	uart_read(port, UART_LSR);
	uart_read(port, UART_RX);
	uart_read(port, UART_MSR);
	lcr = uart_read(port, UART_LCR);
	iir = uart_read(port, UART_IIR);
	if (lcr == UART_LCR_8N1 && iir == (UART_IIR_FIFO | UART_IIR_NO_INT))
		return OK;
	driver_line(dev, "no idle 16550A: line control 0x%02x, interrupt identification 0x%02x", lcr, iir);
	return ERR_IO;
}

static bool interrupt(void *context)
{
	struct serial *serial = context;
	u8 cause = uart_read(serial->port, UART_IIR) & (UART_IIR_ID | UART_IIR_NO_INT);

	if (cause != UART_IIR_THRI || serial->sent == serial->length)
		return false; /* the line is shared, and it was another device; or this one was removed, or its cause stays */
	serial->interrupts++;
	serial->sent = serial->loaded;
	if (serial->sent == serial->length)
		uart_write(serial->port, UART_IER, 0);
	for (u32 i = 0; i < FIFO_SIZE && serial->loaded < serial->length; i++)
		uart_write(serial->port, UART_TX, (u8)serial->text[serial->loaded++]);
	return true;
}

static enum status probe(struct pci_dev *dev, void *context)
{
	struct driver_env *env = context;
	struct serial *serial = arena_alloc(env->heap, sizeof(*serial), 8);
	enum status s;

	if (!serial)
		return ERR_RANGE;
	dev->driver_data = serial;
	s = map(dev, &serial->port);
	if (s != OK)
		return s;
	uart_write(serial->port, UART_LCR, UART_LCR_8N1 | UART_LCR_DLAB);
	uart_write(serial->port, UART_DLL, 1); /* 115200 baud */
	uart_write(serial->port, UART_DLM, 0);
	uart_write(serial->port, UART_LCR, UART_LCR_8N1);
	uart_write(serial->port, UART_MCR, UART_MCR_READY);
	pci_intx(dev, true);
	return driver_request_intx(dev, interrupt, serial, &serial->irq);
}

/* The first interrupt comes at once, since nothing is in the FIFO; the last means that everything has left it. */
static enum status send(const struct pci_dev *dev, const char *text, u64 bound_us)
{
	struct serial *serial = dev->driver_data;
	enum status s;
	size_t n;

	n = format(serial->text, LINE_MAX, "%-6s " PCI_FMT " serial: %s\r\n", log_tag(), PCI_ARGS(dev), text);
	serial->length = (u32)MIN(n, LINE_MAX - 1UL);
	serial->loaded = serial->sent = serial->interrupts = 0;
	uart_write(serial->port, UART_IER, UART_IER_THRI);
	s = driver_await(dev, "line sent by interrupt", &serial->sent, serial->length, bound_us);
	uart_write(serial->port, UART_IER, 0);
	return s;
}

static enum status work(struct pci_dev *dev, bool write)
{
	const struct serial *serial = dev->driver_data;
	enum status s = send(dev, "working", WORK_WAIT_US);

	(void)write;
	if (s == OK)
		driver_line(dev, "INTx on irq %u: %u bytes, %u interrupts", serial->irq.number, serial->sent, serial->interrupts);
	return s;
}

/* A console that cannot send its last line does not delay the handoff: what is missing is in the log, and at the other end. */
static void shutdown(struct pci_dev *dev)
{
	if (dev->working)
		send(dev, "shutdown", SHUTDOWN_WAIT_US);
}

const struct driver serial_driver = {
	.pci = { .name = "serial", .match = match, .reset = reset, .probe = probe, .shutdown = shutdown },
	.work = work,
};
