/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/fake_efi.h"

#include "tests/unit/unit.h"

/* UEFI 2.10, 7.2.3: a descriptor may be longer in another firmware. */
#define STRIDE (sizeof(EFI_MEMORY_DESCRIPTOR) + 8)

/* PE/COFF: 2.1, 3.3, 4. */
#define PE		  0x80
#define PE_SECTIONS	  (PE + 6)
#define PE_OPTIONAL_SIZE  (PE + 20)
#define PE_OPTIONAL	  (PE + 24)
#define OPTIONAL_SIZE	  0xf0
#define SECTION(i)	  (PE_OPTIONAL + OPTIONAL_SIZE + 40 * (i))
#define SECTION_SIZE	  8
#define SECTION_ADDRESS	  12
#define SECTION_ALIGNMENT 4096

struct fake_efi fake_efi;

static u8 arena[FAKE_EFI_ARENA] __attribute__((aligned(2 * MIB)));
static u64 arena_used;
static u8 image[16 * SECTION_ALIGNMENT];
static u32 image_used;
static void *pool;
static EFI_HANDLE *handles;
static UINTN key;

static void called(const char *service)
{
	strncat(fake_efi.calls, service, sizeof(fake_efi.calls) - strlen(fake_efi.calls) - 1);
}

static EFI_STATUS EFIAPI allocate_pages(EFI_ALLOCATE_TYPE how, EFI_MEMORY_TYPE type, UINTN pages, EFI_PHYSICAL_ADDRESS *address)
{
	u64 base = (u64)(uintptr_t)arena, at = how == AllocateAddress ? *address : base + arena_used;

	called("AllocatePages ");
	assert_true(how == AllocateAddress || how == AllocateAnyPages);
	assert_int_equal(at % PAGE_SIZE, 0);
	if (at < base + arena_used || at >= base + sizeof(arena) || pages > (base + sizeof(arena) - at) / PAGE_SIZE)
		return EFI_OUT_OF_RESOURCES;
	arena_used = at + pages * PAGE_SIZE - base;
	fake_efi.type = type;
	fake_efi.pages = pages;
	key++;
	memset((void *)(uintptr_t)at, 0xaa, pages * PAGE_SIZE); /* memory is not zeroed */
	*address = at;
	return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI allocate_pool(EFI_MEMORY_TYPE type, UINTN size, void **buffer)
{
	called("AllocatePool ");
	assert_int_equal(type, EfiLoaderData);
	assert_null(pool);
	pool = *buffer = malloc(size);
	assert_non_null(pool);
	key++;
	return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI get_memory_map(UINTN *size, EFI_MEMORY_DESCRIPTOR *map, UINTN *map_key, UINTN *stride, UINT32 *version)
{
	UINTN room = *size;

	called("GetMemoryMap ");
	*size = fake_efi.map_count * STRIDE;
	*stride = STRIDE;
	*version = EFI_MEMORY_DESCRIPTOR_VERSION;
	if (room < *size)
		return EFI_BUFFER_TOO_SMALL;
	for (unsigned int i = 0; i < fake_efi.map_count; i++)
		memcpy((u8 *)map + i * STRIDE, &fake_efi.map[i], sizeof(fake_efi.map[i]));
	*map_key = key;
	return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI exit_boot_services(EFI_HANDLE handle, UINTN map_key)
{
	called("ExitBootServices ");
	assert_ptr_equal(handle, &fake_efi);
	if (fake_efi.stale) {
		fake_efi.stale--;
		key++;
		if (fake_efi.changes)
			fake_efi.changes();
	}
	return map_key == key ? EFI_SUCCESS : EFI_INVALID_PARAMETER;
}

static const EFI_GUID gop_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;

static EFI_STATUS EFIAPI locate_handle_buffer(EFI_LOCATE_SEARCH_TYPE how, EFI_GUID *guid, void *search, UINTN *count,
					      EFI_HANDLE **buffer)
{
	called("LocateHandleBuffer ");
	assert_int_equal(how, ByProtocol);
	assert_memory_equal(guid, &gop_guid, sizeof(gop_guid));
	assert_null(search);
	if (!fake_efi.displays)
		return EFI_NOT_FOUND;
	assert_null(handles);
	handles = malloc(fake_efi.displays * sizeof(*handles));
	assert_non_null(handles);
	for (unsigned int i = 0; i < fake_efi.displays; i++)
		handles[i] = &fake_efi.display[i];
	*count = fake_efi.displays;
	*buffer = handles;
	return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI free_pool(void *buffer)
{
	called("FreePool ");
	assert_ptr_equal(buffer, handles);
	free(handles);
	handles = NULL;
	return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI handle_protocol(EFI_HANDLE handle, EFI_GUID *guid, void **protocol)
{
	static const EFI_GUID loaded = EFI_LOADED_IMAGE_PROTOCOL_GUID, shell = EFI_SHELL_PARAMETERS_PROTOCOL_GUID;

	called("HandleProtocol ");
	if (!memcmp(guid, &gop_guid, sizeof(gop_guid))) {
		*protocol = handle;
		return handle == fake_efi.display_gone ? EFI_UNSUPPORTED : EFI_SUCCESS;
	}
	assert_ptr_equal(handle, &fake_efi);
	if (!memcmp(guid, &loaded, sizeof(loaded)))
		*protocol = fake_efi.loaded.ImageBase ? &fake_efi.loaded : NULL;
	else if (!memcmp(guid, &shell, sizeof(shell)))
		*protocol = fake_efi.shell;
	else
		fail_msg("HandleProtocol of something else");
	return *protocol ? EFI_SUCCESS : EFI_UNSUPPORTED;
}

static EFI_STATUS EFIAPI set_watchdog_timer(UINTN seconds, UINT64 code, UINTN size, CHAR16 *data)
{
	(void)code;
	called("SetWatchdogTimer ");
	assert_int_equal(size, 0);
	assert_null(data);
	fake_efi.watchdog = seconds;
	return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI output_string(SIMPLE_TEXT_OUTPUT_INTERFACE *this, CHAR16 *string)
{
	size_t n = strlen(fake_efi.text);

	assert_ptr_equal(this, fake_efi.system.ConOut);
	for (; *string && n + 1 < sizeof(fake_efi.text); string++)
		fake_efi.text[n++] = (char)*string;
	return EFI_SUCCESS;
}

static void put(size_t offset, unsigned int size, u64 value)
{
	memcpy(image + offset, &value, size);
}

void fake_efi_start(void)
{
	static SIMPLE_TEXT_OUTPUT_INTERFACE console = { .OutputString = output_string };
	static EFI_BOOT_SERVICES services = {
		.AllocatePages = allocate_pages,
		.GetMemoryMap = get_memory_map,
		.AllocatePool = allocate_pool,
		.FreePool = free_pool,
		.HandleProtocol = handle_protocol,
		.LocateHandleBuffer = locate_handle_buffer,
		.ExitBootServices = exit_boot_services,
		.SetWatchdogTimer = set_watchdog_timer,
	};

	free(pool);
	pool = NULL;
	assert_null(handles); /* the loader has freed what it was given */
	arena_used = PAGE_SIZE;
	memset(image, 0, sizeof(image));
	put(0x3c, 4, PE);
	memcpy(image + PE, "PE\0\0", 4);
	put(PE_OPTIONAL_SIZE, 2, OPTIONAL_SIZE);
	image_used = SECTION_ALIGNMENT;
	memset(&fake_efi, 0, sizeof(fake_efi));
	fake_efi.system.ConOut = &console;
	fake_efi.system.BootServices = &services;
	fake_efi.loaded.ImageBase = image;
	fake_efi.arena = arena;
	fake_efi.watchdog = 300;
}

void fake_efi_memory(u32 type, u64 start, u64 pages, u64 attribute)
{
	assert_true(fake_efi.map_count < FAKE_EFI_MAP);
	fake_efi.map[fake_efi.map_count++] =
		(EFI_MEMORY_DESCRIPTOR){ .Type = type, .PhysicalStart = start, .NumberOfPages = pages, .Attribute = attribute };
}

void fake_efi_section(const char *name, const void *data, u32 size)
{
	size_t at = SECTION(image[PE_SECTIONS]++);

	assert_true(size <= sizeof(image) - image_used);
	memcpy(image + at, name, strnlen(name, 8));
	put(at + SECTION_SIZE, 4, size);
	put(at + SECTION_ADDRESS, 4, image_used);
	if (size)
		memcpy(image + image_used, data, size);
	image_used += (u32)ALIGN_UP(size, SECTION_ALIGNMENT);
}
