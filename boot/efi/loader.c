/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handoff.efi: carries the whole chain in its own PE sections, as a unified kernel image does (.linux, .initrd, .cmdline), places
 * the first image, and enters it by the 64-bit boot protocol with the final memory map.
 */
#include "boot/efi/firmware.h"
#include "boot/image.h"
#include "lib/log.h"
#include "lib/qemu.h"
#include "lib/string.h"
#include "lib/x86.h"

#define CMDLINE_SIZE 2048

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);

/* LoadOptions and shell arguments replace the command line that is built in. */
static enum status find_cmdline(char *cmdline)
{
	const void *built_in;
	u64 size;

	enum status s = firmware_options(cmdline, CMDLINE_SIZE);

	if (s != ERR_ABSENT)
		return s;
	cmdline[0] = '\0';
	if (firmware_section(".cmdline", &built_in, &size) != OK)
		return OK;
	if (size >= CMDLINE_SIZE) {
		log_line("command line in .cmdline: %lu characters, %u are allowed", size, CMDLINE_SIZE - 1);
		return ERR_RANGE;
	}
	memcpy(cmdline, built_in, size);
	cmdline[size] = '\0';
	return OK;
}

/* Does not return on success. */
static enum status load(void)
{
	static struct e820_entry e820[E820_MAX];
	struct screen_info screen;
	struct boot_request request = { .rsdp = firmware_rsdp(), .screen = &screen, .e820 = e820 };
	const void *file, *initrd;
	struct image image;
	u64 size, params;
	enum status s;

	if (firmware_section(".linux", &file, &size) != OK) {
		log_line("this file has no .linux section: nothing to load");
		return ERR_ABSENT;
	}
	s = image_check(&image, "first", file, size, x86_la57());
	if (s != OK)
		return s;
	/* The initrd stays where it is: our own sections are RAM to the next kernel, and boot_params marks this part as taken. */
	if (firmware_section(".initrd", &initrd, &request.ramdisk_size) == OK)
		request.ramdisk = (u64)(uintptr_t)initrd;
	s = firmware_allocate("the image", true, image.memory_size, image.alignment, image.preferred, &request.load_address);
	if (s == OK)
		s = firmware_allocate("boot_params", false, sizeof(struct boot_params), PAGE_SIZE, 0, &params);
	if (s == OK)
		s = firmware_allocate("the command line", false, CMDLINE_SIZE, PAGE_SIZE, 0, &request.cmdline);
	if (s == OK)
		s = find_cmdline((char *)(uintptr_t)request.cmdline);
	if (s != OK)
		return s;
	memcpy((void *)(uintptr_t)request.load_address, image.load, image.load_size);
	firmware_screen(&screen);
	log_line("image first@0x%lx, %lu KiB, initrd %lu KiB, command line \"%s\"", request.load_address, image.load_size / KIB,
		 request.ramdisk_size / KIB, (const char *)(uintptr_t)request.cmdline);

	s = firmware_exit(e820, E820_MAX, &request.e820_entries);
	if (s != OK)
		return s;
	image_fill_params(&image, &request, (struct boot_params *)(uintptr_t)params);
	image_enter(request.load_address + SETUP_ENTRY64, (const struct boot_params *)(uintptr_t)params);
}

/* crt0 calls this with the System V ABI, not with EFIAPI. */
EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system)
{
	enum status s;

	firmware_init(handle, system);
	log_init("loader", firmware_write, NULL);
	s = load();
	log_line("not started: %s", status_text(s));
	log_verdict("error loader");
	if (qemu_present())
		x86_outl(QEMU_EXIT_PORT, QEMU_EXIT_ERROR);
	if (s == ERR_STATE)
		x86_halt(); /* there is no firmware to return to */
	return EFI_LOAD_ERROR;
}
