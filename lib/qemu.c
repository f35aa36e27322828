/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/qemu.h"

#include "lib/x86.h"

/* QEMU docs/specs/fw_cfg.rst: selector 0 reads the signature "QEMU" byte by byte. */
#define FW_CFG_SELECTOR	 0x510
#define FW_CFG_DATA	 0x511
#define FW_CFG_SIGNATURE 0x0000

bool qemu_present(void)
{
	static const char signature[] = "QEMU";

	if (!(x86_cpuid(1).ecx & 1U << 31))
		return false;
	x86_outw(FW_CFG_SELECTOR, FW_CFG_SIGNATURE);
	for (int i = 0; i < 4; i++)
		if (x86_inb(FW_CFG_DATA) != (u8)signature[i])
			return false;
	return true;
}
