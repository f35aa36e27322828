/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: boot/bootparam.h lays the boot protocol's structures out as Linux's <asm/bootparam.h> does. Could be false: one wrong
 * width moves every field after it, and the next kernel reads an address out of two halves of others. Provoked: offset and size of
 * every field of both headers. Failure: the field with both.
 */
#include "tests/unit/linux_bootparam.h"

#include "boot/bootparam.h"
#include "tests/unit/unit.h"

struct field {
	const char *name;
	size_t offset, size;
	size_t linux_offset, linux_size;
};

#define AS(type, ours, linux_type, theirs)                                                                                         \
	{                                                                                                                          \
#ours, offsetof(type, ours), sizeof(((type *)0)->ours), offsetof(linux_type, theirs),                              \
			sizeof(((linux_type *)0)->theirs)                                                                          \
	}
#define HEADER(name) AS(struct setup_header, name, struct linux_setup_header, name)
#define PARAMS(name) AS(struct boot_params, name, struct linux_boot_params, name)
#define SCREEN(name) AS(struct screen_info, name, struct linux_screen_info, name)

static const struct field fields[] = {
	HEADER(setup_sects),
	HEADER(root_flags),
	HEADER(syssize),
	HEADER(ram_size),
	HEADER(vid_mode),
	HEADER(root_dev),
	HEADER(boot_flag),
	HEADER(jump),
	HEADER(header),
	HEADER(version),
	HEADER(realmode_swtch),
	HEADER(start_sys_seg),
	HEADER(kernel_version),
	HEADER(type_of_loader),
	HEADER(loadflags),
	HEADER(setup_move_size),
	HEADER(code32_start),
	HEADER(ramdisk_image),
	HEADER(ramdisk_size),
	HEADER(bootsect_kludge),
	HEADER(heap_end_ptr),
	HEADER(ext_loader_ver),
	HEADER(ext_loader_type),
	HEADER(cmd_line_ptr),
	HEADER(initrd_addr_max),
	HEADER(kernel_alignment),
	HEADER(relocatable_kernel),
	HEADER(min_alignment),
	HEADER(xloadflags),
	HEADER(cmdline_size),
	HEADER(hardware_subarch),
	HEADER(hardware_subarch_data),
	HEADER(payload_offset),
	HEADER(payload_length),
	AS(struct setup_header, setup_data, struct linux_setup_header, linux_setup_data),
	HEADER(pref_address),
	HEADER(init_size),
	HEADER(handover_offset),
	AS(struct boot_params, screen_info, struct linux_boot_params, linux_screen_info),
	PARAMS(acpi_rsdp_addr),
	PARAMS(ext_ramdisk_image),
	PARAMS(ext_ramdisk_size),
	PARAMS(ext_cmd_line_ptr),
	PARAMS(efi_info),
	PARAMS(e820_entries),
	PARAMS(sentinel),
	PARAMS(e820_table),
	SCREEN(orig_video_isVGA),
	SCREEN(lfb_width),
	SCREEN(lfb_height),
	SCREEN(lfb_depth),
	SCREEN(lfb_base),
	SCREEN(lfb_size),
	SCREEN(lfb_linelength),
	SCREEN(red_size),
	SCREEN(red_pos),
	SCREEN(green_size),
	SCREEN(green_pos),
	SCREEN(blue_size),
	SCREEN(blue_pos),
	SCREEN(rsvd_size),
	SCREEN(rsvd_pos),
	SCREEN(pages),
	SCREEN(capabilities),
	SCREEN(ext_lfb_base),
	AS(struct e820_entry, addr, struct boot_e820_entry, addr),
	AS(struct e820_entry, size, struct boot_e820_entry, size),
	AS(struct e820_entry, type, struct boot_e820_entry, type),
	AS(struct setup_data, next, struct linux_setup_data, next),
	AS(struct setup_data, type, struct linux_setup_data, type),
	AS(struct setup_data, len, struct linux_setup_data, len),
};

_Static_assert(offsetof(struct boot_params, hdr) == offsetof(struct linux_boot_params, hdr), "setup header");
_Static_assert(SETUP_HEADER_OFFSET == offsetof(struct linux_boot_params, hdr), "setup header");
_Static_assert(sizeof(struct boot_params) == sizeof(struct linux_boot_params), "boot_params");
_Static_assert(sizeof(struct screen_info) == sizeof(struct linux_screen_info), "screen_info");
_Static_assert(VIDEO_TYPE_EFI == LINUX_VIDEO_TYPE_EFI && VIDEO_CAPABILITY_SKIP_QUIRKS == LINUX_VIDEO_CAPABILITY_SKIP_QUIRKS &&
		       VIDEO_CAPABILITY_64BIT_BASE == LINUX_VIDEO_CAPABILITY_64BIT_BASE,
	       "screen_info");
_Static_assert(sizeof(struct setup_header) <= sizeof(struct linux_setup_header), "ours may know less");
_Static_assert(sizeof(struct e820_entry) == sizeof(struct boot_e820_entry), "e820 entry");
_Static_assert(sizeof(struct setup_data) == sizeof(struct linux_setup_data), "setup_data without its data");
_Static_assert(E820_MAX == E820_MAX_ENTRIES_ZEROPAGE, "e820 table");
_Static_assert(XLF_KERNEL_64 == LINUX_XLF_KERNEL_64 && XLF_ABOVE_4G == LINUX_XLF_ABOVE_4G && XLF_5LEVEL == LINUX_XLF_5LEVEL,
	       "xloadflags");
_Static_assert(LOADFLAGS_LOADED_HIGH == LINUX_LOADED_HIGH, "loadflags");
_Static_assert((SETUP_HANDOFF & SETUP_INDIRECT) == 0 && SETUP_HANDOFF > SETUP_ENUM_MAX, "a type that Linux does not know");

static bool agrees(const struct field *f)
{
	return f->offset == f->linux_offset && f->size == f->linux_size;
}

static void every_field_is_where_linux_has_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!agrees(&fields[i]))
			fail_msg("%s: 0x%zx + %zu, in Linux 0x%zx + %zu", fields[i].name, fields[i].offset, fields[i].size,
				 fields[i].linux_offset, fields[i].linux_size);
}

static void a_field_that_moved_or_shrank_is_caught(void **state)
{
	static const struct field moved = HEADER(version),
				  other = AS(struct setup_header, version, struct linux_setup_header, header);
	struct field wrong = moved;

	(void)state;
	wrong.offset++;
	assert_false(agrees(&wrong));
	assert_false(agrees(&other));
}

static void every_field_is_compared(void **state)
{
	size_t header = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fields) && fields[i].offset < sizeof(struct setup_header); i++) {
		header += fields[i].size;
		if (!strcmp(fields[i].name, "handover_offset"))
			break;
	}
	assert_int_equal(header, sizeof(struct setup_header)); /* packed: the sizes add up */
}

static void addresses_are_put_together_from_their_halves(void **state)
{
	static struct linux_boot_params theirs;
	const struct boot_params *ours = (const void *)&theirs;

	(void)state;
	theirs.hdr.ramdisk_image = 0x11111111;
	theirs.ext_ramdisk_image = 0x1;
	theirs.hdr.ramdisk_size = 0x22222222;
	theirs.ext_ramdisk_size = 0x2;
	theirs.hdr.cmd_line_ptr = 0x33333333;
	theirs.ext_cmd_line_ptr = 0x3;
	assert_int_equal(boot_ramdisk_image(ours), 0x111111111);
	assert_int_equal(boot_ramdisk_size(ours), 0x222222222);
	assert_int_equal(boot_cmd_line(ours), 0x333333333);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_is_where_linux_has_it),
		cmocka_unit_test(a_field_that_moved_or_shrank_is_caught),
		cmocka_unit_test(every_field_is_compared),
		cmocka_unit_test(addresses_are_put_together_from_their_halves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
