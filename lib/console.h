/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIB_CONSOLE_H
#define LIB_CONSOLE_H

#include "lib/types.h"

/* COM1 where there is one, and QEMU's debugcon once QEMU is known to be there. */
void console_init(bool in_qemu);

/* A log_sink. */
void console_write(const char *text, size_t n);

#endif
