/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/build_cpio.h"

#include "tests/unit/unit.h"

static void append(struct cpio_archive *archive, const void *data, size_t size)
{
	size_t padded = (archive->size + size + 3) / 4 * 4;

	archive->bytes = realloc(archive->bytes, padded);
	assert_non_null(archive->bytes);
	memset(archive->bytes + archive->size, 0, padded - archive->size);
	memcpy(archive->bytes + archive->size, data, size);
	archive->size = padded;
}

size_t cpio_add(struct cpio_archive *archive, const char *name, const void *data, size_t size)
{
	size_t at = archive->size, name_size = strlen(name) + 1;
	char header[110 + 80];

	assert_true(name_size <= 80);
	/* ino mode uid gid nlink mtime filesize maj min rmaj rmin namesize chksum */
	sprintf(header, "070701%08X%08X%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08X", 0, 0100644, 0, 0, 1, 0, size, 0, 0, 0, 0,
		name_size, 0);
	memcpy(header + 110, name, name_size);
	append(archive, header, 110 + name_size);
	append(archive, size ? data : "", size);
	return at;
}

void cpio_end(struct cpio_archive *archive)
{
	cpio_add(archive, "TRAILER!!!", NULL, 0);
}

void cpio_free(struct cpio_archive *archive)
{
	free(archive->bytes);
	*archive = (struct cpio_archive){ NULL, 0 };
}
