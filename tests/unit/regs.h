/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_REGS_H
#define TESTS_UNIT_REGS_H

#include <stddef.h>

/* A register constant as one header defines it; unit.mk makes both lists, of the names in pci/regs.h. */
struct reg {
	const char *name; /* NULL at the end */
	long long value;
};
#define REG_ABSENT (-1LL)

extern const struct reg regs_ours[], regs_linux[];

#endif
