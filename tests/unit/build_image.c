/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/linux_bootparam.h"

#include "tests/unit/build_image.h"

#include "tests/unit/unit.h"

u8 *build_image(const char *version, u64 pref_address, u32 alignment)
{
	u8 *image = calloc(1, IMAGE_SIZE);
	const struct linux_setup_header h = {
		.setup_sects = IMAGE_SETUP / 512 - 1,
		.syssize = IMAGE_LOAD / 16,
		.boot_flag = 0xaa55,
		.jump = 0xeb | 0x66 << 8, /* the header ends at 0x202 + 0x66 = 0x268 */
		.header = 0x53726448,
		.version = 0x020f,
		.kernel_version = IMAGE_VERSION - 0x200,
		.loadflags = LINUX_LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = alignment,
		.relocatable_kernel = 1,
		.min_alignment = 12,
		.xloadflags = LINUX_XLF_KERNEL_64 | LINUX_XLF_ABOVE_4G | LINUX_XLF_5LEVEL,
		.cmdline_size = 255,
		.pref_address = pref_address,
		.init_size = IMAGE_INIT_SIZE,
	};

	assert_non_null(image);
	memcpy(image + 0x1f1, &h, sizeof(h));
	strcpy((char *)image + IMAGE_VERSION, version);
	for (u32 i = 0; i < IMAGE_LOAD; i++)
		image[IMAGE_SETUP + i] = (u8)(i * 7 + i / 256);
	return image;
}

void image_set(u8 *image, size_t offset, unsigned int size, u64 value)
{
	memcpy(image + offset, &value, size);
}
