/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: chain_prepare prepares everything that the next image needs and writes nothing of it yet; what it refuses leaves the
 * memory map as it was; chain_place puts every byte in its place, and chain_verify sees a single one that differs. Could be false:
 * regions that overlap, memory that the running kernel still uses, an archive whose image was changed, a name or a line that is too
 * long; each would show only after the point of no return. Provoked: an archive with an image of ours and a foreign one, in host
 * memory; the e820 points at host memory, so that places are real. Failure: a region in the wrong place, a refusal without its
 * line, a changed byte that passes.
 */
#include "boot/chain.h"
#include "tests/unit/build_cpio.h"
#include "tests/unit/build_image.h"
#include "tests/unit/unit.h"

#include <sys/mman.h>

#define RAM_SIZE    (8 * MIB)
#define USED_SIZE   MIB	      /* of it, by the running kernel */
#define PREFERRED   (4 * MIB) /* from its start: where the images prefer to be */
#define FILL	    0xd7      /* what free memory holds before */
#define INITRD_SIZE 5000

static u8 *ram;
static u64 base;
static struct memmap memmap;
static struct cpio_archive archive;
static size_t second_at;
static struct chain_env env;
static const struct screen_info screen = { .orig_video_isVGA = VIDEO_TYPE_EFI, .lfb_width = 1280, .ext_lfb_base = 0xe0 };
static const char *rest;
static struct chain chain;
static char cmdline[256];
static u8 foreign_initrd[INITRD_SIZE];
static enum status map_result;

static int once(void **state)
{
	(void)state;
	ram = mmap(NULL, RAM_SIZE + 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ram == MAP_FAILED)
		return 1;
	base = ((u64)(uintptr_t)ram + 2 * MIB - 1) / (2 * MIB) * (2 * MIB);
	ram = (u8 *)(uintptr_t)base;
	return 0;
}

static enum status map(u64 start, u64 size)
{
	assert_true(start >= base + USED_SIZE && start + size <= base + RAM_SIZE);
	return map_result;
}

/* SHA256SUMS as coreutils writes it. */
static void add_sums(const char *const *paths, const void *const *data, const size_t *sizes, size_t n)
{
	char sums[512], hex[65];
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		coreutils_sha256(data[i], sizes[i], hex);
		at += (size_t)snprintf(sums + at, sizeof(sums) - at, "%s  %s\n", hex, paths[i]);
	}
	cpio_add(&archive, "SHA256SUMS", sums, at);
}

static void build_archive(void)
{
	u8 *ours = build_image("pci-handoff second", base + PREFERRED, 4096);
	u8 *foreign = build_image("6.1.0-linux", base + PREFERRED, 2 * MIB);
	const char *const paths[] = { "second/image", "linux/image", "linux/initrd", "bare/image", "bare/initrd" };
	const void *const data[] = { ours, foreign, foreign_initrd, foreign, foreign_initrd };
	const size_t sizes[] = { IMAGE_SIZE, IMAGE_SIZE, INITRD_SIZE, IMAGE_SIZE, 0 };

	for (size_t i = 0; i < INITRD_SIZE; i++)
		foreign_initrd[i] = (u8)(i * 13 + 1);
	second_at = cpio_add(&archive, paths[0], ours, IMAGE_SIZE);
	cpio_add(&archive, paths[1], foreign, IMAGE_SIZE);
	for (size_t i = 2; i < ARRAY_SIZE(paths); i++)
		cpio_add(&archive, paths[i], data[i], sizes[i]);
	cpio_add(&archive, "unlisted/image", ours, IMAGE_SIZE);
	add_sums(paths, data, sizes, ARRAY_SIZE(paths));
	cpio_end(&archive);
	free(ours);
	free(foreign);
}

static int begin(void **state)
{
	const struct e820_entry e820[] = { { 0, 0xa0000, E820_RAM }, { base, RAM_SIZE, E820_RAM } };

	(void)state;
	fake_log_start();
	map_result = OK;
	rest = "linux,second";
	memset(ram, FILL, RAM_SIZE);
	assert_int_equal(memmap_init(&memmap, e820, 2), OK);
	assert_int_equal(memmap_mark(&memmap, base, USED_SIZE, MEM_USED), OK);
	assert_int_equal(memmap_mark(&memmap, base + 2 * MIB, MIB, E820_DMA), OK);
	build_archive();
	strcpy(cmdline, "quiet handoff.next=second,linux handoff.shutdown=none -- root=/dev/vda ro");
	env = (struct chain_env){ .memmap = &memmap,
				  .map = map,
				  .initrd = archive.bytes,
				  .initrd_size = archive.size,
				  .rsdp = 0xfed1000,
				  .screen = &screen,
				  .setup_data = 0xabc000,
				  .cmdline = cmdline };
	return 0;
}

static int end(void **state)
{
	(void)state;
	cpio_free(&archive);
	return 0;
}

static const struct chain_region *region(const char *name)
{
	for (unsigned int i = 0; i < chain.regions; i++)
		if (!strcmp(chain.region[i].name, name))
			return &chain.region[i];
	fail_msg("no region \"%s\"", name);
	return NULL;
}

static void *at(u64 address)
{
	return (void *)(uintptr_t)address;
}

/* In free RAM above 1 MiB, page-aligned, apart from each other. */
static bool regions_are_sound(const struct chain *c)
{
	for (unsigned int i = 0; i < c->regions; i++) {
		const struct chain_region *r = &c->region[i];

		if (r->address % 4096 || r->size > r->memory || r->address < base + USED_SIZE ||
		    r->address + r->memory > base + RAM_SIZE)
			return false;
		if (r->address < base + 3 * MIB && r->address + r->memory > base + 2 * MIB)
			return false; /* the DMA buffers */
		for (unsigned int j = 0; j < i; j++)
			if (r->address < c->region[j].address + c->region[j].memory &&
			    c->region[j].address < r->address + r->memory)
				return false;
	}
	return true;
}

static bool memory_untouched(void)
{
	for (u64 i = 0; i < RAM_SIZE; i++)
		if (ram[i] != FILL)
			return false;
	return true;
}

static bool same_map(const struct memmap *a, const struct memmap *b)
{
	return a->count == b->count && !memcmp(a->range, b->range, a->count * sizeof(a->range[0]));
}

static void preparing_takes_memory_and_writes_nothing(void **state)
{
	struct chain moved;

	(void)state;
	assert_int_equal(chain_prepare(&chain, "second", "linux", &env), OK);
	assert_int_equal(fake_log_lines(), 0);
	assert_int_equal(chain.regions, 3);
	assert_true(regions_are_sound(&chain));
	assert_true(memory_untouched());
	assert_int_equal(chain.load_address, base + PREFERRED);
	assert_int_equal(region("image")->memory, 0xa000); /* init_size in pages: what follows the file is the image's as well */
	/* The twins: a region in used memory, in the DMA buffers, on another. */
	moved = chain;
	moved.region[1].address = base;
	assert_false(regions_are_sound(&moved));
	moved.region[1].address = base + 2 * MIB + 4096;
	assert_false(regions_are_sound(&moved));
	moved.region[1].address = moved.region[0].address + 0x9000;
	assert_false(regions_are_sound(&moved));
	ram[RAM_SIZE - 1] ^= 1;
	assert_false(memory_untouched());
}

static void what_was_placed_is_what_the_archive_holds(void **state)
{
	(void)state;
	assert_int_equal(chain_prepare(&chain, "second", "linux", &env), OK);
	chain_place(&chain);
	assert_int_equal(chain_verify(&chain), OK);
	/* Header 110, name 13, padded to 124; then the file, whose setup part is not loaded. */
	assert_memory_equal(at(chain.load_address), archive.bytes + second_at + 124 + IMAGE_SETUP, IMAGE_LOAD);
	assert_int_equal(*(u8 *)at(chain.load_address + IMAGE_LOAD), FILL);
}

static void an_image_of_ours_gets_the_archive_and_the_rest_of_the_list(void **state)
{
	const u8 *p;

	(void)state;
	assert_int_equal(chain_prepare(&chain, "second", "linux", &env), OK);
	chain_place(&chain);
	p = (const u8 *)chain.params;
	/* zero-page.rst and boot.rst */
	assert_int_equal(boot_ramdisk_image(chain.params), (u64)(uintptr_t)archive.bytes);
	assert_int_equal(boot_ramdisk_size(chain.params), archive.size);
	assert_string_equal(at(boot_cmd_line(chain.params)), "quiet handoff.shutdown=none handoff.next=linux -- root=/dev/vda ro");
	assert_int_equal(*(const u64 *)(p + 0x070), 0xfed1000);
	assert_memory_equal(p, &screen, sizeof(screen));
	assert_int_equal(*(const u64 *)(p + 0x250), 0xabc000);
	assert_int_equal(p[0x210], 0xff);
}

static void a_foreign_image_gets_its_own_initrd_and_command_line(void **state)
{
	(void)state;
	assert_int_equal(chain_prepare(&chain, "linux", "", &env), OK);
	assert_int_equal(chain.regions, 4);
	assert_true(regions_are_sound(&chain));
	assert_int_equal(chain.load_address % (2 * MIB), 0);
	chain_place(&chain);
	assert_int_equal(chain_verify(&chain), OK);
	assert_int_equal(boot_ramdisk_image(chain.params), region("initrd")->address);
	assert_int_equal(boot_ramdisk_size(chain.params), INITRD_SIZE);
	assert_memory_equal(at(region("initrd")->address), foreign_initrd, INITRD_SIZE);
	assert_memory_equal(chain.params, &screen, sizeof(screen));
	assert_string_equal(at(boot_cmd_line(chain.params)), "root=/dev/vda ro");
}

/* SHA256SUMS has digests of whole files: the part of an image that is not placed is read at its source. */
static void an_image_is_verified_as_the_file_that_is_listed(void **state)
{
	char hex[65];

	(void)state;
	coreutils_sha256(archive.bytes + second_at + 124, IMAGE_SIZE, hex);
	assert_int_equal(chain_prepare(&chain, "second", "", &env), OK);
	assert_string_equal(region("image")->digest, hex);
	assert_int_equal(region("image")->skip, IMAGE_SETUP);
	chain_place(&chain);
	assert_int_equal(chain_verify(&chain), OK);
	archive.bytes[second_at + 124] ^= 1;
	assert_int_equal(chain_verify(&chain), ERR_INVALID);
	assert_one_line("image second: image, placed at 0x");
}

/* The next kernel may use what this one uses, except where devices may still write. */
static void the_next_kernel_gets_the_dma_buffers_in_its_map(void **state)
{
	const struct e820_entry want[] = { { 0, 0xa0000, E820_RAM },
					   { base, 2 * MIB, E820_RAM },
					   { base + 2 * MIB, MIB, E820_DMA },
					   { base + 3 * MIB, 5 * MIB, E820_RAM } };

	(void)state;
	assert_int_equal(chain_prepare(&chain, "second", "", &env), OK);
	chain_place(&chain);
	assert_int_equal(chain.params->e820_entries, 4);
	assert_memory_equal(chain.params->e820_table, want, sizeof(want));
}

static void a_preferred_place_that_is_taken_is_not_insisted_upon(void **state)
{
	(void)state;
	assert_int_equal(memmap_mark(&memmap, base + 3 * MIB, 5 * MIB, E820_RESERVED), OK);
	assert_int_equal(chain_prepare(&chain, "second", "", &env), OK);
	assert_true(regions_are_sound(&chain));
	assert_uint_in_range(chain.load_address, base + USED_SIZE, base + 2 * MIB - 0xa000);
}

static void an_empty_initrd_is_none(void **state)
{
	(void)state;
	assert_int_equal(chain_prepare(&chain, "bare", "", &env), OK);
	assert_int_equal(chain.regions, 3);
	for (unsigned int i = 0; i < chain.regions; i++)
		assert_string_not_equal(chain.region[i].name, "initrd");
	assert_int_equal(boot_ramdisk_image(&chain.params_source), 0);
	assert_int_equal(boot_ramdisk_size(&chain.params_source), 0);
}

/* --- refusals --- */

/* Refused with this status and one line with this text, and memory map and memory are as before. */
static bool refused(const char *name, enum status want, const char *why)
{
	struct memmap before = memmap;
	enum status s;

	fake_log_start();
	s = chain_prepare(&chain, name, rest, &env);
	return s == want && fake_log_lines() == 1 && strstr(fake_log_line(0), why) && same_map(&memmap, &before) &&
	       memory_untouched();
}

/* The twin of all that follow: what is valid is not refused. */
static void a_valid_image_is_not_refused(void **state)
{
	(void)state;
	assert_false(refused("second", ERR_INVALID, ""));
	assert_int_equal(fake_log_lines(), 0);
	assert_false(refused("linux", ERR_INVALID, ""));
	assert_int_equal(fake_log_lines(), 0);
}

/* It would move itself up to there, over what was placed in between. The twin: an image of ours is placed there. */
static void a_foreign_image_is_not_placed_below_its_preferred_place(void **state)
{
	(void)state;
	memmap_retype(&memmap, E820_DMA, E820_RAM); /* where there would be room, as it aligns itself */
	assert_int_equal(memmap_mark(&memmap, base + 3 * MIB, 5 * MIB, E820_RESERVED), OK);
	assert_true(refused("linux", ERR_RANGE, "image linux refused: no free memory for its image"));
	assert_int_equal(chain_prepare(&chain, "second", "", &env), OK);
}

static void an_image_that_was_changed_is_refused_with_both_digests(void **state)
{
	char hex[65], expected[200];

	(void)state;
	archive.bytes[second_at + 124 + IMAGE_SIZE - 1] ^= 1; /* the last byte: the header is whole */
	coreutils_sha256(archive.bytes + second_at + 124, IMAGE_SIZE, hex);
	snprintf(expected, sizeof(expected), "second/image refused: SHA-256 is %s", hex);
	assert_true(refused("second", ERR_INVALID, expected));
	archive.bytes[second_at + 124 + IMAGE_SIZE - 1] ^= 1;
	coreutils_sha256(archive.bytes + second_at + 124, IMAGE_SIZE, hex);
	assert_true(fake_log_has(hex));
}

static void an_initrd_that_was_changed_is_refused(void **state)
{
	u8 *p = memmem(archive.bytes, archive.size, foreign_initrd, INITRD_SIZE);

	(void)state;
	assert_non_null(p);
	p[0] ^= 0x80;
	assert_true(refused("linux", ERR_INVALID, "linux/initrd refused: SHA-256"));
}

static void an_image_without_a_digest_is_refused(void **state)
{
	(void)state;
	assert_true(refused("unlisted", ERR_INVALID, "SHA256SUMS has no line for unlisted/image"));
}

static void an_image_that_is_not_there_is_refused(void **state)
{
	(void)state;
	assert_true(refused("third", ERR_ABSENT, "initrd: no third/image"));
	env.initrd_size = second_at + 60;
	assert_true(refused("second", ERR_INVALID, "cpio archive"));
}

/* An image that is missing further down the list is reported now. */
static void a_list_that_names_a_missing_image_is_refused(void **state)
{
	static const char *const lists[] = { "third", "linux,third", "third,linux", "second,second,third" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		rest = lists[i];
		assert_true(refused("second", ERR_ABSENT, "initrd: no third/image"));
	}
	rest = "second,second,linux";
	assert_false(refused("second", ERR_ABSENT, ""));
}

static void a_name_that_is_too_long_is_refused(void **state)
{
	char name[65];

	(void)state;
	memset(name, 'n', 64);
	name[64] = '\0';
	assert_true(refused(name, ERR_INVALID, "more than 63 characters"));
	name[63] = '\0';
	assert_true(refused(name, ERR_ABSENT, "initrd: no nnn"));
}

static void an_image_that_cannot_be_entered_is_refused(void **state)
{
	u8 *image = build_image("pci-handoff bad", 0, 4096);
	const char *const path = "bad/image";
	const void *const data = image;
	const size_t size = IMAGE_SIZE;

	(void)state;
	image_set(image, 0x236, 2, 0x03);
	cpio_free(&archive);
	cpio_add(&archive, path, image, IMAGE_SIZE);
	add_sums(&path, &data, &size, 1);
	cpio_end(&archive);
	env.initrd = archive.bytes;
	env.initrd_size = archive.size;
	rest = "";
	env.la57 = true;
	assert_true(refused("bad", ERR_INVALID, "image bad refused: xloadflags lacks XLF_5LEVEL"));
	env.la57 = false;
	assert_false(refused("bad", ERR_INVALID, ""));
	free(image);
}

static void without_memory_for_it_an_image_is_refused(void **state)
{
	(void)state;
	/* Nothing at all; then room for the image and nothing else. */
	assert_int_equal(memmap_mark(&memmap, base, RAM_SIZE, E820_RESERVED), OK);
	assert_true(refused("second", ERR_RANGE, "no free memory for its image, 40 KiB"));
	end(state);
	begin(state);
	assert_int_equal(memmap_mark(&memmap, base, 3 * MIB, E820_RESERVED), OK);
	assert_int_equal(memmap_mark(&memmap, base + 3 * MIB + 0xa000, 5 * MIB - 0xa000, E820_RESERVED), OK);
	assert_true(refused("second", ERR_RANGE, "no free memory for its command line"));
}

/* An image that is missing further down the list is reported now. */
static void a_later_image_that_is_missing_is_refused(void **state)
{
	struct memmap before = memmap;

	(void)state;
	assert_int_equal(chain_prepare(&chain, "second", "linux,third", &env), ERR_ABSENT);
	assert_one_line("initrd: no third/image");
	assert_memory_equal(&memmap, &before, sizeof(memmap));
}

static void memory_below_1_mib_is_not_used(void **state)
{
	(void)state;
	/* The 640 KiB that the e820 has there would be enough. */
	assert_int_equal(memmap_mark(&memmap, base, RAM_SIZE, E820_RESERVED), OK);
	assert_int_equal(memmap_total(&memmap, E820_RAM), 0xa0000);
	assert_true(refused("second", ERR_RANGE, "no free memory"));
}

static void memory_that_cannot_be_mapped_is_given_back(void **state)
{
	struct memmap before = memmap;

	(void)state;
	map_result = ERR_RANGE; /* the real one logs why */
	assert_int_equal(chain_prepare(&chain, "second", "", &env), ERR_RANGE);
	assert_true(same_map(&memmap, &before));
}

static void a_command_line_longer_than_the_image_takes_is_refused(void **state)
{
	const char *next = " handoff.next=linux,second";
	char line[512] = { 0 };

	(void)state;
	memset(line, 'x', 256 - strlen(next)); /* the image's cmdline_size is 255 */
	env.cmdline = line;
	assert_true(refused("second", ERR_RANGE, "256 characters, 255 are allowed"));
	line[strlen(line) - 1] = '\0';
	assert_false(refused("second", ERR_RANGE, ""));
}

static void a_foreign_command_line_that_is_one_too_long_is_refused(void **state)
{
	char line[512] = "a -- ";

	(void)state;
	memset(line + 5, 'x', 256);
	env.cmdline = line;
	assert_true(refused("linux", ERR_RANGE, "256 characters, 255 are allowed"));
	line[5 + 255] = '\0';
	assert_false(refused("linux", ERR_RANGE, ""));
}

/* What coreutils makes of a region: what was skipped, then what was placed. */
static void digest_in_place(const struct chain_region *r, char hex[65])
{
	u8 *bytes = malloc(r->skip + r->size);

	memcpy(bytes, r->source, r->skip);
	memcpy(bytes + r->skip, at(r->address), r->size);
	coreutils_sha256(bytes, r->skip + r->size, hex);
	free(bytes);
}

static void what_differs_after_placing_is_named_with_both_digests(void **state)
{
	static const char *const images[] = { "second", "linux" };

	for (size_t n = 0; n < ARRAY_SIZE(images); n++) {
		end(state);
		begin(state);
		assert_int_equal(chain_prepare(&chain, images[n], "", &env), OK);
		chain_place(&chain);
		for (unsigned int i = 0; i < chain.regions; i++) {
			const struct chain_region *r = &chain.region[i];
			u8 *last = at(r->address + r->size - 1);
			char hex[65], want[65];

			fake_log_start();
			digest_in_place(r, want);
			*last ^= 1;
			digest_in_place(r, hex);
			assert_int_equal(chain_verify(&chain), ERR_INVALID);
			assert_one_line(r->name);
			assert_true(fake_log_has(hex));
			assert_true(fake_log_has(want));
			*last ^= 1;
			assert_int_equal(chain_verify(&chain), OK);
		}
	}
}

static void what_was_not_placed_does_not_verify(void **state)
{
	(void)state;
	assert_int_equal(chain_prepare(&chain, "second", "", &env), OK);
	assert_int_equal(chain_verify(&chain), ERR_INVALID);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(preparing_takes_memory_and_writes_nothing),
		T(what_was_placed_is_what_the_archive_holds),
		T(an_image_of_ours_gets_the_archive_and_the_rest_of_the_list),
		T(a_foreign_image_gets_its_own_initrd_and_command_line),
		T(an_empty_initrd_is_none),
		T(a_foreign_image_is_not_placed_below_its_preferred_place),
		T(an_image_is_verified_as_the_file_that_is_listed),
		T(the_next_kernel_gets_the_dma_buffers_in_its_map),
		T(a_preferred_place_that_is_taken_is_not_insisted_upon),
		T(a_valid_image_is_not_refused),
		T(an_image_that_was_changed_is_refused_with_both_digests),
		T(an_initrd_that_was_changed_is_refused),
		T(an_image_without_a_digest_is_refused),
		T(an_image_that_is_not_there_is_refused),
		T(a_list_that_names_a_missing_image_is_refused),
		T(a_name_that_is_too_long_is_refused),
		T(an_image_that_cannot_be_entered_is_refused),
		T(without_memory_for_it_an_image_is_refused),
		T(a_later_image_that_is_missing_is_refused),
		T(memory_below_1_mib_is_not_used),
		T(memory_that_cannot_be_mapped_is_given_back),
		T(a_command_line_longer_than_the_image_takes_is_refused),
		T(a_foreign_command_line_that_is_one_too_long_is_refused),
		T(what_differs_after_placing_is_named_with_both_digests),
		T(what_was_not_placed_does_not_verify),
	};

	return cmocka_run_group_tests(tests, once, NULL);
}
