/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: image_check takes an image that Linux's header describes, and refuses every other with one line that names the image and
 * what is wrong; image_fill_params makes the page that the boot protocol demands.
 * Could be false: a file that is cut, a field that is missing, sizes that contradict each other; a field too many or too few in
 * the page.
 * Provoked: a valid image cut at every byte, and one field changed at a time; the page is compared byte by byte with one put
 * together from boot.rst and zero-page.rst. Failure: an image accepted, or a refusal that does not say why.
 */
#include "boot/image.h"
#include "tests/unit/build_image.h"
#include "tests/unit/unit.h"

static u8 *file;
static struct image image;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	file = build_image("6.1.0-test (builder) #1", 0x1000000, 0x200000);
	return 0;
}

static int end(void **state)
{
	(void)state;
	free(file);
	return 0;
}

static void a_valid_image_is_understood(void **state)
{
	(void)state;
	assert_int_equal(image_check(&image, "linux", file, IMAGE_SIZE, true), OK);
	assert_int_equal(fake_log_lines(), 0);
	assert_ptr_equal(image.load, file + IMAGE_SETUP);
	assert_int_equal(image.load_size, IMAGE_LOAD);
	assert_int_equal(image.memory_size, 0xa000); /* init_size in whole pages */
	assert_int_equal(image.alignment, 0x200000);
	assert_int_equal(image.preferred, 0x1000000);
	assert_int_equal(image.cmdline_size, 255);
	assert_false(image.ours);
}

/* Whether it is refused with exactly one line, which has the image's name and this text. */
static bool refused(u64 size, bool la57, const char *why)
{
	fake_log_start();
	return image_check(&image, "broken", file, size, la57) == ERR_INVALID && fake_log_lines() == 1 &&
	       !strncmp(fake_log_line(0), "image broken refused: ", 22) && strstr(fake_log_line(0), why);
}

static void each_refusal_has_its_line(void **state)
{
	static const struct {
		size_t offset; /* boot.rst */
		unsigned int size;
		u64 value;
		const char *why;
	} rows[] = {
		{ 0x1fe, 2, 0xaa54, "0xaa55" },
		{ 0x202, 4, 0x53726447, "HdrS" },
		{ 0x206, 2, 0x020b, "boot protocol 0x020b" },
		{ 0x201, 1, 0x61, "ends before init_size" },
		{ 0x201, 1, 0, "ends before init_size" },
		{ 0x211, 1, 0x00, "LOADED_HIGH" },
		{ 0x236, 2, 0x22, "XLF_KERNEL_64" },
		{ 0x236, 2, 0x21, "XLF_CAN_BE_LOADED_ABOVE_4G" },
		{ 0x236, 2, 0x03, "XLF_5LEVEL" },
		{ 0x234, 1, 0, "not relocatable" },
		{ 0x230, 4, 0, "kernel_alignment" },
		{ 0x230, 4, 0x3000, "kernel_alignment" },
		{ 0x1f1, 1, 0xff, "ends before its 64-bit entry" },
		{ 0x1f1, 1, (IMAGE_SIZE - 0x200) / 512, "ends before its 64-bit entry" },
		{ 0x1f4, 4, IMAGE_LOAD / 16 + 1, "truncated, 6704 bytes of 6720" },
		{ 0x1f4, 4, 0xffffffff, "truncated" },
		{ 0x260, 4, IMAGE_LOAD - 1, "init_size" },
		{ 0x260, 4, 0, "init_size" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		/* The twin of each: before the change the same image is taken. */
		assert_false(refused(IMAGE_SIZE, true, ""));
		image_set(file, rows[i].offset, rows[i].size, rows[i].value);
		if (!refused(IMAGE_SIZE, true, rows[i].why))
			fail_msg("0x%zx = 0x%lx: not refused for \"%s\", but: %s", rows[i].offset, rows[i].value, rows[i].why,
				 fake_log_lines() ? fake_log_line(0) : "taken");
		end(state);
		begin(state);
	}
}

static void five_level_paging_is_required_only_where_it_is_on(void **state)
{
	(void)state;
	image_set(file, 0x236, 2, 0x03);
	assert_true(refused(IMAGE_SIZE, true, "XLF_5LEVEL"));
	assert_false(refused(IMAGE_SIZE, false, ""));
}

static void a_file_cut_at_any_byte_is_refused(void **state)
{
	(void)state;
	for (u64 size = 0; size < IMAGE_SIZE; size++) {
		u8 *cut = malloc(size ? size : 1); /* to the byte: the sanitizer sees a read beyond it */
		u8 *whole = file;

		memcpy(cut, whole, size);
		file = cut;
		if (!refused(size, true, "") || fake_log_has("ends inside its setup header") != (size < 0x268))
			fail_msg("cut to %lu bytes: %s", size, fake_log_lines() ? fake_log_line(0) : "taken");
		file = whole;
		free(cut);
	}
	assert_false(refused(IMAGE_SIZE, true, ""));
}

static void an_image_that_needs_no_more_than_its_file_is_taken(void **state)
{
	(void)state;
	image_set(file, 0x260, 4, IMAGE_LOAD);
	assert_int_equal(image_check(&image, "tight", file, IMAGE_SIZE, true), OK);
	assert_int_equal(image.memory_size, 0x2000);
}

static void setup_sects_0_means_4(void **state)
{
	(void)state;
	image_set(file, 0x1f1, 1, 0);
	image_set(file, 0x1f4, 4, (IMAGE_SIZE - 5 * 512) / 16);
	assert_int_equal(image_check(&image, "old", file, IMAGE_SIZE, false), OK);
	assert_ptr_equal(image.load, file + 5 * 512);
}

static void what_is_smaller_than_a_page_is_aligned_to_a_page(void **state)
{
	(void)state;
	image_set(file, 0x230, 4, 16);
	assert_int_equal(image_check(&image, "small", file, IMAGE_SIZE, false), OK);
	assert_int_equal(image.alignment, 4096);
}

static void our_images_are_known_by_the_version_string(void **state)
{
	static const struct {
		const char *version;
		bool ours;
	} rows[] = { { "pci-handoff second", true },
		     { "pci-handoffX", false },
		     { "pci-handof", false },
		     { "", false },
		     { "6.1 pci-handoff ", false } };
	char buf[64];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		end(state);
		file = build_image(rows[i].version, 0, 4096);
		assert_int_equal(image_check(&image, "x", file, IMAGE_SIZE, false), OK);
		assert_int_equal(image.ours, rows[i].ours);
		image_version(&image, buf, sizeof(buf));
		assert_string_equal(buf, rows[i].version);
	}
}

static void a_version_that_points_nowhere_is_empty(void **state)
{
	static const u16 offsets[] = { 0, IMAGE_SETUP - 0x200, 0xfe00, 0xffff };
	char buf[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		image_set(file, 0x20e, 2, offsets[i]);
		assert_int_equal(image_check(&image, "x", file, IMAGE_SIZE, false), OK);
		image_version(&image, buf, sizeof(buf));
		assert_string_equal(buf, "");
	}
	/* One that runs to the end of the setup sectors ends there, and one that is longer than the buffer is cut. */
	memset(file + IMAGE_VERSION, 'v', IMAGE_SETUP - IMAGE_VERSION);
	image_set(file, 0x20e, 2, IMAGE_SETUP - 3 - 0x200);
	image_version(&image, buf, sizeof(buf));
	assert_string_equal(buf, "vvv");
	image_version(&image, buf, 3);
	assert_string_equal(buf, "vv");
}

/* --- boot_params --- */

static const struct e820_entry e820[] = { { 0x1000, 0x9e000, E820_RAM },
					  { 0x100000, 0x7f00000, E820_RAM },
					  { 0xb0000000, 0x100, E820_DMA } };

static const struct screen_info screen = {
	.orig_video_isVGA = VIDEO_TYPE_EFI,
	.lfb_width = 1280,
	.lfb_base = 0x80000000,
	.rsvd_pos = 24,
	.ext_lfb_base = 0xe0,
};

static const struct boot_request request = {
	.load_address = 0x123400000,
	.cmdline = 0x2aaaaaaaa,
	.ramdisk = 0x3bbbbbbbb,
	.ramdisk_size = 0x4cccccccc,
	.rsdp = 0x5dddddddd,
	.setup_data = 0x6eeeeeeee,
	.screen = &screen,
	.e820 = e820,
	.e820_entries = ARRAY_SIZE(e820),
};

/* The page, put together from zero-page.rst; header_end is where the file's header ends. */
static void expected_page(u8 *page, size_t header_end)
{
	memset(page, 0, 4096);
	memcpy(page + 0x1f1, file + 0x1f1, header_end - 0x1f1);
	image_set(page, 0x00f, 1, 0x70); /* screen_info, as <linux/screen_info.h> has it */
	image_set(page, 0x012, 2, 1280);
	image_set(page, 0x018, 4, 0x80000000);
	image_set(page, 0x02d, 1, 24);
	image_set(page, 0x03a, 4, 0xe0);
	image_set(page, 0x070, 8, 0x5dddddddd);
	image_set(page, 0x0c0, 4, 0x3);	       /* ext_ramdisk_image */
	image_set(page, 0x0c4, 4, 0x4);	       /* ext_ramdisk_size */
	image_set(page, 0x0c8, 4, 0x2);	       /* ext_cmd_line_ptr */
	image_set(page, 0x1e8, 1, 3);	       /* e820_entries */
	image_set(page, 0x210, 1, 0xff);       /* type_of_loader */
	image_set(page, 0x214, 4, 0x23400000); /* code32_start */
	image_set(page, 0x218, 4, 0xbbbbbbbb);
	image_set(page, 0x21c, 4, 0xcccccccc);
	image_set(page, 0x228, 4, 0xaaaaaaaa);
	image_set(page, 0x250, 8, 0x6eeeeeeee);
	memcpy(page + 0x2d0, e820, sizeof(e820));
}

static void the_page_is_the_protocols(void **state)
{
	static struct boot_params params;
	u8 want[4096];

	(void)state;
	memset(&params, 0xee, sizeof(params)); /* nothing of what was there before may remain */
	assert_int_equal(image_check(&image, "x", file, IMAGE_SIZE, false), OK);
	image_fill_params(&image, &request, &params);
	expected_page(want, 0x268);
	assert_memory_equal(&params, want, sizeof(want));
	assert_int_equal(((u8 *)&params)[0x1ef], 0); /* sentinel: Linux wipes the page's rest where it is not 0 */
	/* The twin: one byte of difference anywhere is seen. */
	want[0x1ef] = 0xff;
	assert_int_not_equal(memcmp(&params, want, sizeof(want)), 0);
}

static void no_more_of_the_header_is_copied_than_the_image_has(void **state)
{
	static struct boot_params params;
	u8 want[4096];

	(void)state;
	image_set(file, 0x264, 4, 0x11223344); /* handover_offset, which a header that ends at 0x264 has not */
	image_set(file, 0x201, 1, 0x62);
	assert_int_equal(image_check(&image, "x", file, IMAGE_SIZE, false), OK);
	image_fill_params(&image, &request, &params);
	expected_page(want, 0x264);
	assert_memory_equal(&params, want, sizeof(want));
}

static void a_header_longer_than_ours_is_cut(void **state)
{
	static struct boot_params params;
	u8 want[4096];

	(void)state;
	memset(file + 0x268, 0x99, 0x80); /* code, not fields that we know */
	image_set(file, 0x201, 1, 0xff);
	assert_int_equal(image_check(&image, "x", file, IMAGE_SIZE, false), OK);
	image_fill_params(&image, &request, &params);
	expected_page(want, 0x268);
	assert_memory_equal(&params, want, sizeof(want));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(a_valid_image_is_understood),
		T(each_refusal_has_its_line),
		T(five_level_paging_is_required_only_where_it_is_on),
		T(a_file_cut_at_any_byte_is_refused),
		T(an_image_that_needs_no_more_than_its_file_is_taken),
		T(setup_sects_0_means_4),
		T(what_is_smaller_than_a_page_is_aligned_to_a_page),
		T(our_images_are_known_by_the_version_string),
		T(a_version_that_points_nowhere_is_empty),
		T(the_page_is_the_protocols),
		T(no_more_of_the_header_is_copied_than_the_image_has),
		T(a_header_longer_than_ours_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
