/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PCI_ACCESS_H
#define PCI_ACCESS_H

#include "lib/status.h"
#include "lib/types.h"

/*
 * The one way to a device: its configuration space and the memory of its BARs. ECAM, CF8/CFC and the host tests' fakes implement
 * it.
 *
 * Contract of every back end: an access has exactly the size asked for (1, 2 or 4 bytes), naturally aligned, and is
 * neither split, merged, repeated nor left out. Reads of what is not there return all ones; writes to it are lost.
 */
struct pci_access;

struct pci_access_ops {
	const char *name;
	u32 (*cfg_read)(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size);
	void (*cfg_write)(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size, u32 value);
	u32 (*mem_read)(const struct pci_access *access, u64 address, unsigned int size);
	void (*mem_write)(const struct pci_access *access, u64 address, unsigned int size, u32 value);
};

/* One range of buses of one segment. */
struct pci_access {
	const struct pci_access_ops *ops;
	enum status (*map)(u64 address, u64 size); /* makes MMIO accessible, uncached; what mem_read touches was mapped before */
	u64 ecam_base;				   /* of bus 0; ECAM only */
	u16 segment;
	u8 first_bus;
	u8 last_bus;
	u16 cfg_size; /* of a function: 4096 by ECAM, 256 by CF8/CFC */
};

/* bdf: bus 15..8, device 7..3, function 2..0. */
#define PCI_BDF(bus, dev, fn) ((u16)((unsigned int)(bus) << 8 | (unsigned int)(dev) << 3 | (fn)))
#define PCI_BUS(bdf)	      ((unsigned int)(bdf) >> 8)
#define PCI_DEV(bdf)	      ((unsigned int)(bdf) >> 3 & 0x1f)
#define PCI_FN(bdf)	      ((unsigned int)(bdf)&7)

/* Vendor ID 15..0 and Device ID 31..16, of a BDF where there may be no function. */
u32 pci_bus_read_dev_vendor_id(const struct pci_access *access, u16 bdf);
/* Whether a function responded: all ones are an Unsupported Request, zeros come from a window that decodes to nothing. */
bool pci_vendor_id_valid(u32 id);

/* The Enhanced Configuration Access Mechanism (PCIe 7.2.2): 4 KiB a function, memory-mapped. base is that of bus 0. */
enum status pci_access_ecam(struct pci_access *access, enum status (*map)(u64 address, u64 size), u64 base, u16 segment,
			    u8 first_bus, u8 last_bus);

/*
 * Whether ECAM has the same functions on its first bus as CF8/CFC; after one line if not. The base in MCFG can be wrong, and what
 * is read and written there would be other registers (FreeBSD checks the same, pcie_cfgregopen). True where CF8/CFC has no
 * function: a machine may be without.
 */
bool pci_ecam_agrees(const struct pci_access *ecam, const struct pci_access *cf8);

/* Configuration mechanism #1 (PCI 3.2.2.3.2): ports CF8/CFC, segment 0, 256 bytes a function. */
void pci_access_cf8(struct pci_access *access, enum status (*map)(u64 address, u64 size));

#endif
