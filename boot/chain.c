/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/chain.h"

#include "boot/cpio.h"
#include "lib/format.h"
#include "lib/string.h"

#define SUMS "SHA256SUMS"

/* Nothing is placed below: legacy memory is there, and the 2 MiB page at 0 is to fault. */
#define LOWEST (2 * MIB)

static struct chain_region region(const char *name, const void *source, u64 size)
{
	struct chain_region r = { .name = name, .source = source, .size = size, .memory = ALIGN_UP(size, PAGE_SIZE) };

	sha256(source, size, r.digest);
	return r;
}

/* Finds a file and checks it against the archive's own list of digests, which coreutils' `sha256sum -c` reads as well. */
static enum status find_checked(const struct chain_env *env, const char *path, const char *name, struct chain_region *out)
{
	struct cpio_file file, sums;
	char want[SHA256_HEX_SIZE];
	enum status s;

	s = cpio_find(env->initrd, env->initrd_size, path, &file);
	if (s != OK)
		return s;
	s = cpio_find(env->initrd, env->initrd_size, SUMS, &sums);
	if (s == ERR_INVALID)
		return s;
	if (s != OK || !sha256_listed((const char *)sums.data, sums.size, path, want)) {
		log_line("initrd: " SUMS " has no line for %s", path);
		return ERR_INVALID;
	}
	*out = region(name, file.data, file.size);
	if (strcmp(want, out->digest)) {
		log_line("initrd: %s refused: SHA-256 is %s, " SUMS " says %s", path, out->digest, want);
		return ERR_INVALID;
	}
	return OK;
}

/*
 * Takes memory for a region: at or above the preferred address if there is room. Our images run at any other address, too; a
 * foreign kernel that is placed below moves itself up there, over whatever is in its way (boot.rst, init_size).
 */
static enum status take(struct chain *chain, const struct chain_env *env, struct chain_region region, u64 preferred, u64 align)
{
	struct memmap *map = env->memmap;
	enum status s;

	s = memmap_take(map, region.memory, align, preferred > LOWEST ? preferred : LOWEST, UINT64_MAX, MEM_USED, &region.address);
	if (s == ERR_RANGE && chain->image.ours)
		s = memmap_take(map, region.memory, align, LOWEST, UINT64_MAX, MEM_USED, &region.address);
	if (s != OK) {
		log_line("image %s refused: no free memory for its %s, %lu KiB", chain->name, region.name, region.memory / KIB);
		return s;
	}
	chain->region[chain->regions++] = region;
	return env->map(region.address, region.memory);
}

/* The command line and the initrd: an image of this project gets ours, a foreign one has its own. */
static enum status set_cmdline_initrd(struct chain *chain, const char *rest, const struct chain_env *env,
				      struct boot_request *request)
{
	struct chain_region initrd;
	char path[80];
	enum status s;

	if (chain->image.ours) {
		request->ramdisk = (u64)(uintptr_t)env->initrd;
		request->ramdisk_size = env->initrd_size;
		s = options_replace(env->cmdline, "next", rest, chain->cmdline, sizeof(chain->cmdline));
		if (s != OK)
			return s;
	} else {
		format(path, sizeof(path), "%s/initrd", chain->name);
		s = find_checked(env, path, "initrd", &initrd);
		if (s == OK && initrd.size) { /* an empty one is none */
			s = take(chain, env, initrd, LOWEST, PAGE_SIZE);
			request->ramdisk = chain->region[chain->regions - 1].address;
			request->ramdisk_size = initrd.size;
		}
		if (s != OK && s != ERR_ABSENT)
			return s;
		if (!str_copy(chain->cmdline, sizeof(chain->cmdline), options_foreign(env->cmdline))) {
			log_line("command line for %s: more than %lu characters", chain->name, sizeof(chain->cmdline) - 1);
			return ERR_RANGE;
		}
	}
	if (strlen(chain->cmdline) > chain->image.cmdline_size) {
		log_line("command line for %s: %lu characters, %u are allowed", chain->name, strlen(chain->cmdline),
			 chain->image.cmdline_size);
		return ERR_RANGE;
	}
	s = take(chain, env, region("command line", chain->cmdline, strlen(chain->cmdline) + 1), LOWEST, PAGE_SIZE);
	request->cmdline = s == OK ? chain->region[chain->regions - 1].address : 0;
	return s;
}

/* An image that is missing further down the list is reported now, not by the next kernel. */
static enum status check_rest(const char *rest, const struct chain_env *env)
{
	char name[OPTIONS_ITEM_MAX + 1], path[OPTIONS_ITEM_MAX + 8];
	struct cpio_file file;

	while (options_next(&rest, name)) {
		enum status s;

		format(path, sizeof(path), "%s/image", name);
		s = cpio_find(env->initrd, env->initrd_size, path, &file);
		if (s == ERR_ABSENT)
			log_line("initrd: no %s", path);
		if (s != OK)
			return s;
	}
	return OK;
}

static enum status prepare(struct chain *chain, const char *rest, const struct chain_env *env)
{
	struct boot_request request = {
		.rsdp = env->rsdp,
		.screen = env->screen,
		.setup_data = env->setup_data,
		.e820 = chain->e820,
	};
	struct chain_region image, params;
	char path[80];
	enum status s;

	format(path, sizeof(path), "%s/image", chain->name);
	s = find_checked(env, path, "image", &image);
	if (s == ERR_ABSENT)
		log_line("initrd: no %s", path);
	if (s != OK)
		return s;
	s = check_rest(rest, env);
	if (s != OK)
		return s;
	s = image_check(&chain->image, chain->name, image.source, image.size, env->la57);
	if (s != OK)
		return s;

	image.skip = image.size - chain->image.load_size;
	image.size = chain->image.load_size;
	image.memory = chain->image.memory_size;
	s = take(chain, env, image, chain->image.preferred, chain->image.alignment);
	if (s != OK)
		return s;
	chain->load_address = request.load_address = chain->region[0].address;
	s = set_cmdline_initrd(chain, rest, env, &request);
	if (s != OK)
		return s;
	/* Last, because the memory map in it must include all the others; its own page is free RAM to the next kernel. */
	s = memmap_to_e820(env->memmap, chain->e820, E820_MAX, &request.e820_entries);
	if (s != OK)
		return s;
	image_fill_params(&chain->image, &request, &chain->params_source);
	params = region("boot_params", &chain->params_source, sizeof(chain->params_source));
	s = take(chain, env, params, LOWEST, PAGE_SIZE);
	chain->params = (const void *)(uintptr_t)chain->region[chain->regions - 1].address;
	return s;
}

enum status chain_prepare(struct chain *chain, const char *name, const char *rest, const struct chain_env *env)
{
	enum status s;

	chain->regions = 0;
	chain->before = *env->memmap;
	if (!str_copy(chain->name, sizeof(chain->name), name)) {
		log_line("image %s refused: its name has more than %lu characters", chain->name, sizeof(chain->name) - 1);
		return ERR_INVALID;
	}
	s = prepare(chain, rest, env);
	if (s != OK)
		*env->memmap = chain->before;
	return s;
}

void chain_place(const struct chain *chain)
{
	for (unsigned int i = 0; i < chain->regions; i++) {
		const struct chain_region *r = &chain->region[i];

		memcpy((void *)(uintptr_t)r->address, (const u8 *)r->source + r->skip, r->size);
	}
}

enum status chain_verify(const struct chain *chain)
{
	for (unsigned int i = 0; i < chain->regions; i++) {
		const struct chain_region *r = &chain->region[i];
		struct sha256_state state;
		char have[SHA256_HEX_SIZE];

		sha256_init(&state);
		sha256_update(&state, r->source, r->skip);
		sha256_update(&state, (const void *)(uintptr_t)r->address, r->size);
		sha256_final(&state, have);
		if (!strcmp(have, r->digest))
			continue;
		log_line("image %s: %s, placed at 0x%lx: SHA-256 is %s, should be %s", chain->name, r->name, r->address, have,
			 r->digest);
		return ERR_INVALID;
	}
	return OK;
}
