/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/efi/firmware.h"

#include "boot/memmap.h"
#include "lib/console.h"
#include "lib/log.h"
#include "lib/qemu.h"
#include "lib/string.h"
#include "lib/x86.h"

/* PE/COFF (Microsoft, revision 11): 2.1 offset of the signature, 3.3 COFF header after it, 4 section table. */
#define PE_POINTER 0x3c
struct coff {
	u32 signature; /* "PE\0\0" */
	u16 machine;
	u16 sections;
	u32 timestamp;
	u32 symbols;
	u32 symbol_count;
	u16 optional_size; /* of the optional header, between this and the section table */
	u16 characteristics;
};
struct pe_section {
	char name[8]; /* terminated only when shorter */
	u32 size;     /* in memory */
	u32 address;  /* from the image's base */
	u32 rest[6];
};
_Static_assert(sizeof(struct coff) == 24 && sizeof(struct pe_section) == 40, "PE/COFF");

static EFI_SYSTEM_TABLE *st; /* NULL once boot services have ended */
static EFI_BOOT_SERVICES *bs;
static EFI_HANDLE self;
static EFI_LOADED_IMAGE *loaded;
static bool in_qemu;

/* UEFI 2.5; GNU-EFI 3.0 does not have it. */
#define EFI_PERSISTENT_MEMORY_TYPE 14

/* CompareGuid of GNU-EFI 4 returns the opposite of GNU-EFI 3's. */
static bool guid_equal(const EFI_GUID *a, const EFI_GUID *b)
{
	return !memcmp(a, b, sizeof(*a));
}

void firmware_write(const char *text, size_t n)
{
	if (!st) {
		console_write(text, n);
		return;
	}
	if (in_qemu)
		for (size_t i = 0; i < n; i++)
			x86_outb(QEMU_DEBUGCON_PORT, (u8)text[i]);
	for (size_t i = 0; i < n; i++) {
		CHAR16 c[3] = { (u8)text[i] };

		if (text[i] == '\n') {
			c[0] = '\r';
			c[1] = '\n';
		}
		st->ConOut->OutputString(st->ConOut, c);
	}
}

void firmware_init(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system)
{
	EFI_GUID guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;

	st = system;
	bs = system->BootServices;
	self = handle;
	in_qemu = qemu_present();
	bs->SetWatchdogTimer(0, 0, 0, NULL); /* else it resets the machine after five minutes, under another kernel */
	if (EFI_ERROR(bs->HandleProtocol(handle, &guid, (void **)&loaded)))
		loaded = NULL;
}

enum status firmware_section(const char *name, const void **data, u64 *size)
{
	const u8 *base = loaded ? loaded->ImageBase : NULL;
	const struct pe_section *section;
	const struct coff *coff;
	u32 at;

	if (!base)
		return ERR_ABSENT;
	memcpy(&at, base + PE_POINTER, sizeof(at)); /* the firmware has loaded the file: it is well-formed */
	coff = (const void *)(base + at);
	section = (const void *)((const u8 *)(coff + 1) + coff->optional_size);
	for (unsigned int i = 0; i < coff->sections; i++) {
		if (strncmp(section[i].name, name, sizeof(section[i].name)))
			continue;
		*data = base + section[i].address;
		*size = section[i].size;
		return OK;
	}
	return ERR_ABSENT;
}

/* Appends UTF-16 as ASCII, up to a terminator or max characters; false at what is not printable or does not fit. */
static bool append(char *buf, size_t size, size_t *n, const CHAR16 *text, size_t max)
{
	for (size_t i = 0; i < max && text[i]; i++) {
		if (text[i] < ' ' || text[i] > '~' || *n + 1 >= size)
			return false;
		buf[(*n)++] = (char)text[i];
	}
	buf[*n] = '\0';
	return true;
}

static enum status refuse_options(const char *what, size_t at, size_t size)
{
	log_line("%s: character %lu is not printable ASCII, or one too many (%lu are allowed)", what, at + 1, size - 1);
	return ERR_INVALID;
}

enum status firmware_options(char *buf, size_t size)
{
	EFI_GUID guid = EFI_SHELL_PARAMETERS_PROTOCOL_GUID;
	EFI_SHELL_PARAMETERS_PROTOCOL *shell;
	size_t n = 0;

	if (!EFI_ERROR(bs->HandleProtocol(self, &guid, (void **)&shell))) {
		for (UINTN i = 1; i < shell->Argc; i++) {
			static const CHAR16 space[] = { ' ', 0 };

			if ((i > 1 && !append(buf, size, &n, space, 1)) || !append(buf, size, &n, shell->Argv[i], size))
				return refuse_options("shell arguments", n, size);
		}
		return n ? OK : ERR_ABSENT;
	}
	if (!loaded || !loaded->LoadOptions || !loaded->LoadOptionsSize)
		return ERR_ABSENT;
	if (!append(buf, size, &n, loaded->LoadOptions, loaded->LoadOptionsSize / sizeof(CHAR16))) {
		if (n)
			return refuse_options("LoadOptions", n, size);
		log_line("LoadOptions: %u bytes that are not text, ignored", loaded->LoadOptionsSize);
		return ERR_ABSENT;
	}
	return n ? OK : ERR_ABSENT;
}

u64 firmware_rsdp(void)
{
	const EFI_GUID acpi_20 = ACPI_20_TABLE_GUID;

	for (UINTN i = 0; i < st->NumberOfTableEntries; i++)
		if (guid_equal(&st->ConfigurationTable[i].VendorGuid, &acpi_20))
			return (u64)(uintptr_t)st->ConfigurationTable[i].VendorTable;
	return 0;
}

/* The position and width of a colour in a pixel. */
static void place(u32 mask, u8 *size, u8 *pos)
{
	*pos = mask ? (u8)__builtin_ctz(mask) : 0;
	*size = 0;
	for (mask >>= *pos; mask; mask >>= 1)
		(*size)++;
}

/* UEFI 2.10, 12.9. Only modes with a frame buffer that can be written to. */
static bool describe(const EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE *mode, struct screen_info *s)
{
	static const EFI_PIXEL_BITMASK rgb = { 0xff, 0xff00, 0xff0000, 0xff000000 }, bgr = { 0xff0000, 0xff00, 0xff, 0xff000000 };
	const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *info = mode->Info;
	const EFI_PIXEL_BITMASK *mask;

	switch (info->PixelFormat) {
	case PixelRedGreenBlueReserved8BitPerColor:
		mask = &rgb;
		break;
	case PixelBlueGreenRedReserved8BitPerColor:
		mask = &bgr;
		break;
	case PixelBitMask:
		mask = &info->PixelInformation;
		break;
	default: /* PixelBltOnly: firmware draws, as on the GOP of the console splitter */
		return false;
	}
	place(mask->RedMask, &s->red_size, &s->red_pos);
	place(mask->GreenMask, &s->green_size, &s->green_pos);
	place(mask->BlueMask, &s->blue_size, &s->blue_pos);
	place(mask->ReservedMask, &s->rsvd_size, &s->rsvd_pos);
	s->orig_video_isVGA = VIDEO_TYPE_EFI;
	s->lfb_width = (u16)info->HorizontalResolution;
	s->lfb_height = (u16)info->VerticalResolution;
	s->lfb_depth = s->red_size + s->green_size + s->blue_size + s->rsvd_size;
	s->lfb_linelength = (u16)(info->PixelsPerScanLine * s->lfb_depth / 8);
	s->lfb_base = (u32)mode->FrameBufferBase;
	s->ext_lfb_base = (u32)(mode->FrameBufferBase >> 32);
	s->lfb_size = s->lfb_linelength * info->VerticalResolution;
	s->pages = 1;
	s->capabilities = VIDEO_CAPABILITY_SKIP_QUIRKS | VIDEO_CAPABILITY_64BIT_BASE;
	return true;
}

void firmware_screen(struct screen_info *screen)
{
	EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;
	EFI_HANDLE *handle;
	UINTN count;

	memset(screen, 0, sizeof(*screen));
	if (EFI_ERROR(bs->LocateHandleBuffer(ByProtocol, &guid, NULL, &count, &handle)))
		return;
	for (UINTN i = 0; i < count; i++)
		if (!EFI_ERROR(bs->HandleProtocol(handle[i], &guid, (void **)&gop)) && describe(gop->Mode, screen))
			break;
	bs->FreePool(handle);
}

enum status firmware_allocate(const char *what, bool code, u64 size, u64 align, u64 preferred, u64 *address)
{
	EFI_MEMORY_TYPE type = code ? EfiLoaderCode : EfiLoaderData;
	u64 pages = ALIGN_UP(size, PAGE_SIZE) / PAGE_SIZE;
	EFI_PHYSICAL_ADDRESS at = preferred;

	if (preferred && !EFI_ERROR(bs->AllocatePages(AllocateAddress, type, pages, &at))) {
		*address = at;
		return OK;
	}
	pages += align / PAGE_SIZE - 1; /* pages are aligned to 4 KiB only */
	if (EFI_ERROR(bs->AllocatePages(AllocateAnyPages, type, pages, &at))) {
		log_line("no memory for %s: %lu KiB", what, pages * PAGE_SIZE / KIB);
		return ERR_RANGE;
	}
	*address = ALIGN_UP(at, align);
	return OK;
}

static u32 e820_type(const EFI_MEMORY_DESCRIPTOR *d)
{
	switch (d->Type) {
	case EfiLoaderCode:
	case EfiLoaderData:
	case EfiBootServicesCode:
	case EfiBootServicesData:
	case EfiConventionalMemory:
		return d->Attribute & EFI_MEMORY_WB ? E820_RAM : E820_RESERVED;
	case EfiACPIReclaimMemory:
		return E820_ACPI;
	case EfiACPIMemoryNVS:
		return E820_NVS;
	case EfiUnusableMemory:
		return E820_UNUSABLE;
	case EFI_PERSISTENT_MEMORY_TYPE:
		return E820_PMEM;
	default:
		return E820_RESERVED;
	}
}

static enum status too_many(unsigned int entries)
{
	log_line("the firmware's memory map has more than %u ranges", entries);
	return ERR_RANGE;
}

/* The firmware's map has an entry for each of its own allocations; neighbours of one e820 type become one. */
static enum status convert(const u8 *map, UINTN size, UINTN stride, struct e820_entry *e820, unsigned int max, unsigned int *count)
{
	static struct memmap memmap;
	static struct e820_entry entry[1024];
	unsigned int n = 0;
	enum status s;

	for (UINTN at = 0; at + stride <= size; at += stride) {
		const EFI_MEMORY_DESCRIPTOR *d = (const void *)(map + at);
		struct e820_entry e = { d->PhysicalStart, d->NumberOfPages * PAGE_SIZE, e820_type(d) };

		if (n && entry[n - 1].type == e.type && entry[n - 1].addr + entry[n - 1].size == e.addr)
			entry[n - 1].size += e.size;
		else if (n < ARRAY_SIZE(entry))
			entry[n++] = e;
		else
			return too_many(n);
	}
	s = memmap_init(&memmap, entry, n);
	return s == OK ? memmap_to_e820(&memmap, e820, max, count) : s;
}

/*
 * Any event handler may change the map between GetMemoryMap and ExitBootServices; the key then is stale and both are tried again.
 */
#define EXIT_TRIES 16

enum status firmware_exit(struct e820_entry *e820, unsigned int max, unsigned int *count)
{
	UINTN capacity = 0, size, key, stride = 0;
	EFI_STATUS status;
	UINT32 version;
	void *map;

	bs->GetMemoryMap(&capacity, NULL, &key, &stride, &version);
	capacity += 32 * stride; /* the allocation itself, and what a failed try adds: afterwards nothing can be allocated */
	if (EFI_ERROR(bs->AllocatePool(EfiLoaderData, capacity, &map))) {
		log_line("no memory for the memory map: %lu bytes", capacity);
		return ERR_RANGE;
	}
	for (int i = 0; i < EXIT_TRIES; i++) {
		enum status s;

		size = capacity;
		status = bs->GetMemoryMap(&size, map, &key, &stride, &version);
		if (EFI_ERROR(status))
			break;
		/* Before the exit, because it may fail; it allocates nothing, so the key stays good. */
		s = convert(map, size, stride, e820, max, count);
		if (s != OK)
			return st ? s : ERR_STATE;
		/* A try that fails may have ended part of the firmware (UEFI 2.10, 7.4.6): its console is not used any more. */
		if (st)
			console_init(in_qemu);
		st = NULL;
		status = bs->ExitBootServices(self, key);
		if (EFI_ERROR(status))
			continue;
		x86_irq_disable(); /* the firmware's handlers are in free memory now */
		return OK;
	}
	log_line("ExitBootServices: status 0x%lx", status);
	return ERR_STATE;
}
