/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/cpio.h"

#include "lib/log.h"
#include "lib/string.h"

#define NEWC_MAGIC     "070701"
#define NEWC_MAGIC_CRC "070702" /* the same layout */
#define NEWC_HEADER    110
#define NEWC_FILESIZE  54 /* offsets of the 8-digit fields used */
#define NEWC_NAMESIZE  94
#define TRAILER	       "TRAILER!!!"

static bool parse_hex8(const char *p, u64 *out)
{
	*out = 0;
	for (int i = 0; i < 8; i++) {
		char c = p[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;

		if (digit < 0)
			return false;
		*out = *out << 4 | (u64)digit;
	}
	return true;
}

static enum status malformed(u64 at, const char *why)
{
	log_line("initrd: cpio archive, offset 0x%lx: %s", at, why);
	return ERR_INVALID;
}

enum status cpio_find(const void *archive, u64 size, const char *path, struct cpio_file *out)
{
	const char *base = archive;
	u64 at = 0;

	for (;;) {
		u64 name_size, file_size, data;
		const char *name;

		if (size - at < NEWC_HEADER)
			return malformed(at, "it ends inside a header");
		if (strncmp(base + at, NEWC_MAGIC, 6) && strncmp(base + at, NEWC_MAGIC_CRC, 6))
			return malformed(at, "no newc header");
		if (!parse_hex8(base + at + NEWC_NAMESIZE, &name_size) || !parse_hex8(base + at + NEWC_FILESIZE, &file_size))
			return malformed(at, "a size is not hexadecimal");
		name = base + at + NEWC_HEADER;
		if (!name_size || name_size > size - at - NEWC_HEADER)
			return malformed(at, "a name reaches past the end");
		if (name[name_size - 1])
			return malformed(at, "a name is not terminated");
		data = ALIGN_UP(at + NEWC_HEADER + name_size, 4);
		if (data > size || file_size > size - data)
			return malformed(at, "a file reaches past the end");
		if (!strcmp(name, TRAILER))
			return ERR_ABSENT;
		if (!strcmp(name, path)) {
			*out = (struct cpio_file){ name, (const u8 *)base + data, file_size };
			return OK;
		}
		at = ALIGN_UP(data + file_size, 4);
		if (at > size)
			return malformed(size, "it ends without a trailer");
	}
}
