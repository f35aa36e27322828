/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the console writes to a COM1 that is there and to QEMU's debugcon where QEMU is; a missing or stuck UART costs a bounded
 * number of polls, once. a machine counts as QEMU only where CPUID reports a hypervisor and fw_cfg has its signature. Could be
 * false: many boards have no COM1; a UART may never get ready; ports 0x510 and 0x511 may be anything on real hardware. Provoked:
 * each of these on fake ports. Failure: another text, or polls without end.
 */
#include "lib/console.h"
#include "lib/qemu.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define COM1 0x3f8

static struct {
	bool absent;
	u8 scratch;
	unsigned int busy; /* polls until ready, each time */
	unsigned int polls;
	unsigned int left;
	char text[64];
	size_t n;
} uart;

static u32 uart_in(u16 port, unsigned int size)
{
	assert_int_equal(size, 1);
	if (uart.absent)
		return 0xff;
	if (port == COM1 + 7)
		return uart.scratch;
	assert_int_equal(port, COM1 + 5);
	uart.polls++;
	if (uart.left)
		uart.left--;
	return uart.left ? 0 : 0x60;
}

static void uart_out(u16 port, unsigned int size, u32 value)
{
	assert_int_equal(size, 1);
	if (port == COM1 + 7)
		uart.scratch = (u8)value;
	else if (port == COM1 && uart.n < sizeof(uart.text) - 1 && !uart.left)
		uart.text[uart.n++] = (char)value;
	uart.left = uart.busy;
}

static char debugcon[64];
static size_t debugcon_n;

static u32 no_in(u16 port, unsigned int size)
{
	(void)size;
	fail_msg("port 0x%x is not read", port);
	return 0;
}

static void debugcon_out(u16 port, unsigned int size, u32 value)
{
	(void)port;
	assert_int_equal(size, 1);
	debugcon[debugcon_n++] = (char)value;
}

static const char *fw_cfg;
static unsigned int fw_cfg_at;

static u32 fw_cfg_in(u16 port, unsigned int size)
{
	assert_int_equal(port, 0x511);
	assert_int_equal(size, 1);
	return (u8)fw_cfg[fw_cfg_at++];
}

static void fw_cfg_out(u16 port, unsigned int size, u32 value)
{
	assert_int_equal(port, 0x510);
	assert_int_equal(size, 2);
	assert_int_equal(value, 0);
	fw_cfg_at = 0;
}

static int begin(void **state)
{
	static const struct fake_ports ports[] = { { COM1, COM1 + 7, uart_in, uart_out },
						   { 0xe9, 0xe9, no_in, debugcon_out },
						   { 0x510, 0x511, fw_cfg_in, fw_cfg_out } };

	(void)state;
	fake_x86_reset();
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		fake_x86_claim(&ports[i]);
	memset(&uart, 0, sizeof(uart));
	memset(debugcon, 0, sizeof(debugcon));
	debugcon_n = 0;
	return 0;
}

static void text_goes_to_com1_with_carriage_returns(void **state)
{
	(void)state;
	uart.busy = 3;
	console_init(false);
	uart.left = 0;
	console_write("ab\nc", 4);
	assert_string_equal(uart.text, "ab\r\nc");
	assert_int_equal(debugcon_n, 0);
}

static void in_qemu_text_goes_to_debugcon_as_well(void **state)
{
	(void)state;
	console_init(true);
	console_write("ab\nc", 4);
	assert_string_equal(uart.text, "ab\r\nc");
	assert_string_equal(debugcon, "ab\nc");
}

static void a_missing_uart_is_not_polled(void **state)
{
	(void)state;
	uart.absent = true;
	console_init(true);
	console_write("ab", 2);
	assert_int_equal(uart.polls, 0);
	assert_string_equal(debugcon, "ab");
}

static void a_stuck_uart_is_dropped_once(void **state)
{
	unsigned int polls;

	(void)state;
	uart.busy = UINT32_MAX;
	console_init(true); /* the scratch write makes it busy forever */
	console_write("ab", 2);
	polls = uart.polls;
	assert_uint_in_range(polls, 1, 1000000);
	console_write("cd", 2);
	assert_int_equal(uart.polls, polls);
	assert_string_equal(debugcon, "abcd");
	assert_string_equal(uart.text, "");
}

static bool present(bool hypervisor, const char *signature)
{
	fake_x86.cpuid_1.ecx = hypervisor ? 0x80000000 : 0x7fffffff;
	fake_x86.io_count = 0;
	fw_cfg = signature;
	return qemu_present();
}

static void qemu_needs_both_signs(void **state)
{
	(void)state;
	assert_true(present(true, "QEMU"));
	assert_false(present(true, "\xff\xff\xff\xff"));
	assert_false(present(true, "QEMV"));
	assert_false(present(false, "QEMU"));
	assert_int_equal(fake_x86.io_count, 0); /* without a hypervisor the ports may be another device's */
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(text_goes_to_com1_with_carriage_returns),
		T(in_qemu_text_goes_to_debugcon_as_well),
		T(a_missing_uart_is_not_polled),
		T(a_stuck_uart_is_dropped_once),
		T(qemu_needs_both_signs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
