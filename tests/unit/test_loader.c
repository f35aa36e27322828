/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the loader enters the image in .linux with what firmware reported and the command line that was requested, or enters
 * nothing and reports why. Could be false: sections can have any length; a command line that is cut, or runs into the next page, is
 * another experiment than the requested one. Provoked: on a fake firmware: sections there, too long and absent, LoadOptions right
 * and wrong. Failure: an image entered that must not be, or with another command line.
 */
#include "boot/efi/firmware.h"
#include "boot/image.h"
#include "tests/unit/build_image.h"
#include "tests/unit/fake_efi.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define CMDLINE_MAX 2047

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);

static jmp_buf entered;
static const struct boot_params *params;

_Noreturn void image_enter(u64 entry, const struct boot_params *p)
{
	static const u8 begins[] = { 0, 7, 14, 21 }; /* what build_image puts there */

	assert_memory_equal((void *)(uintptr_t)(entry - SETUP_ENTRY64), begins, sizeof(begins));
	params = p;
	longjmp(entered, 1);
}

bool x86_la57(void)
{
	return false;
}

static u32 no_uart(u16 port, unsigned int size)
{
	(void)port;
	(void)size;
	return 0xff;
}

static void ignore(u16 port, unsigned int size, u32 value)
{
	(void)port;
	(void)size;
	(void)value;
}

static int begin(void **state)
{
	static const struct fake_ports com1 = { 0x3f8, 0x3ff, no_uart, ignore };

	(void)state;
	fake_x86_reset();
	fake_x86_claim(&com1);
	fake_efi_start();
	fake_efi_memory(EfiConventionalMemory, 0x100000, 16, EFI_MEMORY_WB);
	params = NULL;
	return 0;
}

/* The command line that the image was entered with; NULL where it was not. */
static const char *run(const char *cmdline, size_t size)
{
	u8 *image = build_image("pci-handoff test", 0, PAGE_SIZE);

	fake_efi_section(".linux", image, IMAGE_SIZE);
	free(image);
	if (cmdline)
		fake_efi_section(".cmdline", cmdline, (u32)size);
	if (!setjmp(entered)) {
		assert_int_equal(efi_main(&fake_efi, &fake_efi.system), EFI_LOAD_ERROR);
		return NULL;
	}
	return (const char *)(uintptr_t)boot_cmd_line(params);
}

static bool expected(const char *part)
{
	return strstr(fake_efi.text, part);
}

static void the_built_in_command_line_is_used_where_there_is_no_other(void **state)
{
	assert_string_equal(run("quietly", 5), "quiet"); /* a section has no terminator */
	begin(state);
	assert_string_equal(run(NULL, 0), "");
	begin(state);
	assert_string_equal(run("", 0), "");
}

static void boot_params_hold_what_firmware_reported(void **state)
{
	EFI_CONFIGURATION_TABLE table = { ACPI_20_TABLE_GUID, (void *)0x3000 };

	(void)state;
	fake_efi.system.ConfigurationTable = &table;
	fake_efi.system.NumberOfTableEntries = 1;
	fake_efi_section(".initrd", "070701", 6);
	assert_non_null(run("quiet", 5));
	assert_int_equal(params->acpi_rsdp_addr, 0x3000);
	assert_int_equal(boot_ramdisk_size(params), 6);
	assert_memory_equal((void *)(uintptr_t)boot_ramdisk_image(params), "070701", 6);
	assert_int_equal(params->e820_entries, 1);
	assert_int_equal(params->e820_table[0].addr, 0x100000);
	assert_int_equal(params->hdr.setup_data, 0);
	assert_int_equal(params->sentinel, 0);
	assert_int_equal(params->screen_info.orig_video_isVGA, 0);
}

static void boot_params_describe_the_display(void **state)
{
	EFI_GRAPHICS_OUTPUT_MODE_INFORMATION info = { .HorizontalResolution = 1280 }; /* its pixels are RGB */
	EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE mode = { .Info = &info };

	(void)state;
	fake_efi.displays = 1;
	fake_efi.display[0].Mode = &mode;
	assert_non_null(run("quiet", 5));
	assert_int_equal(params->screen_info.orig_video_isVGA, 0x70);
	assert_int_equal(params->screen_info.lfb_width, 1280);
}

static void a_built_in_command_line_that_does_not_fit_is_refused(void **state)
{
	char cmdline[CMDLINE_MAX + 2];

	memset(cmdline, 'a', sizeof(cmdline));
	cmdline[CMDLINE_MAX + 1] = '\0';
	assert_null(run(cmdline, CMDLINE_MAX + 1));
	assert_true(expected("command line in .cmdline: 2048 characters, 2047 are allowed"));
	assert_null(strstr(fake_efi.calls, "ExitBootServices"));
	/* The twin: one less. */
	begin(state);
	cmdline[CMDLINE_MAX] = '\0';
	assert_string_equal(run(cmdline, CMDLINE_MAX), cmdline);
	assert_false(expected("not started"));
}

static void load_options_replace_it(void **state)
{
	fake_efi.loaded.LoadOptions = (void *)L"loud";
	fake_efi.loaded.LoadOptionsSize = 10;
	assert_string_equal(run("quiet", 5), "loud");
	begin(state);
	fake_efi.loaded.LoadOptions = (void *)L"\x01oud"; /* not ours */
	fake_efi.loaded.LoadOptionsSize = 10;
	assert_string_equal(run("quiet", 5), "quiet");
}

static void load_options_that_are_refused_enter_nothing(void **state)
{
	(void)state;
	fake_efi.loaded.LoadOptions = (void *)L"lou\x01";
	fake_efi.loaded.LoadOptionsSize = 10;
	assert_null(run("quiet", 5));
	assert_true(expected("LoadOptions: character 4"));
}

static void without_an_image_nothing_is_entered(void **state)
{
	(void)state;
	assert_int_equal(efi_main(&fake_efi, &fake_efi.system), EFI_LOAD_ERROR);
	assert_true(expected("this file has no .linux section: nothing to load"));
	assert_true(expected("GUEST: error loader"));
	assert_null(params);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(the_built_in_command_line_is_used_where_there_is_no_other),
		T(boot_params_hold_what_firmware_reported),
		T(boot_params_describe_the_display),
		T(a_built_in_command_line_that_does_not_fit_is_refused),
		T(load_options_replace_it),
		T(load_options_that_are_refused_enter_nothing),
		T(without_an_image_nothing_is_entered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
