/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_IMAGE_H
#define BOOT_IMAGE_H

#include "boot/bootparam.h"
#include "lib/status.h"

/*
 * An image of the 64-bit boot protocol: what a loader reads from it, and what it passes to it. The UEFI loader and the chain-load
 * use the same functions; where memory comes from is theirs.
 */
struct image {
	const char *name;		   /* for messages; kept by reference */
	const u8 *file;			   /* the whole file; borrowed */
	const struct setup_header *header; /* inside the file */
	const u8 *load;			   /* the part that is loaded */
	u64 load_size;			   /* bytes of it in the file */
	u64 memory_size;		   /* what it occupies when it runs: init_size, at least load_size */
	u64 alignment;			   /* of its load address */
	u64 preferred;			   /* load address, if free */
	u32 cmdline_size;		   /* longest command line, without the terminator */
	bool ours;			   /* its version string says pci-handoff */
};

/*
 * Checks everything that can be known from the file alone: size against header, magic, protocol, 64-bit entry, sizes. la57: whether
 * it will be entered with 5-level paging. ERR_INVALID after one line that names the image and what is wrong with it.
 */
enum status image_check(struct image *image, const char *name, const void *file, u64 size, bool la57);

/* The version string that the header points to, "" if there is none; at most max characters of it, terminated, into buf. */
void image_version(const struct image *image, char *buf, size_t max);

/* What the next kernel is passed. Addresses are physical. */
struct boot_request {
	u64 load_address;
	u64 cmdline;
	u64 ramdisk;
	u64 ramdisk_size;
	u64 rsdp; /* 0: none known */
	u64 setup_data;
	const struct screen_info *screen; /* all zeros where there is none */
	const struct e820_entry *e820;
	unsigned int e820_entries; /* at most E820_MAX */
};

/* Fills a page: zero, the image's own header, then the request. */
void image_fill_params(const struct image *image, const struct boot_request *request, struct boot_params *params);

/*
 * Enters an image: IF=0, flat segments CS 0x10 and DS/ES/SS 0x18, RSI = params, the other registers zero. The current page tables
 * must map the image, params and the command line at their physical addresses. The GDT that it loads is the caller's memory; the
 * next image must bring its own before that is reused.
 */
_Noreturn void image_enter(u64 entry, const struct boot_params *params);

#endif
