/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

/* What every fuzzer includes. A fuzzer is one function, which libFuzzer calls with each input; a claim that is not true aborts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/status.h"
#include "lib/types.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define REQUIRE(claim)                                                                                                             \
	do {                                                                                                                       \
		if (!(claim)) {                                                                                                    \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #claim);                                 \
			abort();                                                                                                   \
		}                                                                                                                  \
	} while (0)

/* The input, from its beginning; after its end it is zeros. */
struct input {
	const u8 *at;
	size_t left;
};
u64 input_take(struct input *in, unsigned int size); /* a little-endian number of so many bytes */
char *input_text(struct input *in, size_t max);	     /* up to a zero byte: terminated, malloc'ed to the byte */
void *input_rest(struct input *in);		     /* left bytes, malloc'ed to the byte */

/* fuzz_log_start clears the lines logged before; fuzz_log_lines counts those since. */
void fuzz_log_start(void);
unsigned int fuzz_log_lines(void);

/* Memory at an address that is the same in every run, so that an input which names addresses means the same in every run. */
#define FUZZ_ARENA 0x40000000UL
void *fuzz_arena(size_t size);

#endif
