/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_FAKE_EFI_H
#define TESTS_UNIT_FAKE_EFI_H

#include "lib/types.h"

#include <efi.h>
/* Decorations of its prototypes, and other things in fake_x86.h. */
#undef IN
#undef OUT

/*
 * UEFI, as far as the loader uses it. A service that is not modelled is a NULL pointer. As in firmware, each allocation changes
 * the key of the memory map, and a descriptor is longer than its structure says.
 */
#define FAKE_EFI_ARENA (8 * MIB) /* what AllocatePages has to give */
#define FAKE_EFI_MAP   2100

extern struct fake_efi {
	EFI_SYSTEM_TABLE system;
	EFI_LOADED_IMAGE loaded;
	EFI_SHELL_PARAMETERS_PROTOCOL *shell; /* NULL: we were not started by a shell */

	EFI_MEMORY_DESCRIPTOR map[FAKE_EFI_MAP];
	unsigned int map_count;
	unsigned int stale;    /* so many times an event handler changes the map before ExitBootServices compares keys */
	void (*changes)(void); /* what it changes; NULL: only the key */

	EFI_GRAPHICS_OUTPUT_PROTOCOL display[2]; /* each is its own handle */
	unsigned int displays;
	const void *display_gone; /* of these, one that was removed when it is opened */

	u8 *arena; /* 2 MiB aligned; its first page is taken */
	EFI_MEMORY_TYPE type;
	u64 pages; /* of the last AllocatePages */

	UINTN watchdog;	  /* seconds; 0: off */
	char calls[1024]; /* boot services, in order, each followed by a space */
	char text[4096];  /* written to ConOut */
} fake_efi;

/* Five minutes on the watchdog, no memory map, a loaded image without sections. */
void fake_efi_start(void);

void fake_efi_memory(u32 type, u64 start, u64 pages, u64 attribute);

/* Adds a section to the loaded image, after the others; a name of 8 characters has no terminator. */
void fake_efi_section(const char *name, const void *data, u32 size);

#endif
