/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: image_check and image_version read no byte outside a file, whatever it holds; what is accepted is inside the file and fits
 * the memory that it requests; boot_params hold what was requested. Could be false: setup_sects, syssize, init_size, kernel_version
 * and the header's own length are the file's, and each moves a pointer or a length. Provoked: any header in a file of any size,
 * malloc'ed to the byte. The input: la57 (1 byte), size of the file (4), what the version is cut to (1), the request (48), then the
 * file from its setup header on, zeros around.
 */
#include "boot/image.h"
#include "tests/fuzz/fuzz.h"

#define SIZE_MAX_FILE (160 * KIB) /* setup_sects 255 and an entry after it */

static void check_accepted(const struct image *image, const u8 *file, u64 size)
{
	REQUIRE((const u8 *)image->header == file + SETUP_HEADER_OFFSET);
	REQUIRE(image->load > file && image->load + image->load_size == file + size);
	REQUIRE(image->load_size > SETUP_ENTRY64);
	REQUIRE(image->memory_size >= image->load_size && image->memory_size % PAGE_SIZE == 0);
	REQUIRE(image->alignment >= PAGE_SIZE && !(image->alignment & (image->alignment - 1)));
}

/* A version that is cut is the beginning of one that is not. */
static void check_version(const struct image *image, size_t max)
{
	char *cut = malloc(max), whole[64];

	REQUIRE(cut);
	image_version(image, cut, max);
	image_version(image, whole, sizeof(whole));
	REQUIRE(strnlen(cut, max) < max);
	REQUIRE(!strncmp(whole, cut, MIN(strlen(cut), sizeof(whole) - 1)));
	REQUIRE(image->ours == !strncmp(whole, "pci-handoff ", 12));
	free(cut);
}

static void check_params(const struct image *image, const struct boot_request *request)
{
	struct boot_params *params = malloc(sizeof(*params));

	REQUIRE(params);
	image_fill_params(image, request, params);
	REQUIRE(params->hdr.code32_start == (u32)request->load_address);
	REQUIRE(boot_cmd_line(params) == request->cmdline);
	REQUIRE(boot_ramdisk_image(params) == request->ramdisk && boot_ramdisk_size(params) == request->ramdisk_size);
	REQUIRE(params->hdr.setup_data == request->setup_data && params->acpi_rsdp_addr == request->rsdp);
	REQUIRE(!memcmp(params, request->screen, sizeof(*request->screen)));
	REQUIRE(params->e820_entries == request->e820_entries);
	REQUIRE(!memcmp(params->e820_table, request->e820, request->e820_entries * sizeof(*request->e820)));
	REQUIRE(!params->sentinel && params->hdr.type_of_loader == LOADER_TYPE_UNDEFINED);
	free(params);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct e820_entry e820[E820_MAX];
	struct input in = { data, size };
	bool la57 = input_take(&in, 1) & 1;
	u64 file_size = input_take(&in, 4) % SIZE_MAX_FILE;
	size_t cut = input_take(&in, 1) + 1;
	struct screen_info screen;
	struct boot_request request = { .screen = &screen, .e820 = e820 };
	struct image image;
	u8 *file = calloc(1, file_size);
	enum status s;

	REQUIRE(file || !file_size);
	request.load_address = input_take(&in, 8);
	request.cmdline = input_take(&in, 8);
	request.ramdisk = input_take(&in, 8);
	request.ramdisk_size = input_take(&in, 8);
	request.setup_data = input_take(&in, 8);
	request.rsdp = input_take(&in, 7);
	request.e820_entries = (unsigned int)input_take(&in, 1) % (E820_MAX + 1);
	memset(&screen, 0x5a, sizeof(screen));
	memset(e820, 0xa5, sizeof(e820));
	if (file_size > SETUP_HEADER_OFFSET)
		memcpy(file + SETUP_HEADER_OFFSET, in.at, MIN(in.left, file_size - SETUP_HEADER_OFFSET));

	fuzz_log_start();
	s = image_check(&image, "fuzz", file, file_size, la57);
	REQUIRE(s == OK ? fuzz_log_lines() == 0 : s == ERR_INVALID && fuzz_log_lines() == 1);
	if (s == OK) {
		check_accepted(&image, file, file_size);
		check_version(&image, cut);
		check_params(&image, &request);
	}
	free(file);
	return 0;
}
