/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_FORMAT_H
#define LIB_FORMAT_H

#include "lib/types.h"

#include <stdarg.h>

/*
 * snprintf's subset: %s %c %u %d %x %%, with `l`, `0`, `-`, a width (also `*`), and a precision for %s. Returns the length that the
 * whole text has, as snprintf does; what is stored is always terminated when size > 0.
 */
size_t format(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
size_t format_va(char *buf, size_t size, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));

#endif
