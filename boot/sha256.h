/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_SHA256_H
#define BOOT_SHA256_H

#include "lib/types.h"

/* SHA-256, FIPS 180-4. */
#define SHA256_SIZE	32
#define SHA256_HEX_SIZE (2 * SHA256_SIZE + 1)

void sha256(const void *data, u64 size, u8 digest[SHA256_SIZE]);

/* Lower-case hexadecimal, terminated. */
void sha256_hex(const u8 digest[SHA256_SIZE], char hex[SHA256_HEX_SIZE]);

/*
 * Looks a path up in the text that coreutils' sha256sum writes ("<64 hex digits>  <path>\n" a line). False when no line names it.
 */
bool sha256_listed(const char *sums, u64 size, const char *path, char hex[SHA256_HEX_SIZE]);

#endif
