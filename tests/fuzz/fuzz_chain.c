/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whatever archive, names and command line hold, chain_prepare prepares regions in free memory, or refuses with one line and
 * the memory map as before; it writes nothing there, chain_place writes these regions and nothing else, and chain_verify sees a
 * byte that differs. Could be false: sizes, addresses and alignment come from the image, the names from the user. Provoked: an
 * archive around any image, with digests that are right, wrong or missing, or any bytes as an archive; memory at a fixed place,
 * poisoned but for what may be written. The input: flags (2 bytes), the name, the rest of the list and the command line (each up to
 * a zero byte), then the archive; or the size of the image's file (2) and the file from its setup header on, zeros around.
 */
#include "boot/chain.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/build_cpio.h"

#include <sanitizer/asan_interface.h>

#define RAM_SIZE       (512 * KIB)
#define USED_SIZE      (64 * KIB) /* of it, by the running kernel */
#define IMAGE_SIZE_MAX (8 * KIB)

enum {
	LA57 = 1,
	RAW = 2,	   /* the input is the archive */
	UNLISTED = 4,	   /* SHA256SUMS lacks the images */
	WRONG = 8,	   /* it has other digests */
	UNSUMMED = 16,	   /* there is none */
	INITRD = 32,	   /* linux has one */
	PIECES = 64,	   /* memory is in pieces */
	MANY_PIECES = 128, /* more than the next kernel's e820 table has room for */
	UNMAPPABLE = 256,
};

static unsigned int flags;
static struct chain chain;

/* As boot/paging.c, which maps nothing that is nothing. */
static enum status map(u64 start, u64 size)
{
	REQUIRE(start >= FUZZ_ARENA + USED_SIZE && start + size <= FUZZ_ARENA + RAM_SIZE);
	if (size && !(flags & UNMAPPABLE))
		return OK;
	log_line("it is not to be mapped");
	return ERR_RANGE;
}

/* Every other page is in use. */
static void fragment(struct memmap *memmap, u64 start, u64 end)
{
	for (u64 at = start; at < end; at += 2 * PAGE_SIZE)
		REQUIRE(memmap_mark(memmap, at, PAGE_SIZE, E820_DMA) == OK);
}

static void make_memmap(struct memmap *memmap)
{
	const struct e820_entry e820[] = { { 0, 0xa0000, E820_RAM }, { FUZZ_ARENA, RAM_SIZE, E820_RAM } };

	REQUIRE(memmap_init(memmap, e820, 2) == OK);
	REQUIRE(memmap_mark(memmap, FUZZ_ARENA, USED_SIZE, MEM_USED) == OK);
	if (flags & PIECES)
		fragment(memmap, FUZZ_ARENA + 2 * USED_SIZE, FUZZ_ARENA + 4 * USED_SIZE);
	if (flags & MANY_PIECES)
		fragment(memmap, 0, 0xa0000);
}

static void add_file(struct cpio_archive *archive, char *sums, const char *path, const u8 *data, size_t size)
{
	char hex[SHA256_HEX_SIZE];

	cpio_add(archive, path, data, size);
	sha256(data, size, hex);
	if (flags & WRONG)
		hex[0] = hex[0] == '0' ? '1' : '0';
	if (!(flags & UNLISTED))
		sprintf(sums + strlen(sums), "%s  %s\n", hex, path);
}

static void make_archive(struct cpio_archive *archive, struct input *in)
{
	size_t size = input_take(in, 2) % IMAGE_SIZE_MAX;
	u8 *image = calloc(1, size);
	char sums[512] = "";

	REQUIRE(image || !size);
	if (size > SETUP_HEADER_OFFSET && in->left)
		memcpy(image + SETUP_HEADER_OFFSET, in->at, MIN(in->left, size - SETUP_HEADER_OFFSET));
	add_file(archive, sums, "second/image", image, size);
	add_file(archive, sums, "linux/image", image, size);
	if (flags & INITRD)
		add_file(archive, sums, "linux/initrd", image, size);
	if (!(flags & UNSUMMED))
		cpio_add(archive, "SHA256SUMS", sums, strlen(sums));
	cpio_end(archive);
	free(image);
}

/* Regions are in free memory, apart from each other. From here on what is to be copied there may be written. */
static void check_regions(const struct memmap *before)
{
	for (unsigned int i = 0; i < chain.regions; i++) {
		const struct chain_region *r = &chain.region[i];
		bool free_before = false;

		REQUIRE(r->size <= r->memory && r->address % PAGE_SIZE == 0);
		for (unsigned int j = 0; j < before->count; j++)
			free_before |= before->range[j].type == E820_RAM && r->address >= before->range[j].start &&
				       r->address + r->memory <= before->range[j].end;
		REQUIRE(free_before);
		for (unsigned int j = 0; j < i; j++)
			REQUIRE(r->address >= chain.region[j].address + chain.region[j].memory ||
				r->address + r->memory <= chain.region[j].address);
		ASAN_UNPOISON_MEMORY_REGION((void *)r->address, r->size);
	}
	REQUIRE(chain.load_address == chain.region[0].address && chain.load_address % chain.image.alignment == 0);
}

static void check_placed(const struct chain_env *env)
{
	u8 *last;

	chain_place(&chain);
	REQUIRE(chain_verify(&chain) == OK);
	REQUIRE(boot_cmd_line(chain.params) && !strcmp((const char *)boot_cmd_line(chain.params), chain.cmdline));
	REQUIRE(strlen(chain.cmdline) <= chain.image.cmdline_size);
	if (chain.image.ours)
		REQUIRE(boot_ramdisk_image(chain.params) == (u64)(uintptr_t)env->initrd);
	for (unsigned int i = 0; i < chain.regions; i++) {
		if (!chain.region[i].size)
			continue;
		last = (u8 *)chain.region[i].address + chain.region[i].size - 1;
		*last ^= 1;
		REQUIRE(chain_verify(&chain) == ERR_INVALID);
		*last ^= 1;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct memmap memmap, before;
	static u8 *ram;
	struct input in = { data, size };
	struct cpio_archive archive = { NULL, 0 };
	char *name, *rest, *cmdline;
	static const struct screen_info screen;
	struct chain_env env;
	enum status s;

	if (!ram)
		ram = fuzz_arena(RAM_SIZE);
	ASAN_POISON_MEMORY_REGION(ram, RAM_SIZE);
	flags = (unsigned int)input_take(&in, 2);
	name = input_text(&in, 255);
	rest = input_text(&in, OPTIONS_VALUE_MAX);
	cmdline = input_text(&in, 4096);
	fuzz_log_start();
	make_memmap(&memmap);
	if (options_check_list("next", rest) != OK)
		rest[0] = '\0';
	if (flags & RAW) {
		archive.size = in.left;
		archive.bytes = input_rest(&in);
	} else {
		make_archive(&archive, &in);
	}
	env = (struct chain_env){ .memmap = &memmap,
				  .map = map,
				  .screen = &screen,
				  .la57 = flags & LA57,
				  .initrd = archive.bytes,
				  .initrd_size = archive.size,
				  .cmdline = cmdline };
	before = memmap;
	fuzz_log_start();
	s = chain_prepare(&chain, name, rest, &env);
	if (s == OK) {
		REQUIRE(fuzz_log_lines() == 0);
		check_regions(&before);
		check_placed(&env);
	} else {
		REQUIRE(fuzz_log_lines() == 1);
		REQUIRE(memmap.count == before.count &&
			!memcmp(memmap.range, before.range, sizeof(before.range[0]) * before.count));
	}
	cpio_free(&archive);
	free(name);
	free(rest);
	free(cmdline);
	return 0;
}
