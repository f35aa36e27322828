/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/console.h"

#include "lib/qemu.h"
#include "lib/x86.h"

/* 16550 UART. Firmware has set the line up (115200 8n1 under OVMF), or no terminal is attached. */
/* clang-format off */
#define COM1		0x3f8
#define UART_THR	0
#define UART_LSR	5
#define  UART_LSR_THRE	0x20
#define UART_SCR	7
/* clang-format on */

/* A character takes 87 us at 115200 baud; more polls than that takes on any CPU mean a UART that is stuck. */
#define UART_POLLS 100000

static bool uart;
static bool debugcon;

void console_init(bool in_qemu)
{
	/* Many boards have no COM1: its scratch register then reads 0xff whatever was written. */
	x86_outb(COM1 + UART_SCR, 0x5a);
	uart = x86_inb(COM1 + UART_SCR) == 0x5a;
	debugcon = in_qemu;
}

static void uart_put(char c)
{
	for (unsigned int i = 0; !(x86_inb(COM1 + UART_LSR) & UART_LSR_THRE); i++) {
		if (i == UART_POLLS) {
			uart = false;
			return;
		}
	}
	x86_outb(COM1 + UART_THR, (u8)c);
}

void console_write(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (debugcon)
			x86_outb(QEMU_DEBUGCON_PORT, (u8)text[i]);
		if (uart && text[i] == '\n')
			uart_put('\r');
		if (uart)
			uart_put(text[i]);
	}
}
