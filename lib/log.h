/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include "lib/types.h"

#include <stdarg.h>

/*
 * The log: one fact a line, `<tag, padded to 6> <text>`. It goes to a sink at once, or into RAM while it is held. It is held from
 * the moment the load is armed to the next image's first I/O, because a character costs more than a configuration cycle and because
 * nothing but the handoff should happen there.
 *
 * The held text survives the jump: it is in a struct log_ram that the next image finds in the chain of setup_data.
 */
#define LOG_LINE_MAX 240	 /* characters of a line; the rest of a longer one is cut */
#define LOG_RAM_SIZE (128 * KIB) /* 1000 functions, a line or two each */

struct log_ram {
	u32 used;    /* bytes of text that are valid, at most LOG_RAM_SIZE */
	u32 dropped; /* lines that did not fit */
	char text[LOG_RAM_SIZE];
};

typedef void (*log_sink)(const char *text, size_t n);

/* tag: the name of the writer, such as "first"; kept by reference. ram: where held lines go. */
void log_init(const char *tag, log_sink sink, struct log_ram *ram);

/* The tag that log_init was given. */
const char *log_tag(void);

void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* For a caller that puts a prefix before each line. */
void log_line_va(const char *prefix, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

/* The guest's last line, `GUEST: <verdict>`: untagged, since it is for the whole chain of images. */
void log_verdict(const char *verdict);

/* From here on lines go to RAM. */
void log_hold(void);

/* Puts what another image held before what this one holds. Ignores a text that does not fit its own bounds. */
void log_adopt(const struct log_ram *earlier);

/* Prints the held lines; later ones are printed at once. */
void log_release(void);

#endif
