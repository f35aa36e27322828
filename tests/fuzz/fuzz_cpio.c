/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: cpio_find reads no byte outside an archive, whatever it holds; what it finds is inside, under the name that was given; it
 * needs no byte after it. Could be false: the sizes in a header are 32 bits wide and the archive's own; a name may end anywhere.
 * Provoked: any archive, malloc'ed to the byte. The input: the path up to a zero byte, then the archive.
 */
#include "boot/cpio.h"
#include "tests/fuzz/fuzz.h"

static enum status find(const u8 *archive, u64 size, const char *path, struct cpio_file *file)
{
	enum status s;

	fuzz_log_start();
	s = cpio_find(archive, size, path, file);
	REQUIRE(s == OK || s == ERR_ABSENT ? fuzz_log_lines() == 0 : s == ERR_INVALID && fuzz_log_lines() == 1);
	return s;
}

/* The same archive, cut: in memory of its own, so that a read after the cut is seen. */
static enum status find_in_cut(const u8 *archive, u64 size, const char *path, struct cpio_file *file)
{
	u8 *cut = malloc(size);
	enum status s;

	REQUIRE(cut);
	memcpy(cut, archive, size);
	s = find(cut, size, path, file);
	free(cut);
	return s;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	char *path = input_text(&in, 255);
	u64 archive_size = in.left;
	u8 *archive = input_rest(&in);
	struct cpio_file file, again;

	if (find(archive, archive_size, path, &file) == OK) {
		u64 end;

		REQUIRE((const u8 *)file.name > archive && file.data > (const u8 *)file.name);
		REQUIRE(file.data <= archive + archive_size);
		REQUIRE(file.size <= (u64)(archive + archive_size - file.data));
		REQUIRE(!strcmp(file.name, path));
		end = (u64)(file.data - archive) + file.size;
		REQUIRE(find_in_cut(archive, end, path, &again) == OK && again.size == file.size);
		REQUIRE(find_in_cut(archive, end - 1, path, &again) == ERR_INVALID);
	}
	free(archive);
	free(path);
	return 0;
}
