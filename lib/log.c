/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/log.h"

#include "lib/format.h"
#include "lib/string.h"
#include "lib/x86.h"

static struct {
	const char *tag;
	log_sink sink;
	struct log_ram *ram;
	bool held;
} state;

void log_init(const char *tag, log_sink sink, struct log_ram *ram)
{
	state.tag = tag;
	state.sink = sink;
	state.ram = ram;
	state.held = false;
}

const char *log_tag(void)
{
	return state.tag;
}

static void keep(const char *text, size_t n)
{
	if (n > LOG_RAM_SIZE - state.ram->used) {
		state.ram->dropped++;
		return;
	}
	memcpy(state.ram->text + state.ram->used, text, n);
	state.ram->used += (u32)n;
}

static void emit(const char *text, size_t n)
{
	u64 flags = x86_irq_save(); /* an interrupt handler's line must not split another */

	if (state.held)
		keep(text, n);
	else if (state.sink)
		state.sink(text, n);
	x86_irq_restore(flags);
}

void log_line_va(const char *prefix, const char *fmt, va_list args)
{
	char line[LOG_LINE_MAX + 1]; /* the newline takes the terminator's place */
	size_t n;

	n = format(line, sizeof(line), "%-6s %s", state.tag, prefix);
	n = MIN(n, sizeof(line) - 1);
	n += format_va(line + n, sizeof(line) - n, fmt, args);
	n = MIN(n, sizeof(line) - 1);
	line[n++] = '\n';
	emit(line, n);
}

void log_line(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_line_va("", fmt, args);
	va_end(args);
}

void log_verdict(const char *verdict)
{
	char line[LOG_LINE_MAX];

	emit(line, MIN(format(line, sizeof(line), "GUEST: %s\n", verdict), sizeof(line) - 1));
}

void log_hold(void)
{
	state.held = true;
}

void log_adopt(const struct log_ram *earlier)
{
	struct log_ram *ram = state.ram;
	u32 n;

	if (earlier->used > LOG_RAM_SIZE)
		return;
	n = MIN(earlier->used, (u32)LOG_RAM_SIZE - ram->used);
	memmove(ram->text + n, ram->text, ram->used);
	memcpy(ram->text, earlier->text, n);
	ram->used += n;
	ram->dropped += earlier->dropped + (n < earlier->used);
}

void log_release(void)
{
	if (!state.held)
		return;
	state.held = false;
	emit(state.ram->text, state.ram->used);
	if (state.ram->dropped)
		log_line("log: %u lines dropped, the buffer of %lu bytes is full", state.ram->dropped, LOG_RAM_SIZE);
	state.ram->used = 0;
	state.ram->dropped = 0;
}
