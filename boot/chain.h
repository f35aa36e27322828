/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_CHAIN_H
#define BOOT_CHAIN_H

#include "boot/image.h"
#include "boot/memmap.h"
#include "boot/options.h"
#include "boot/sha256.h"
#include "lib/log.h"

/*
 * The chain-load, in the two halves that the point of no return separates. chain_prepare does all that can fail while the running
 * kernel still has its devices; chain_place and chain_verify run after their shutdown.
 */

/* A region of memory that the next kernel gets: its source, its address, and its digest. */
struct chain_region {
	const char *name;
	const void *source;
	u64 skip;   /* bytes of the source that are not placed: an image's setup part */
	u64 size;   /* bytes that are placed, after those skipped */
	u64 memory; /* bytes taken at address, at least size; what follows the copy is left as it is */
	u64 address;
	char digest[SHA256_HEX_SIZE]; /* of the whole source, before any work is in flight; of a file, the one in SHA256SUMS */
};
#define CHAIN_REGIONS_MAX 4

/* What the running kernel knows and the next one needs. All borrowed. */
struct chain_env {
	struct memmap *memmap;
	enum status (*map)(u64 start, u64 size); /* makes RAM writable at its own address */
	bool la57;
	const u8 *initrd; /* the archive that holds the images */
	u64 initrd_size;
	u64 rsdp;
	const struct screen_info *screen;
	u64 setup_data;
	const char *cmdline; /* of the running kernel */
};

struct chain {
	char name[OPTIONS_ITEM_MAX + 1];
	struct image image;
	struct chain_region region[CHAIN_REGIONS_MAX];
	unsigned int regions;
	u64 load_address;
	const struct boot_params *params; /* where they will be */
	struct boot_params params_source;
	char cmdline[2048]; /* Linux's COMMAND_LINE_SIZE on x86 */
	struct e820_entry e820[E820_MAX];
	struct memmap before; /* restored on failure */
};

/*
 * Finds NAME/image (and NAME/initrd) in the archive, checks them against the archive's SHA256SUMS and by image_check, takes memory
 * for them, and makes boot_params and the command line. rest is what follows in handoff.next: each of these must be in the archive,
 * too. An image of this project gets the archive and the command line with handoff.next=rest; a foreign one gets its own initrd and
 * what follows ` -- `. No device is touched and nothing is written to the memory that was taken. On failure one line says why, and
 * the memory map is as before.
 */
enum status chain_prepare(struct chain *chain, const char *name, const char *rest, const struct chain_env *env);

/* Copies every region into place, except its skipped part. */
void chain_place(const struct chain *chain);

/*
 * Hashes every region where it was placed, together with what was skipped of it. ERR_INVALID after a line that names the region and
 * both digests.
 */
enum status chain_verify(const struct chain *chain);

#endif
