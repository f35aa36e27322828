/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_BUILD_CPIO_H
#define TESTS_UNIT_BUILD_CPIO_H

#include "lib/types.h"

/*
 * A newc archive, byte by byte as Linux's buffer-format.rst describes it: "070701", 13 fields of 8 hexadecimal digits, the name,
 * and the file, name and file padded to 4.
 */
struct cpio_archive {
	u8 *bytes;
	size_t size;
};

/* Each file takes 110 bytes and its name; returns the offset of its header. */
size_t cpio_add(struct cpio_archive *archive, const char *name, const void *data, size_t size);
void cpio_end(struct cpio_archive *archive);
void cpio_free(struct cpio_archive *archive);

#endif
