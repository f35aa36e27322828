/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_CPIO_H
#define BOOT_CPIO_H

#include "lib/status.h"
#include "lib/types.h"

/* The newc format of Linux's initramfs (Documentation/driver-api/early-userspace/buffer-format.rst). */
struct cpio_file {
	const char *name; /* terminated; inside the archive */
	const u8 *data;
	u64 size;
};

/*
 * Finds a file by its full path, such as "second/image". ERR_ABSENT, silently, when the archive is well-formed up to its trailer
 * and does not hold it; ERR_INVALID, after one line with the offset, when it is cut or malformed before the file was found.
 */
enum status cpio_find(const void *archive, u64 size, const char *path, struct cpio_file *out);

#endif
