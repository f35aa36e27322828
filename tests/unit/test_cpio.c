/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: cpio_find finds a file of a newc archive by its path, and reports where an archive is malformed, reading nothing beyond
 * its end. Could be false: the archive comes from the previous kernel or loader; sizes in it may be anything, and it may be cut
 * anywhere. Provoked: an archive put together from the format's description, one by GNU cpio where that is installed; cut at every
 * byte, each allocated to the byte so that the sanitizer sees a read beyond it; sizes that wrap. Failure: a file found that is not
 * whole, or one of the two errors for the other.
 */
#include "boot/cpio.h"
#include "tests/unit/build_cpio.h"
#include "tests/unit/unit.h"

static struct cpio_archive archive;
static size_t second;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	cpio_add(&archive, ".", NULL, 0);
	cpio_add(&archive, "first/image", "first", 5);
	second = cpio_add(&archive, "second/image", "the second image", 16);
	cpio_add(&archive, "empty", NULL, 0);
	cpio_add(&archive, "second/image2", "12345678901", 11);
	cpio_end(&archive);
	return 0;
}

static int end(void **state)
{
	(void)state;
	cpio_free(&archive);
	return 0;
}

/* Finds in a copy that ends at the byte. */
static enum status find(size_t size, const char *path, struct cpio_file *file)
{
	u8 *copy = malloc(size ? size : 1);
	enum status s;

	memcpy(copy, archive.bytes, size);
	s = cpio_find(copy, size, path, file);
	if (s == OK) {
		assert_int_equal(strcmp(file->name, path), 0);
		assert_true(file->data >= copy && file->data + file->size <= copy + size);
		file->data = archive.bytes + (file->data - copy);
	}
	free(copy);
	return s;
}

static bool holds(const struct cpio_file *file, const char *text)
{
	return file->size == strlen(text) && !memcmp(file->data, text, file->size);
}

static void files_are_found_by_their_whole_path(void **state)
{
	struct cpio_file file;

	(void)state;
	assert_int_equal(find(archive.size, "second/image", &file), OK);
	assert_true(holds(&file, "the second image"));
	assert_false(holds(&file, "the second imagf")); /* the twin */
	assert_int_equal(find(archive.size, "second/image2", &file), OK);
	assert_true(holds(&file, "12345678901"));
	assert_int_equal(find(archive.size, "empty", &file), OK);
	assert_int_equal(file.size, 0);
	assert_int_equal(fake_log_lines(), 0);
}

static void what_is_not_there_is_absent_and_silent(void **state)
{
	static const char *const paths[] = { "second", "image", "second/imag", "second/image/", "", "TRAILER!!!" };
	struct cpio_file file;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(find(archive.size, paths[i], &file), ERR_ABSENT);
	assert_int_equal(fake_log_lines(), 0);
}

/* Whatever is cut off: a file is found whole or not at all, and what is not found is an archive that is malformed. */
static void an_archive_cut_at_any_byte_says_so(void **state)
{
	const size_t whole = second + 124 + 16; /* header 110 and name 13, padded; the file */
	struct cpio_file file;

	(void)state;
	for (size_t size = 0; size < archive.size; size++) {
		enum status s = find(size, "second/image", &file);

		fake_log_start();
		assert_int_equal(s, size < whole ? ERR_INVALID : OK);
		assert_int_equal(find(size, "nothing", &file), ERR_INVALID);
		assert_one_line("initrd: cpio archive, offset 0x");
	}
}

static void an_invalid_header_is_reported(void **state)
{
	static const struct {
		size_t offset; /* in the header of second/image */
		const char *text;
		const char *line;
	} rows[] = {
		{ 0, "070707", "no newc header" },	    { 54, "7FFFFFFF", "reaches past the end" },
		{ 54, "FFFFFFFF", "reaches past the end" }, { 54, "0000001G", "not hexadecimal" },
		{ 54, "0x000010", "not hexadecimal" },	    { 54, "      10", "not hexadecimal" },
		{ 94, "FFFFFFFF", "reaches past the end" }, { 94, "00000000", "reaches past the end" },
		{ 94, "0000000C", "not terminated" },	    { 94, "-0000001", "not hexadecimal" },
		{ 94, "FFFFFF92", "reaches past the end" }, /* with the header's 110 it wraps to 0 in 32 bits */
	};
	struct cpio_file file;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		end(state);
		begin(state);
		assert_int_equal(find(archive.size, "second/image", &file), OK); /* the twin */
		memcpy(archive.bytes + second + rows[i].offset, rows[i].text, strlen(rows[i].text));
		assert_int_equal(find(archive.size, "second/image", &file), ERR_INVALID);
		assert_one_line(rows[i].line);
		/* What precedes it is found all the same. */
		assert_int_equal(find(archive.size, "first/image", &file), OK);
	}
}

static void lower_case_and_the_crc_variant_are_read(void **state)
{
	struct cpio_file file;

	(void)state;
	memcpy(archive.bytes + second, "070702", 6);
	memcpy(archive.bytes + second + 94, "0000000d", 8);
	assert_int_equal(find(archive.size, "second/image", &file), OK);
	assert_true(holds(&file, "the second image"));
}

static void what_gnu_cpio_writes_is_read(void **state)
{
	static u8 bytes[65536];
	struct cpio_file file;
	size_t size;
	FILE *f;

	(void)state;
	f = popen("command -v cpio >/dev/null || exit 0; d=$(mktemp -d) && cd \"$d\" && mkdir second && printf 'an odd size' "
		  ">second/image && "
		  "printf x >SHA256SUMS && find . -mindepth 1 -printf '%P\\n' | cpio -o -H newc 2>/dev/null; rm -r \"$d\"",
		  "r");
	assert_non_null(f);
	size = fread(bytes, 1, sizeof(bytes), f);
	assert_int_equal(pclose(f), 0);
	if (!size)
		skip();
	assert_int_equal(cpio_find(bytes, size, "second/image", &file), OK);
	assert_true(holds(&file, "an odd size"));
	assert_int_equal(cpio_find(bytes, size, "SHA256SUMS", &file), OK);
	assert_true(holds(&file, "x"));
	assert_int_equal(cpio_find(bytes, size, "third/image", &file), ERR_ABSENT);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(files_are_found_by_their_whole_path),	    T(what_is_not_there_is_absent_and_silent),
		T(an_archive_cut_at_any_byte_says_so),	    T(an_invalid_header_is_reported),
		T(lower_case_and_the_crc_variant_are_read), T(what_gnu_cpio_writes_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
