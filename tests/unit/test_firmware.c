/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: what the loader takes from UEFI is what UEFI means: a memory map in e820's types, boot services that end even when their
 * map changes meanwhile, a command line that is text, memory that is aligned, and no watchdog under the next kernel. Could be
 * false: OVMF exits at the first try and has no unusual memory; runtime services called RAM, or a boot service called after boot
 * services have begun to end, show on some machine months later. Provoked: on a fake firmware: every memory type with and without
 * write-back caching, keys that go stale, LoadOptions of all kinds. Failure: another type, another call, another text, or the
 * sanitizer's report.
 */
#include "boot/efi/firmware.h"
#include "tests/unit/fake_efi.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define COM1 0x3f8
#define WB   EFI_MEMORY_WB

static struct e820_entry e820[E820_MAX];
static unsigned int entries;

/* A UART that is always ready: the console that is left when firmware's has ended. */
static u8 scratch;
static char uart[256];

static u32 uart_in(u16 port, unsigned int size)
{
	(void)size;
	return port == COM1 + 7 ? scratch : 0x60;
}

static void uart_out(u16 port, unsigned int size, u32 value)
{
	(void)size;
	if (port == COM1 + 7)
		scratch = (u8)value;
	else if (strlen(uart) + 1 < sizeof(uart))
		uart[strlen(uart)] = (char)value;
}

static int begin(void **state)
{
	static const struct fake_ports com1 = { COM1, COM1 + 7, uart_in, uart_out };

	(void)state;
	fake_x86_reset();
	fake_x86_claim(&com1);
	memset(uart, 0, sizeof(uart));
	fake_efi_start();
	fake_log_start();
	firmware_init(&fake_efi, &fake_efi.system);
	fake_efi.calls[0] = '\0';
	return 0;
}

static void the_watchdog_is_switched_off(void **state)
{
	(void)state;
	fake_efi_start();
	assert_int_equal(fake_efi.watchdog, 300);
	firmware_init(&fake_efi, &fake_efi.system);
	assert_int_equal(fake_efi.watchdog, 0);
}

/* --- the command line --- */

static char line[16];

/* What firmware_options returns for so many characters of LoadOptions, malloc'ed to the byte. */
static enum status options(const CHAR16 *text, size_t n)
{
	CHAR16 *copy = malloc(n * sizeof(*copy));
	enum status s;

	assert_non_null(copy);
	memcpy(copy, text, n * sizeof(*copy));
	begin(NULL);
	memset(line, '#', sizeof(line));
	fake_efi.loaded.LoadOptions = copy;
	fake_efi.loaded.LoadOptionsSize = (UINT32)(n * sizeof(*copy));
	s = firmware_options(line, sizeof(line));
	free(copy);
	return s;
}

static void load_options_are_the_command_line(void **state)
{
	(void)state;
	assert_int_equal(options(L"quiet a=b", 10), OK);
	assert_string_equal(line, "quiet a=b");
	assert_int_equal(options(L"quiet", 5), OK); /* without a terminator */
	assert_string_equal(line, "quiet");
	assert_int_equal(options(L"quiet\0later", 11), OK);
	assert_string_equal(line, "quiet");
	assert_int_equal(options(L" !~0123456789AB", 16), OK); /* as much as there is room for */
	assert_string_equal(line, " !~0123456789AB");
	assert_int_equal(fake_log_lines(), 0);
}

static void load_options_that_do_not_begin_as_text_are_ignored_with_a_line(void **state)
{
	static const CHAR16 *const data[] = { L"\x01t", L"\xfeff\x41", L"\x7f\x7f", L"\xe9t" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
		assert_int_equal(options(data[i], 2), ERR_ABSENT);
		assert_one_line("LoadOptions: 4 bytes that are not text, ignored");
	}
	/* The twin: what begins as text is not ignored. */
	assert_int_equal(options(L"t\xe9", 2), ERR_INVALID);
}

static void text_that_continues_as_something_else_is_refused(void **state)
{
	(void)state;
	assert_int_equal(options(L"quiet\nhandoff", 13), ERR_INVALID);
	assert_one_line("LoadOptions: character 6 is not printable ASCII, or one too many (15 are allowed)");
	assert_int_equal(options(L"a\x7f", 2), ERR_INVALID);
	assert_int_equal(options(L"caf\xe9", 4), ERR_INVALID);
	assert_one_line("LoadOptions: character 4 ");
	assert_int_equal(options(L"0123456789ABCDEF", 16), ERR_INVALID); /* one too many */
	assert_one_line("LoadOptions: character 16 ");
	assert_int_equal(line[sizeof(line) - 1], '#');
}

static void without_load_options_there_is_no_line(void **state)
{
	(void)state;
	assert_int_equal(options(L"", 1), ERR_ABSENT);
	assert_int_equal(fake_log_lines(), 0);
	begin(state);
	assert_int_equal(firmware_options(line, sizeof(line)), ERR_ABSENT);
	fake_efi.loaded.LoadOptions = (void *)L"quiet";
	assert_int_equal(firmware_options(line, sizeof(line)), ERR_ABSENT); /* of no size */
	assert_int_equal(fake_log_lines(), 0);
	/* And without the protocol that has them. */
	fake_efi.loaded.ImageBase = NULL;
	fake_efi.loaded.LoadOptionsSize = 10;
	firmware_init(&fake_efi, &fake_efi.system);
	assert_int_equal(firmware_options(line, sizeof(line)), ERR_ABSENT);
	assert_int_equal(fake_log_lines(), 0);
}

static enum status arguments(const CHAR16 *first, const CHAR16 *second)
{
	CHAR16 *argv[] = { (CHAR16 *)L"handoff.efi", (CHAR16 *)first, (CHAR16 *)second };
	EFI_SHELL_PARAMETERS_PROTOCOL shell = { .Argv = argv, .Argc = !first ? 1 : !second ? 2 : 3 };
	enum status s;

	begin(NULL);
	fake_efi.shell = &shell;
	fake_efi.loaded.LoadOptions = (void *)L"handoff.efi"; /* which the shell sets, too, with the name */
	fake_efi.loaded.LoadOptionsSize = 24;
	s = firmware_options(line, sizeof(line));
	fake_efi.shell = NULL;
	return s;
}

static void a_shells_arguments_count_without_the_programs_name(void **state)
{
	(void)state;
	assert_int_equal(arguments(L"quiet", NULL), OK);
	assert_string_equal(line, "quiet");
	assert_int_equal(arguments(L"a=b", L"c"), OK);
	assert_string_equal(line, "a=b c");
	assert_int_equal(arguments(L"01234567", L"9ABCDE"), OK);
	assert_string_equal(line, "01234567 9ABCDE");
	assert_int_equal(arguments(NULL, NULL), ERR_ABSENT);
	assert_int_equal(fake_log_lines(), 0);
}

static void a_shells_arguments_that_are_no_text_are_refused(void **state)
{
	(void)state;
	assert_int_equal(arguments(L"\xe9", NULL), ERR_INVALID);
	assert_one_line("shell arguments: character 1 ");
	assert_int_equal(arguments(L"a", L"b\n"), ERR_INVALID);
	assert_one_line("shell arguments: character 4 ");
	assert_int_equal(arguments(L"01234567", L"9ABCDEF"), ERR_INVALID);
	assert_one_line("shell arguments: character 16 ");
	assert_int_equal(arguments(L"0123456789ABCDE", L""), ERR_INVALID); /* no room for the space */
	assert_one_line("shell arguments: character 16 ");
}

/* --- sections, tables, memory --- */

static void a_section_is_found_by_its_name(void **state)
{
	const void *data = NULL;
	u64 size = 0;

	(void)state;
	fake_efi_section(".linux2", "two", 3);
	fake_efi_section(".linux", "one", 4);
	fake_efi_section(".cmdline", "quiet", 5); /* 8 characters: its name is not terminated */
	assert_int_equal(firmware_section(".linux", &data, &size), OK);
	assert_int_equal(size, 4);
	assert_string_equal(data, "one");
	assert_int_equal(firmware_section(".cmdline", &data, &size), OK);
	assert_int_equal(size, 5);
	assert_memory_equal(data, "quiet", 5);
	assert_int_equal(firmware_section(".linu", &data, &size), ERR_ABSENT);
	assert_int_equal(firmware_section(".initrd", &data, &size), ERR_ABSENT);
	assert_int_equal(fake_log_lines(), 0);
	/* The twin: without the protocol that has the image's address. */
	fake_efi.loaded.ImageBase = NULL;
	firmware_init(&fake_efi, &fake_efi.system);
	assert_int_equal(firmware_section(".linux", &data, &size), ERR_ABSENT);
}

/* UEFI 2.10, 4.6: ACPI 1.0 has a GUID of its own, and its RSDP no XSDT. */
static void the_rsdp_is_that_of_acpi_2(void **state)
{
	EFI_CONFIGURATION_TABLE tables[] = {
		{ ACPI_TABLE_GUID, (void *)0x1000 },
		{ SMBIOS_TABLE_GUID, (void *)0x2000 },
		{ ACPI_20_TABLE_GUID, (void *)0x3000 },
	};

	(void)state;
	fake_efi.system.ConfigurationTable = tables;
	fake_efi.system.NumberOfTableEntries = 3;
	assert_int_equal(firmware_rsdp(), 0x3000);
	fake_efi.system.NumberOfTableEntries = 2;
	assert_int_equal(firmware_rsdp(), 0);
}

/* --- the display --- */

static EFI_GRAPHICS_OUTPUT_MODE_INFORMATION info[2];
static EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE mode[2] = { { .Info = &info[0] }, { .Info = &info[1] } };

static void has_display(EFI_GRAPHICS_PIXEL_FORMAT format, u64 base)
{
	unsigned int i = fake_efi.displays++;

	info[i] = (EFI_GRAPHICS_OUTPUT_MODE_INFORMATION){
		.HorizontalResolution = 800,
		.VerticalResolution = 600,
		.PixelFormat = format,
		.PixelsPerScanLine = 832, /* more than are seen */
	};
	mode[i].FrameBufferBase = base;
	fake_efi.display[i].Mode = &mode[i];
}

static struct screen_info passed_screen(void)
{
	struct screen_info screen;

	memset(&screen, 0xee, sizeof(screen));
	firmware_screen(&screen);
	return screen;
}

static void a_display_is_described_as_linux_reads_it(void **state)
{
	const struct screen_info want = {
		.orig_video_isVGA = 0x70,
		.lfb_width = 800,
		.lfb_height = 600,
		.lfb_depth = 32,
		.lfb_base = 0x80000000,
		.ext_lfb_base = 0xe0,
		.lfb_size = 832 * 4 * 600,
		.lfb_linelength = 832 * 4,
		.red_size = 8,
		.red_pos = 16,
		.green_size = 8,
		.green_pos = 8,
		.blue_size = 8,
		.blue_pos = 0,
		.rsvd_size = 8,
		.rsvd_pos = 24,
		.pages = 1,
		.capabilities = 3,
	};
	struct screen_info screen;

	(void)state;
	has_display(PixelBlueGreenRedReserved8BitPerColor, 0xe080000000);
	screen = passed_screen();
	assert_memory_equal(&screen, &want, sizeof(want));
	/* The twin: the other order. */
	info[0].PixelFormat = PixelRedGreenBlueReserved8BitPerColor;
	screen = passed_screen();
	assert_int_equal(screen.red_pos, 0);
	assert_int_equal(screen.blue_pos, 16);
	assert_int_equal(screen.rsvd_size, 8);
	assert_int_equal(screen.rsvd_pos, 24);
}

static void masks_give_the_position_of_each_colour(void **state)
{
	struct screen_info screen;

	(void)state;
	has_display(PixelBitMask, 0xc0000000);
	info[0].PixelInformation = (EFI_PIXEL_BITMASK){ 0xf800, 0x07e0, 0x001f, 0 };
	screen = passed_screen();
	assert_int_equal(screen.lfb_depth, 16);
	assert_int_equal(screen.lfb_linelength, 832 * 2);
	assert_int_equal(screen.red_size, 5);
	assert_int_equal(screen.red_pos, 11);
	assert_int_equal(screen.green_size, 6);
	assert_int_equal(screen.green_pos, 5);
	assert_int_equal(screen.blue_size, 5);
	assert_int_equal(screen.blue_pos, 0);
	assert_int_equal(screen.rsvd_size, 0);
	assert_int_equal(screen.rsvd_pos, 0);
	info[0].PixelInformation.ReservedMask = 0x80000000; /* one bit, the highest */
	screen = passed_screen();
	assert_int_equal(screen.rsvd_size, 1);
	assert_int_equal(screen.rsvd_pos, 31);
}

static void a_display_that_firmware_alone_draws_on_is_none(void **state)
{
	static const struct screen_info none;
	struct screen_info screen;

	(void)state;
	screen = passed_screen();
	assert_memory_equal(&screen, &none, sizeof(none));
	has_display(PixelBltOnly, 0);
	screen = passed_screen();
	assert_memory_equal(&screen, &none, sizeof(none));
	/* The twin: a second display, with a frame buffer. */
	has_display(PixelBlueGreenRedReserved8BitPerColor, 0xd0000000);
	screen = passed_screen();
	assert_int_equal(screen.orig_video_isVGA, 0x70);
	assert_int_equal(screen.lfb_base, 0xd0000000);
}

static void of_two_displays_the_first_is_passed_on(void **state)
{
	(void)state;
	has_display(PixelBlueGreenRedReserved8BitPerColor, 0xc0000000);
	has_display(PixelBlueGreenRedReserved8BitPerColor, 0xd0000000);
	assert_int_equal(passed_screen().lfb_base, 0xc0000000);
	/* The twin: it was removed meanwhile. */
	fake_efi.display_gone = &fake_efi.display[0];
	assert_int_equal(passed_screen().lfb_base, 0xd0000000);
}

static void memory_is_where_it_was_preferred_or_aligned(void **state)
{
	u64 base, at = 0;

	(void)state;
	base = (u64)(uintptr_t)fake_efi.arena;
	assert_int_equal(firmware_allocate("it", true, 5000, 2 * MIB, base + 2 * MIB, &at), OK);
	assert_int_equal(at, base + 2 * MIB);
	assert_int_equal(fake_efi.pages, 2);
	assert_int_equal(fake_efi.type, EfiLoaderCode);
	/* Taken now: anywhere, with room to align it. */
	assert_int_equal(firmware_allocate("it", false, 5000, 2 * MIB, base + 2 * MIB, &at), OK);
	assert_int_equal(at, base + 4 * MIB);
	assert_int_equal(fake_efi.pages, 2 + 511);
	assert_int_equal(fake_efi.type, EfiLoaderData);
	/* 0 prefers nothing; a page is aligned already. */
	fake_efi.calls[0] = '\0';
	assert_int_equal(firmware_allocate("it", false, 4096, PAGE_SIZE, 0, &at), OK);
	assert_string_equal(fake_efi.calls, "AllocatePages ");
	assert_int_equal(fake_efi.pages, 1);
	assert_int_equal(fake_log_lines(), 0);
}

static void memory_that_is_not_there_is_reported(void **state)
{
	u64 at = 1;

	(void)state;
	assert_int_equal(firmware_allocate("the image", true, FAKE_EFI_ARENA, PAGE_SIZE, 0, &at), ERR_RANGE);
	assert_one_line("no memory for the image: 8192 KiB");
	assert_int_equal(at, 1);
	/* The twin: all but the page that is taken. */
	assert_int_equal(firmware_allocate("the image", true, FAKE_EFI_ARENA - PAGE_SIZE, PAGE_SIZE, 0, &at), OK);
}

/* --- the memory map --- */

/* UEFI 2.10, table 7.10, says what is free after ExitBootServices; ACPI 6.4, 15.3, the types. */
static void every_memory_type_becomes_its_own(void **state)
{
	static const struct {
		u32 efi;
		u32 want;
		u32 without_wb;
	} rows[] = {
		{ EfiReservedMemoryType, E820_RESERVED, E820_RESERVED },
		{ EfiLoaderCode, E820_RAM, E820_RESERVED },
		{ EfiLoaderData, E820_RAM, E820_RESERVED },
		{ EfiBootServicesCode, E820_RAM, E820_RESERVED },
		{ EfiBootServicesData, E820_RAM, E820_RESERVED },
		{ EfiRuntimeServicesCode, E820_RESERVED, E820_RESERVED },
		{ EfiRuntimeServicesData, E820_RESERVED, E820_RESERVED },
		{ EfiConventionalMemory, E820_RAM, E820_RESERVED },
		{ EfiUnusableMemory, E820_UNUSABLE, E820_UNUSABLE },
		{ EfiACPIReclaimMemory, E820_ACPI, E820_ACPI },
		{ EfiACPIMemoryNVS, E820_NVS, E820_NVS },
		{ EfiMemoryMappedIO, E820_RESERVED, E820_RESERVED },
		{ EfiMemoryMappedIOPortSpace, E820_RESERVED, E820_RESERVED },
		{ EfiPalCode, E820_RESERVED, E820_RESERVED },
		{ 14, E820_PMEM, E820_PMEM },		      /* EfiPersistentMemory, UEFI 2.5 */
		{ 15, E820_RESERVED, E820_RESERVED },	      /* EfiUnacceptedMemoryType, UEFI 2.9 */
		{ 0x70000000, E820_RESERVED, E820_RESERVED }, /* an OEM's */
		{ 0x80000000, E820_RESERVED, E820_RESERVED }, /* an OS loader's */
	};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		bool wb = i % 2;
		u32 want = wb ? rows[i / 2].want : rows[i / 2].without_wb;

		begin(state);
		fake_efi_memory(rows[i / 2].efi, 0x100000, 16, EFI_MEMORY_UC | (wb ? WB : 0));
		assert_int_equal(firmware_exit(e820, E820_MAX, &entries), OK);
		assert_int_equal(entries, 1);
		assert_int_equal(e820[0].addr, 0x100000);
		assert_int_equal(e820[0].size, 0x10000);
		if (e820[0].type != want)
			fail_msg("memory type 0x%x, WB %d: e820 type %u, %u wanted", rows[i / 2].efi, wb, e820[0].type, want);
	}
}

static void neighbours_of_one_type_are_one_range(void **state)
{
	static const u32 types[] = { EfiLoaderCode, EfiBootServicesData, EfiConventionalMemory, EfiRuntimeServicesData };

	(void)state;
	for (u64 i = 0; i < 4; i++)
		fake_efi_memory(types[i], 0x100000 + 0x1000 * i, 1, WB);
	fake_efi_memory(EfiLoaderData, 0x104000, 1, WB);
	fake_efi_memory(EfiLoaderData, 0x106000, 1, WB); /* after a gap */
	assert_int_equal(firmware_exit(e820, E820_MAX, &entries), OK);
	assert_int_equal(entries, 4);
	assert_int_equal(e820[0].size, 0x3000);
	assert_int_equal(e820[0].type, E820_RAM);
	assert_int_equal(e820[1].addr, 0x103000);
	assert_int_equal(e820[1].type, E820_RESERVED);
	assert_int_equal(e820[2].addr, 0x104000);
	assert_int_equal(e820[2].size, 0x1000);
	assert_int_equal(e820[3].addr, 0x106000);
}

/* A firmware that has run for long has thousands of pieces, which are few ranges. */
static void pieces_are_not_too_many_when_they_are_neighbours(void **state)
{
	(void)state;
	for (u64 i = 0; i < 2000; i++)
		fake_efi_memory(i % 2 ? EfiBootServicesData : EfiConventionalMemory, i * PAGE_SIZE, 1, WB);
	assert_int_equal(firmware_exit(e820, E820_MAX, &entries), OK);
	assert_int_equal(entries, 1);
	assert_int_equal(e820[0].size, 2000 * PAGE_SIZE);
	/* The twin: as many that are not. */
	begin(state);
	for (u64 i = 0; i < 2000; i++)
		fake_efi_memory(i % 2 ? EfiRuntimeServicesData : EfiConventionalMemory, i * PAGE_SIZE, 1, WB);
	assert_int_equal(firmware_exit(e820, E820_MAX, &entries), ERR_RANGE);
	assert_one_line("the firmware's memory map has more than 1024 ranges");
	assert_null(strstr(fake_efi.calls, "ExitBootServices"));
}

/* --- the end of boot services --- */

#define BEFORE "GetMemoryMap AllocatePool "
#define TRY    "GetMemoryMap ExitBootServices "

static void ram(void)
{
	fake_efi_memory(EfiConventionalMemory, 0x100000, 16, WB);
}

static void boot_services_end_with_the_key_of_the_last_map(void **state)
{
	(void)state;
	ram();
	fake_x86.irq_on = true; /* as firmware has it */
	assert_int_equal(firmware_exit(e820, E820_MAX, &entries), OK);
	assert_string_equal(fake_efi.calls, BEFORE TRY);
	assert_false(fake_x86.irq_on);
	assert_int_equal(fake_log_lines(), 0);
}

static void takes_a_page(void)
{
	u64 n = --fake_efi.map[0].NumberOfPages;

	fake_efi_memory(EfiRuntimeServicesData, 0x100000 + n * PAGE_SIZE, 1, WB);
}

static void a_stale_key_is_tried_again_with_the_new_map(void **state)
{
	(void)state;
	ram();
	fake_efi.stale = 2;
	fake_efi.changes = takes_a_page;
	assert_int_equal(firmware_exit(e820, E820_MAX, &entries), OK);
	assert_string_equal(fake_efi.calls, BEFORE TRY TRY TRY);
	assert_int_equal(fake_log_lines(), 0);
	/* What the handler has taken is not RAM. */
	assert_int_equal(entries, 2);
	assert_int_equal(e820[0].size, 14 * PAGE_SIZE);
	assert_int_equal(e820[1].type, E820_RESERVED);
}

static void a_firmware_that_never_exits_is_tried_a_bounded_number_of_times(void **state)
{
	char calls[sizeof(fake_efi.calls)] = BEFORE;

	for (int i = 0; i < 16; i++)
		strcat(calls, TRY);
	ram();
	fake_efi.stale = 1000;
	fake_efi.changes = takes_a_page;
	fake_efi.map[0].NumberOfPages = 1000;
	assert_int_equal(firmware_exit(e820, E820_MAX, &entries), ERR_STATE);
	assert_string_equal(fake_efi.calls, calls);
	assert_one_line("ExitBootServices: status 0x8000000000000002");
	/* The twin: at the last try it does. */
	begin(state);
	ram();
	fake_efi.stale = 15;
	assert_int_equal(firmware_exit(e820, E820_MAX, &entries), OK);
	assert_string_equal(fake_efi.calls, calls);
}

/* UEFI 2.10, 7.4.6: after the first try, nothing but GetMemoryMap and ExitBootServices. Its console is part of it. */
static void firmwares_console_is_not_used_after_the_first_try(void **state)
{
	(void)state;
	ram();
	firmware_write("before\n", 7);
	assert_string_equal(fake_efi.text, "before\r\n");
	assert_string_equal(uart, "");
	fake_efi.stale = 1000;
	assert_int_equal(firmware_exit(e820, E820_MAX, &entries), ERR_STATE);
	firmware_write("after\n", 6);
	assert_string_equal(fake_efi.text, "before\r\n");
	assert_string_equal(uart, "after\r\n");
}

static void a_map_that_does_not_fit_any_more_leaves_no_firmware_to_return_to(void **state)
{
	ram();
	fake_efi.stale = 1;
	fake_efi.changes = takes_a_page;
	assert_int_equal(firmware_exit(e820, 1, &entries), ERR_STATE);
	assert_string_equal(fake_efi.calls, BEFORE TRY "GetMemoryMap ");
	assert_one_line("memory map: more than 1 ranges for the next kernel");
	/* The twin: it never did, and firmware is still there. */
	begin(state);
	ram();
	takes_a_page();
	assert_int_equal(firmware_exit(e820, 1, &entries), ERR_RANGE);
	assert_string_equal(fake_efi.calls, BEFORE "GetMemoryMap ");
	assert_int_equal(fake_log_lines(), 1);
	firmware_write("here\n", 5);
	assert_string_equal(fake_efi.text, "here\r\n");
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(the_watchdog_is_switched_off),
		T(load_options_are_the_command_line),
		T(load_options_that_do_not_begin_as_text_are_ignored_with_a_line),
		T(text_that_continues_as_something_else_is_refused),
		T(without_load_options_there_is_no_line),
		T(a_shells_arguments_count_without_the_programs_name),
		T(a_shells_arguments_that_are_no_text_are_refused),
		T(a_section_is_found_by_its_name),
		T(the_rsdp_is_that_of_acpi_2),
		T(a_display_is_described_as_linux_reads_it),
		T(masks_give_the_position_of_each_colour),
		T(a_display_that_firmware_alone_draws_on_is_none),
		T(of_two_displays_the_first_is_passed_on),
		T(memory_is_where_it_was_preferred_or_aligned),
		T(memory_that_is_not_there_is_reported),
		T(every_memory_type_becomes_its_own),
		T(neighbours_of_one_type_are_one_range),
		T(pieces_are_not_too_many_when_they_are_neighbours),
		T(boot_services_end_with_the_key_of_the_last_map),
		T(a_stale_key_is_tried_again_with_the_new_map),
		T(a_firmware_that_never_exits_is_tried_a_bounded_number_of_times),
		T(firmwares_console_is_not_used_after_the_first_try),
		T(a_map_that_does_not_fit_any_more_leaves_no_firmware_to_return_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
