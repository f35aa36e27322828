/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_SHA256_H
#define BOOT_SHA256_H

#include "lib/types.h"

/* SHA-256, FIPS 180-4. A digest is text, as sha256sum prints it: 64 lower-case hexadecimal digits, terminated. */
#define SHA256_BLOCK	64
#define SHA256_HEX_SIZE 65

/* Of data that comes in pieces: init, update for each of them, final. */
struct sha256_state {
	u32 hash[8];
	u64 size;	       /* of all pieces so far */
	u8 rest[SHA256_BLOCK]; /* size % SHA256_BLOCK bytes, which do not fill a block yet */
};

void sha256_init(struct sha256_state *state);
void sha256_update(struct sha256_state *state, const void *data, u64 size);
void sha256_final(struct sha256_state *state, char hex[SHA256_HEX_SIZE]);

/* Of data in one piece. */
void sha256(const void *data, u64 size, char hex[SHA256_HEX_SIZE]);

/* Looks a path up in the text that coreutils' sha256sum writes ("<64 hex digits>  <path>\n" a line). False when no line has it. */
bool sha256_listed(const char *sums, u64 size, const char *path, char hex[SHA256_HEX_SIZE]);

#endif
