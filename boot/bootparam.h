/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_BOOTPARAM_H
#define BOOT_BOOTPARAM_H

#include "lib/status.h"
#include "lib/types.h"

/*
 * The Linux/x86 boot protocol (Linux Documentation/x86/boot.rst and zero-page.rst), the parts that a 64-bit handoff uses. Names are
 * the protocol's. A host test asserts every offset here against <asm/bootparam.h>.
 *
 * Every hop in this project is this protocol: firmware's loader enters first by it, first enters second or Linux by it, and Linux's
 * kexec enters first or second by it.
 */

#define SETUP_MAGIC	      0x53726448 /* "HdrS" */
#define SETUP_BOOT_FLAG	      0xaa55
#define SETUP_HEADER_OFFSET   0x1f1  /* of struct setup_header, in the file and in boot_params */
#define SETUP_HEADER_BASE     0x202  /* the header ends at this plus the byte at 0x201 */
#define SETUP_ENTRY64	      0x200  /* from the load address */
#define SETUP_PROTOCOL_64     0x020c /* the first with xloadflags */
#define SETUP_SECTOR	      512
#define SETUP_SECTS_DEFAULT   4 /* what setup_sects 0 means */
#define LOADFLAGS_LOADED_HIGH 0x01
#define XLF_KERNEL_64	      0x0001 /* has the 64-bit entry */
#define XLF_ABOVE_4G	      0x0002 /* may be placed above 4 GiB, with all that it is given */
#define XLF_5LEVEL	      0x0020 /* may be entered with 5-level paging on */
#define LOADER_TYPE_KEXEC     0xd    /* in the high four bits; the low ones are a version */
#define LOADER_TYPE_UNDEFINED 0xff

struct setup_header {
	u8 setup_sects; /* 512-byte sectors after the first that precede the part to be loaded */
	u16 root_flags;
	u32 syssize;
	u16 ram_size;
	u16 vid_mode;
	u16 root_dev;
	u16 boot_flag;
	u16 jump; /* the high byte is the header's length, counted from SETUP_HEADER_BASE */
	u32 header;
	u16 version;
	u32 realmode_swtch;
	u16 start_sys_seg;
	u16 kernel_version; /* offset of a string, less 0x200 */
	u8 type_of_loader;
	u8 loadflags;
	u16 setup_move_size;
	u32 code32_start;
	u32 ramdisk_image;
	u32 ramdisk_size;
	u32 bootsect_kludge;
	u16 heap_end_ptr;
	u8 ext_loader_ver;
	u8 ext_loader_type;
	u32 cmd_line_ptr;
	u32 initrd_addr_max;
	u32 kernel_alignment;
	u8 relocatable_kernel;
	u8 min_alignment;
	u16 xloadflags;
	u32 cmdline_size; /* characters, without the terminator */
	u32 hardware_subarch;
	u64 hardware_subarch_data;
	u32 payload_offset;
	u32 payload_length;
	u64 setup_data;
	u64 pref_address;
	u32 init_size; /* memory that the image needs from its load address on */
	u32 handover_offset;
} __attribute__((packed));

enum e820_type {
	E820_RAM = 1,
	E820_RESERVED = 2,
	E820_ACPI = 3,
	E820_NVS = 4,
	E820_UNUSABLE = 5,
	E820_PMEM = 7,
	/*
	 * Ours, in the range that ACPI 6.4 leaves to OEMs (15, address range types): the outgoing kernel's DMA buffers. Data of a
	 * request that was already submitted may land there until the device has been reset. A kernel that does not know the type
	 * must treat it as reserved, as Linux does; an image of this project makes it RAM again once it has reset the devices.
	 */
	E820_DMA = 0xf0504349,
};

struct e820_entry {
	u64 addr;
	u64 size;
	u32 type;
} __attribute__((packed));

#define VIDEO_TYPE_EFI		     0x70
#define VIDEO_CAPABILITY_SKIP_QUIRKS 0x1 /* the mode is as described: it is no VESA BIOS's */
#define VIDEO_CAPABILITY_64BIT_BASE  0x2

/* Of <linux/screen_info.h>, what describes a frame buffer: the console of a kernel that has no driver for the display. */
struct screen_info {
	u8 unused_00[0x0f];
	u8 orig_video_isVGA; /* from our loader VIDEO_TYPE_EFI, or 0 for no display; another loader's is passed on unchanged */
	u16 unused_10;
	u16 lfb_width; /* pixels */
	u16 lfb_height;
	u16 lfb_depth; /* bits a pixel */
	u32 lfb_base;
	u32 lfb_size;
	u32 unused_20;
	u16 lfb_linelength; /* bytes */
	u8 red_size;	    /* bits; at red_pos of a pixel */
	u8 red_pos;
	u8 green_size;
	u8 green_pos;
	u8 blue_size;
	u8 blue_pos;
	u8 rsvd_size;
	u8 rsvd_pos;
	u32 unused_2e;
	u16 pages;
	u16 unused_34;
	u32 capabilities;
	u32 ext_lfb_base; /* the upper half of lfb_base, by VIDEO_CAPABILITY_64BIT_BASE */
	u16 unused_3e;
} __attribute__((packed));

#define E820_MAX 128 /* of boot_params; Linux takes more by setup_data, which no machine here needs */

struct boot_params {
	struct screen_info screen_info;
	u8 unused_040[0x30];
	u64 acpi_rsdp_addr;
	u8 unused_078[0x48];
	u32 ext_ramdisk_image; /* the upper halves of the header's 32-bit fields */
	u32 ext_ramdisk_size;
	u32 ext_cmd_line_ptr;
	u8 unused_0cc[0xf4];
	u8 efi_info[0x20]; /* zeros: firmware's runtime services are not passed on (docs/caveats.md) */
	u8 unused_1e0[0x08];
	u8 e820_entries;
	u8 unused_1e9[0x06];
	u8 sentinel; /* must be 0: another value tells Linux that the loader did not clear this page */
	u8 unused_1f0;
	struct setup_header hdr;
	u8 unused_268[0x2d0 - SETUP_HEADER_OFFSET - sizeof(struct setup_header)];
	struct e820_entry e820_table[E820_MAX];
	u8 unused_cd0[0x330];
} __attribute__((packed));

_Static_assert(sizeof(struct boot_params) == PAGE_SIZE, "boot_params is one page");
_Static_assert(sizeof(struct screen_info) == 0x40, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x070, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, ext_ramdisk_image) == 0x0c0, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, efi_info) == 0x1c0, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, e820_entries) == 0x1e8, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, sentinel) == 0x1ef, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, hdr) == SETUP_HEADER_OFFSET, "zero-page.rst");
_Static_assert(offsetof(struct boot_params, hdr.header) == 0x202, "boot.rst");
_Static_assert(offsetof(struct boot_params, hdr.xloadflags) == 0x236, "boot.rst");
_Static_assert(offsetof(struct boot_params, hdr.init_size) == 0x260, "boot.rst");
_Static_assert(offsetof(struct boot_params, e820_table) == 0x2d0, "zero-page.rst");

/* A node of the list that hdr.setup_data begins. Linux skips types that it does not know. */
struct setup_data {
	u64 next; /* physical address, 0 at the end */
	u32 type;
	u32 len; /* of what follows */
};
#define SETUP_HANDOFF 0x50434948 /* ours: what one image of this project passes to the next (images/kernel.c) */

/*
 * The first node of a type, len bytes long; NULL where there is none. map makes memory readable, or fails where there is none: the
 * list's addresses are not trusted, and a list that loops is cut off.
 */
typedef enum status (*boot_map)(u64 start, u64 size);
const struct setup_data *boot_find_setup_data(const struct boot_params *bp, u32 type, u32 len, boot_map map);

/* Fields that the header splits in two. */
static inline u64 boot_ramdisk_image(const struct boot_params *bp)
{
	return (u64)bp->ext_ramdisk_image << 32 | bp->hdr.ramdisk_image;
}

static inline u64 boot_ramdisk_size(const struct boot_params *bp)
{
	return (u64)bp->ext_ramdisk_size << 32 | bp->hdr.ramdisk_size;
}

static inline u64 boot_cmd_line(const struct boot_params *bp)
{
	return (u64)bp->ext_cmd_line_ptr << 32 | bp->hdr.cmd_line_ptr;
}

#endif
