/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/image.h"

#include "lib/log.h"
#include "lib/string.h"

#define OUR_VERSION "pci-handoff "

static enum status refuse(const struct image *image, const char *why)
{
	log_line("image %s refused: %s", image->name, why);
	return ERR_INVALID;
}

/* It may be shorter or longer than struct setup_header: its own length field counts. */
static size_t header_size(const struct setup_header *h)
{
	return (size_t)(SETUP_HEADER_BASE + (h->jump >> 8) - SETUP_HEADER_OFFSET);
}

enum status image_check(struct image *image, const char *name, const void *file, u64 size, bool la57)
{
	const u64 header_end = SETUP_HEADER_OFFSET + sizeof(struct setup_header);
	const struct setup_header *h;
	char version[sizeof(OUR_VERSION)];
	u64 setup_size;

	*image = (struct image){ .name = name, .file = file };
	if (size < header_end)
		return refuse(image, "the file ends inside its setup header");
	h = (const void *)((const u8 *)file + SETUP_HEADER_OFFSET);
	if (h->boot_flag != SETUP_BOOT_FLAG)
		return refuse(image, "no 0xaa55 at 0x1fe: not a boot protocol image");
	if (h->header != SETUP_MAGIC)
		return refuse(image, "no \"HdrS\" at 0x202: not a boot protocol image");
	if (h->version < SETUP_PROTOCOL_64) {
		log_line("image %s refused: boot protocol 0x%04x, the 64-bit entry needs 0x%04x or later", name, h->version,
			 SETUP_PROTOCOL_64);
		return ERR_INVALID;
	}
	if (header_size(h) < offsetof(struct setup_header, handover_offset))
		return refuse(image, "its setup header ends before init_size");
	if (!(h->loadflags & LOADFLAGS_LOADED_HIGH))
		return refuse(image, "loadflags lacks LOADED_HIGH");
	if (!(h->xloadflags & XLF_KERNEL_64))
		return refuse(image, "xloadflags lacks XLF_KERNEL_64: it has no 64-bit entry");
	if (!(h->xloadflags & XLF_ABOVE_4G))
		return refuse(image, "xloadflags lacks XLF_CAN_BE_LOADED_ABOVE_4G");
	if (la57 && !(h->xloadflags & XLF_5LEVEL))
		return refuse(image, "xloadflags lacks XLF_5LEVEL and 5-level paging is on");
	if (!h->relocatable_kernel)
		return refuse(image, "it is not relocatable");
	if (!h->kernel_alignment || h->kernel_alignment & (h->kernel_alignment - 1))
		return refuse(image, "kernel_alignment is not a power of two");

	setup_size = (u64)((h->setup_sects ? h->setup_sects : SETUP_SECTS_DEFAULT) + 1) * SETUP_SECTOR;
	if (size < setup_size + SETUP_ENTRY64 + 1)
		return refuse(image, "the file ends before its 64-bit entry");
	/* syssize counts 16-byte paragraphs of the loaded part: the one field by which a truncated file shows. */
	if (size - setup_size < (u64)h->syssize * 16) {
		log_line("image %s refused: truncated, %lu bytes of %lu", name, size, setup_size + (u64)h->syssize * 16);
		return ERR_INVALID;
	}
	if (h->init_size < size - setup_size)
		return refuse(image, "init_size is smaller than what is loaded");

	image->header = h;
	image->load = image->file + setup_size;
	image->load_size = size - setup_size;
	image->memory_size = ALIGN_UP(h->init_size, PAGE_SIZE);
	image->alignment = h->kernel_alignment < PAGE_SIZE ? PAGE_SIZE : h->kernel_alignment;
	image->preferred = h->pref_address;
	image->cmdline_size = h->cmdline_size;
	image_version(image, version, sizeof(version));
	image->ours = !strcmp(version, OUR_VERSION);
	return OK;
}

void image_version(const struct image *image, char *buf, size_t max)
{
	u64 setup_size = (u64)(image->load - image->file);
	u64 at = (u64)image->header->kernel_version + 0x200;
	size_t n = 0;

	/* boot.rst: the offset must lie within the setup sectors. */
	if (image->header->kernel_version)
		for (; n < max - 1 && at + n < setup_size && image->file[at + n]; n++)
			buf[n] = (char)image->file[at + n];
	buf[n] = '\0';
}

void image_fill_params(const struct image *image, const struct boot_request *request, struct boot_params *params)
{
	struct setup_header *h = &params->hdr;
	memset(params, 0, sizeof(*params));
	memcpy(h, image->header, MIN(header_size(image->header), sizeof(*h)));
	h->type_of_loader = LOADER_TYPE_UNDEFINED;
	h->code32_start = (u32)request->load_address;
	h->cmd_line_ptr = (u32)request->cmdline;
	params->ext_cmd_line_ptr = (u32)(request->cmdline >> 32);
	h->ramdisk_image = (u32)request->ramdisk;
	params->ext_ramdisk_image = (u32)(request->ramdisk >> 32);
	h->ramdisk_size = (u32)request->ramdisk_size;
	params->ext_ramdisk_size = (u32)(request->ramdisk_size >> 32);
	h->setup_data = request->setup_data;
	params->screen_info = *request->screen;
	params->acpi_rsdp_addr = request->rsdp;
	params->e820_entries = (u8)request->e820_entries;
	memcpy(params->e820_table, request->e820, request->e820_entries * sizeof(struct e820_entry));
}
