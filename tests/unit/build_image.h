/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_BUILD_IMAGE_H
#define TESTS_UNIT_BUILD_IMAGE_H

#include "lib/types.h"

/*
 * A valid image of the boot protocol, made with Linux's own header: IMAGE_SETUP bytes of setup, then IMAGE_LOAD bytes that differ
 * from each other. malloc'ed to the byte.
 */
#define IMAGE_SETUP	2048
#define IMAGE_LOAD	0x1230
#define IMAGE_INIT_SIZE 0x9100
#define IMAGE_SIZE	(IMAGE_SETUP + IMAGE_LOAD)
#define IMAGE_VERSION	0x600 /* where the version string is in the file */

u8 *build_image(const char *version, u64 pref_address, u32 alignment);

/* Writes a field: the offsets are boot.rst's. */
void image_set(u8 *image, size_t offset, unsigned int size, u64 value);

#endif
