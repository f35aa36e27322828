/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

/* What every unit test includes: cmocka and what it needs before it, and the few helpers that all tests share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/status.h"
#include "lib/types.h"

/* cmocka 1 compares unsigned, too, under a name that cmocka 2 deprecates. */
#ifndef assert_uint_in_range
#define assert_uint_in_range assert_in_range
#endif

/* xorshift64 with a fixed seed: the same "random" inputs in every run. */
struct prng {
	u64 state;
};
static inline u64 prng_next(struct prng *p)
{
	p->state ^= p->state << 13;
	p->state ^= p->state >> 7;
	p->state ^= p->state << 17;
	return p->state;
}
static inline u64 prng_below(struct prng *p, u64 n)
{
	return prng_next(p) % n;
}

/* The log, line by line, without tag and newline. fake_log_start begins an empty one. */
void fake_log_start(void);
unsigned int fake_log_lines(void);
const char *fake_log_line(unsigned int i);
bool fake_log_has(const char *part);

/* One line, with this text. */
#define assert_one_line(part)                                                                                                      \
	do {                                                                                                                       \
		assert_int_equal(fake_log_lines(), 1);                                                                             \
		if (!strstr(fake_log_line(0), part))                                                                               \
			fail_msg("\"%s\" does not say \"%s\"", fake_log_line(0), part);                                            \
	} while (0)

/* coreutils' sha256sum of some bytes, in hexadecimal: 64 digits and the terminator. */
void coreutils_sha256(const void *data, size_t size, char hex[65]);

#endif
