/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the other end of the wire receives every byte, once and in order; the port is loaded by interrupt, with what its FIFO
 * holds and no more, and interrupts no more afterwards. The driver handles no interrupt but its own, and sends its last line at
 * shutdown in the same way, or times out and logs how far it came. Could be false: the line is shared, a read of IIR clears its
 * cause, a write beyond the FIFO is lost, under DLAB two registers are others, and a removed port reads all ones. Provoked: a model
 * of the PC16550D that fails the test at what is lost or undefined there, with one fault at a time. Failure: other bytes, another
 * count of interrupts, an interrupt left enabled, or a line that does not say what happened.
 */
#include "drivers/serial/serial.h"
#include "irq/i8259.h"
#include "lib/log.h"
#include "lib/time.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define BDF  PCI_BDF(0, 5, 0)
#define PORT 0xc040
#define FIFO 16
#define THRI 0x02

static struct uart_model {
	struct fake_fn *fn;
	u8 ier, lcr, fcr, mcr;
	u8 divisor[2];
	bool pending; /* the transmitter's interrupt */
	unsigned int queued;
	unsigned int received;		/* not read yet */
	bool line_status, modem_status; /* has changed, not read yet */
	unsigned int loads;
	char sent[256];
	unsigned int bytes;
	/* faults */
	bool no_irq;	     /* raises no interrupt */
	unsigned int hears;  /* loads that it interrupts for, if not 0; no more after that */
	unsigned int leaves; /* bytes until it is removed, if not 0 */
	bool stuck;	     /* IIR always reports an interrupt */
	bool plain;	     /* a 16450: no FIFO */
	bool gone;
	bool neighbour; /* asserts the line that they share */
} uart;

static unsigned int line;

/* --- the model --- */

static void update(void)
{
	/* OUT2 is the gate between the interrupt and the line, wherever a PC has a UART. */
	bool may = !uart.gone && !uart.no_irq && uart.mcr & 8 && !(fake_get(uart.fn, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);

	fake_irq_line(line, uart.neighbour || (may && (uart.stuck || (uart.pending && uart.ier & THRI))));
}

/* What is in the FIFO leaves it while no interrupt is being handled. */
static void drain(unsigned int looks)
{
	(void)looks;
	if (!uart.queued)
		return;
	uart.queued = 0;
	uart.pending = true;
	uart.no_irq |= uart.hears && ++uart.loads >= uart.hears;
	update();
}

static bool has_fifo(void)
{
	return uart.fcr & 1 && !uart.plain;
}

static u32 uart_in(u16 port, unsigned int size)
{
	u8 value = 0;

	assert_int_equal(size, 1);
	if (!(fake_get(uart.fn, PCI_COMMAND, 2) & PCI_COMMAND_IO))
		fail_msg("port 0x%x is read, but the function does not decode I/O", port);
	if (uart.gone)
		return 0xff;
	switch (port - PORT) {
	case 2:
		value = (has_fifo() ? 0xc0 : 0) | (uart.stuck || (uart.pending && uart.ier & THRI) ? 0x02 : 0x01);
		uart.pending = false;
		update();
		break;
	case 3:
		value = uart.lcr;
		break;
	case 0:
		break;
	case 5:
		uart.line_status = false;
		break;
	case 6:
		uart.modem_status = false;
		break;
	default:
		fail_msg("port 0x%x is read", port);
	}
	return value;
}

/* At the other end of the wire it is a byte only at 115200 baud, with 8 bits, no parity and one stop bit. */
static void transmit(u8 byte)
{
	if (uart.queued == (has_fifo() ? FIFO : 1))
		fail_msg("a byte is lost: the FIFO is full");
	assert_true(uart.divisor[0] == 1 && uart.divisor[1] == 0 && uart.lcr == 0x03);
	assert_int_equal(uart.mcr & 3, 3); /* DTR, RTS: else it would not receive */
	assert_true(uart.bytes < sizeof(uart.sent) - 1);
	uart.sent[uart.bytes++] = (char)byte;
	uart.queued++;
	uart.pending = false;
	uart.gone = uart.leaves && uart.bytes == uart.leaves;
	update();
}

static void uart_out(u16 port, unsigned int size, u32 value)
{
	bool divisor = uart.lcr & 0x80;

	assert_int_equal(size, 1);
	if (!(fake_get(uart.fn, PCI_COMMAND, 2) & PCI_COMMAND_IO))
		fail_msg("port 0x%x is written to, but the function does not decode I/O", port);
	if (uart.gone)
		return;
	switch (port - PORT) {
	case 0:
	case 1:
		if (divisor) {
			uart.divisor[port - PORT] = (u8)value;
		} else if (port == PORT) {
			transmit((u8)value);
		} else {
			uart.pending = value & ~uart.ier & THRI && !uart.queued ? true : uart.pending;
			uart.ier = (u8)value;
			update();
		}
		break;
	case 2:
		uart.fcr = (u8)value;
		uart.received = value & 2 ? 0 : uart.received;
		uart.queued = value & 4 ? 0 : uart.queued;
		break;
	case 3:
		uart.lcr = (u8)value;
		break;
	case 4:
		uart.mcr = (u8)value;
		break;
	default:
		fail_msg("port 0x%x <- 0x%x", port, value);
	}
}

/* --- the tests --- */

static int begin(void **state)
{
	static const struct fake_ports ports = { PORT, PORT + 7, uart_in, uart_out };

	(void)state;
	bench_begin();
	fake_x86_claim(&ports);
	line = 0;
	uart = (struct uart_model){ .fn = fake_add(bench.fake, BDF, 0x1b36, 0x0002) };
	fake_bar_register(uart.fn, 0, PORT | PCI_BASE_ADDRESS_SPACE_IO, 16);
	fake_writable(uart.fn, PCI_BASE_ADDRESS_0, 4, 0xfff8);
	/* As the previous owner left it: at another speed, and with INTx disabled. */
	memset(uart.divisor, 0x0c, sizeof(uart.divisor));
	fake_set(uart.fn, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_INTX_DISABLE);
	fake_set(uart.fn, PCI_INTERRUPT_PIN, 1, 1);
	bench_attach(&serial_driver);
	fake_x86_tick(drain);
	return 0;
}

static void bring_up(void)
{
	line = bench_line();
	assert_int_equal(bench_bring_up(), OK);
}

static enum status work(void)
{
	enum status s = bench_work(false);

	bench.dev->working = s == OK;
	return s;
}

static void assert_silent(void)
{
	assert_int_equal(uart.ier, 0);
	assert_false(fake_irq_high(line));
}

static void only_a_pci_serial_port_matches(void **state)
{
	static const struct pci_dev others[] = {
		{ .vendor = 0x1b36, .device = 0x0003, .class = 0x070002 }, /* two ports, one line */
		{ .vendor = 0x1af4, .device = 0x0002 },
	};

	(void)state;
	assert_true(serial_driver.pci.match(bench.dev));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(serial_driver.pci.match(&others[i]));
}

static void reset_stops_a_port_whatever_it_was_doing(void **state)
{
	(void)state;
	fake_set(uart.fn, PCI_COMMAND, 2, 0x0003); /* as the previous kernel hands over: bus master off */
	uart.ier = 0x0f;
	uart.lcr = 0x83; /* its owner handed over while it set the divisor */
	uart.queued = uart.received = 5;
	uart.pending = uart.line_status = uart.modem_status = true;
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(uart.ier, 0);
	assert_int_equal(uart.queued + uart.received, 0);
	assert_false(uart.line_status || uart.modem_status); /* nor does it come when it is enabled */
	assert_int_equal(uart.divisor[1], 0x0c);	     /* what was to disable it was not written to the divisor */
	assert_int_equal(fake_get(uart.fn, PCI_COMMAND, 2), 0x0003);
}

static void what_is_no_idle_16550a_is_refused_with_a_line(void **state)
{
	(void)state;
	assert_int_equal(bench_reset(), OK); /* the twin; and its BAR has been sized */
	fake_log_start();
	uart.stuck = true;
	assert_int_equal(bench_reset(), ERR_IO);
	assert_one_line("0000:00:05.0 serial: no idle 16550A: line control 0x03, interrupt identification 0xc2");
	uart.stuck = false;
	uart.plain = true;
	fake_log_start();
	assert_int_equal(bench_reset(), ERR_IO);
	assert_one_line("interrupt identification 0x01");
	uart.gone = true;
	fake_log_start();
	assert_int_equal(bench_reset(), ERR_IO);
	assert_one_line("line control 0xff, interrupt identification 0xff");
}

static void without_a_line_it_is_absent(void **state)
{
	(void)state;
	assert_int_equal(bench_reset(), OK);
	fake_set(uart.fn, PCI_INTERRUPT_LINE, 1, 0xff);
	fake_log_start();
	assert_int_equal(bench.dev->driver->probe(bench.dev, &bench.env), ERR_ABSENT);
	assert_true(fake_log_has("0000:00:05.0 serial: INTx unavailable, Interrupt Line 0xff"));
	bench.dev->driver->shutdown(bench.dev); /* one that was not probed sends nothing */
	assert_int_equal(uart.bytes, 0);
}

/* 37 bytes: 16, 16, 5; the fourth interrupt says that the last have left. */
static void every_byte_is_sent_in_order_a_load_an_interrupt(void **state)
{
	(void)state;
	bring_up();
	assert_int_equal(work(), OK);
	assert_string_equal(uart.sent, "test   0000:00:05.0 serial: working\r\n");
	assert_int_equal(fake_i8259.taken[line], 4);
	assert_one_line("0000:00:05.0 serial: INTx on irq");
	assert_one_line(": 37 bytes, 4 interrupts");
	assert_silent();
}

static void shutdown_sends_its_line_by_interrupt(void **state)
{
	(void)state;
	bring_up();
	assert_int_equal(work(), OK);
	fake_log_start();
	bench.dev->driver->shutdown(bench.dev);
	assert_string_equal(uart.sent, "test   0000:00:05.0 serial: working\r\ntest   0000:00:05.0 serial: shutdown\r\n");
	assert_int_equal(fake_i8259.taken[line], 8);
	assert_int_equal(fake_log_lines(), 0);
	assert_silent();
}

static void shutdown_without_interrupts_times_out(void **state)
{
	u64 before;

	(void)state;
	bring_up();
	assert_int_equal(work(), OK);
	fake_log_start();
	fake_x86.irq_on = false;
	before = time_us();
	bench.dev->driver->shutdown(bench.dev);
	assert_uint_in_range(time_us() - before, 100000, 110000);
	assert_one_line("0000:00:05.0 serial: no line sent by interrupt within 100 ms, 0 of 38");
	assert_int_equal(uart.bytes, 37);
	assert_silent();
}

static void how_far_a_line_came_is_logged(void **state)
{
	(void)state;
	bring_up();
	uart.hears = 2; /* those of the second load have left, but no interrupt reports it */
	assert_int_equal(work(), ERR_TIMEOUT);
	assert_one_line("no line sent by interrupt within 1000 ms, 16 of 37");
	assert_silent();
}

static void a_port_that_is_removed_is_not_waited_for(void **state)
{
	(void)state;
	bring_up();
	uart.leaves = 20;
	assert_int_equal(work(), ERR_TIMEOUT);
	assert_one_line("no line sent by interrupt within 1000 ms, 16 of 37");
}

static void an_interrupt_without_a_cause_is_not_handled(void **state)
{
	(void)state;
	bring_up();
	assert_int_equal(work(), OK);
	fake_x86.pm_step = 0;
	uart.neighbour = true;
	update();
	assert_true(i8259_line_disabled((u8)line));
}

static void a_cause_that_cannot_be_cleared_is_not_handled(void **state)
{
	(void)state;
	bring_up();
	assert_int_equal(work(), OK);
	uart.stuck = true;
	fake_x86.pm_step = 0;
	update();
	assert_true(i8259_line_disabled((u8)line));
	assert_int_equal(uart.bytes, 37); /* and nothing is sent again */
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
	const struct CMUnitTest tests[] = {
		T(only_a_pci_serial_port_matches),
		T(reset_stops_a_port_whatever_it_was_doing),
		T(what_is_no_idle_16550a_is_refused_with_a_line),
		T(without_a_line_it_is_absent),
		T(every_byte_is_sent_in_order_a_load_an_interrupt),
		T(shutdown_sends_its_line_by_interrupt),
		T(shutdown_without_interrupts_times_out),
		T(how_far_a_line_came_is_logged),
		T(a_port_that_is_removed_is_not_waited_for),
		T(an_interrupt_without_a_cause_is_not_handled),
		T(a_cause_that_cannot_be_cleared_is_not_handled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
