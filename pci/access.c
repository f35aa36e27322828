/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/access.h"

#include "lib/log.h"
#include "lib/x86.h"

/*
 * Configuration space can be reached in two ways.
 *
 * CF8/CFC, configuration mechanism #1 (PCI 3.2.2.3.2): the address of a doubleword is written to one port, its bytes are then at
 * another. It reaches 256 bytes a function, in segment 0, by two accesses that must not be separated by others.
 *
 * ECAM (PCIe 7.2.2): 4 KiB of memory a function, at bus << 20 | device << 15 | function << 12. One access is enough, and the
 * extended space is in reach. Its base comes from firmware (ACPI's MCFG) and can be wrong. CF8/CFC is always at the same place, so
 * pci_ecam_agrees compares the two.
 *
 * Both keep the width of an access, because the function sees it: 32 bits at Command write Status, too.
 */

#define CF8_ADDRESS 0xcf8
#define CF8_DATA    0xcfc
#define CF8_ENABLE  0x80000000U

static u32 mmio_read(u64 address, unsigned int size)
{
	const volatile void *p = (const volatile void *)(uintptr_t)address;

	return size == 1 ? *(const volatile u8 *)p : size == 2 ? *(const volatile u16 *)p : *(const volatile u32 *)p;
}

static void mmio_write(u64 address, unsigned int size, u32 value)
{
	volatile void *p = (volatile void *)(uintptr_t)address;

	if (size == 1)
		*(volatile u8 *)p = (u8)value;
	else if (size == 2)
		*(volatile u16 *)p = (u16)value;
	else
		*(volatile u32 *)p = value;
}

static u32 mem_read(const struct pci_access *access, u64 address, unsigned int size)
{
	(void)access;
	return mmio_read(address, size);
}

static void mem_write(const struct pci_access *access, u64 address, unsigned int size, u32 value)
{
	(void)access;
	mmio_write(address, size, value);
}

static u64 ecam_address(const struct pci_access *access, u16 bdf, u16 reg)
{
	return access->ecam_base + ((u64)bdf << 12) + reg;
}

static u32 ecam_read(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size)
{
	return mmio_read(ecam_address(access, bdf, reg), size);
}

static void ecam_write(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size, u32 value)
{
	mmio_write(ecam_address(access, bdf, reg), size, value);
}

/* The address port selects a doubleword; the address of the data port selects bytes of it. */
static u16 cf8_select(u16 bdf, u16 reg)
{
	x86_outl(CF8_ADDRESS, CF8_ENABLE | (u32)bdf << 8 | (reg & 0xfcU));
	return (u16)(CF8_DATA + (reg & 3));
}

/* Two accesses that belong together: an interrupt handler may select another register. */
static u32 cf8_read(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size)
{
	u64 flags = x86_irq_save();
	u32 value = x86_in(cf8_select(bdf, reg), size);

	(void)access;
	x86_irq_restore(flags);
	return value;
}

static void cf8_write(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size, u32 value)
{
	u64 flags = x86_irq_save();

	(void)access;
	x86_out(cf8_select(bdf, reg), size, value);
	x86_irq_restore(flags);
}

enum status pci_access_ecam(struct pci_access *access, enum status (*map)(u64 address, u64 size), u64 base, u16 segment,
			    u8 first_bus, u8 last_bus)
{
	static const struct pci_access_ops ops = { "ECAM", ecam_read, ecam_write, mem_read, mem_write };

	*access = (struct pci_access){ &ops, map, base, segment, first_bus, last_bus, 4096 };
	return map(base + ((u64)first_bus << 20), (last_bus - first_bus + 1UL) << 20);
}

void pci_access_cf8(struct pci_access *access, enum status (*map)(u64 address, u64 size))
{
	static const struct pci_access_ops ops = { "CF8/CFC", cf8_read, cf8_write, mem_read, mem_write };

	*access = (struct pci_access){ &ops, map, 0, 0, 0, 255, 256 };
}

bool pci_ecam_agrees(const struct pci_access *ecam, const struct pci_access *cf8)
{
	for (unsigned int device = 0; device < 32; device++) {
		u16 bdf = PCI_BDF(ecam->first_bus, device, 0);
		u32 want = pci_bus_read_dev_vendor_id(cf8, bdf), found;

		if (!pci_vendor_id_valid(want))
			continue;
		found = pci_bus_read_dev_vendor_id(ecam, bdf);
		if (found == want)
			continue;
		log_line("PCI ECAM at 0x%lx: %02x:%02x.0 is 0x%08x there and 0x%08x by CF8/CFC, ECAM ignored", ecam->ecam_base,
			 PCI_BUS(bdf), device, found, want);
		return false;
	}
	return true;
}
