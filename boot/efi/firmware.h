/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_EFI_FIRMWARE_H
#define BOOT_EFI_FIRMWARE_H

#include "boot/bootparam.h"
#include "lib/status.h"

#include <efi.h>

/*
 * What the loader uses of UEFI. Boot services are called directly: GNU_EFI_USE_MS_ABI makes the function pointers of <efi.h> carry
 * their calling convention, and uefi_call_wrapper would hide argument types. EFI_STATUS stays inside this folder.
 */

void firmware_init(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);

/* A log_sink: the firmware's console and QEMU's debugcon, and after firmware_exit the images' console. */
void firmware_write(const char *text, size_t n);

/* The loader's own file in memory: a section of it, such as ".linux". ERR_ABSENT, silently, where it has none. */
enum status firmware_section(const char *name, const void **data, u64 *size);

/*
 * The command line that we were started with, in ASCII: the shell's arguments without the program's name, else LoadOptions.
 * ERR_ABSENT when there was none, or when LoadOptions do not begin as text: boot entries may carry anything. ERR_INVALID, after one
 * line, when the text has a character that is not printable ASCII, or does not fit.
 */
enum status firmware_options(char *buf, size_t size);

u64 firmware_rsdp(void); /* 0 where the configuration table has none */

/* The first display that has a frame buffer; all zeros where none has. It stays as it is when boot services end. */
void firmware_screen(struct screen_info *screen);

/*
 * Memory that survives ExitBootServices: at `preferred` if that is free and not 0, else anywhere. code: it will be executed, which
 * some firmware allows in EfiLoaderCode only. ERR_RANGE after one line.
 */
enum status firmware_allocate(const char *what, bool code, u64 size, u64 align, u64 preferred, u64 *address);

/*
 * Ends boot services and returns the memory map: at most max entries. ERR_STATE after one line when the firmware refuses: it may
 * have ended part of itself, so its services must not be called again, and the loader cannot return to it.
 */
enum status firmware_exit(struct e820_entry *e820, unsigned int max, unsigned int *count);

#endif
