/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/log.h"
#include "pci/dev.h"

/*
 * Depth first, so that each bridge is before what is below it: a walk backwards is then children first. A bus is scanned once,
 * whatever bridges claim; a bus below no bridge is a root bus.
 */
struct scan {
	struct pci *pci;
	const struct pci_access *access;
	bool bus_seen[256];
	bool full;
};

static struct pci_dev *add(struct scan *scan, const struct pci_dev *dev)
{
	if (scan->pci->count == scan->pci->capacity) {
		scan->full = true;
		return NULL;
	}
	scan->pci->dev[scan->pci->count] = *dev;
	return &scan->pci->dev[scan->pci->count++];
}

/* A capability that reaches past the space is not what its ID says. */
static bool fits(u8 pos, unsigned int size)
{
	return pos + size <= PCI_CFG_SPACE_SIZE;
}

/* PCIe 7.7.1: the address takes 4 or 8 bytes, per-vector masking 10 more, of which 2 pad Data. */
static unsigned int msi_size(u16 flags)
{
	return (flags & PCI_MSI_FLAGS_MASKBIT ? 20U : 10U) + (flags & PCI_MSI_FLAGS_64BIT ? 4U : 0U);
}

static void read_function(struct pci_dev *dev)
{
	dev->class = pci_read_config_dword(dev, PCI_CLASS_REVISION) >> 8;
	dev->inherited.command = pci_read_config_word(dev, PCI_COMMAND);
	dev->inherited.status = pci_read_config_word(dev, PCI_STATUS);
	for (struct pci_cap cap = { 0 }; pci_next_capability(dev, &cap);) {
		if (cap.id == PCI_CAP_ID_EXP && !dev->pcie) {
			dev->pcie = cap.pos;
		} else if (cap.id == PCI_CAP_ID_MSI && !dev->msi) {
			dev->inherited.msi_flags = pci_read_config_word(dev, cap.pos + PCI_MSI_FLAGS);
			if (fits(cap.pos, msi_size(dev->inherited.msi_flags)))
				dev->msi = cap.pos;
		} else if (cap.id == PCI_CAP_ID_MSIX && !dev->msix && fits(cap.pos, PCI_CAP_MSIX_SIZEOF)) {
			dev->msix = cap.pos;
			dev->inherited.msix_flags = pci_read_config_word(dev, cap.pos + PCI_MSIX_FLAGS);
		}
	}
}

/* A VF's vendor and device ID read all ones (PCIe 9.3.4.1.1): it is found through its PF, at the routing IDs that the PF names. */
static void add_vfs(struct scan *scan, const struct pci_dev *pf)
{
	u16 pos, count, offset, stride;

	if (pci_find_ext_capability(pf, PCI_EXT_CAP_ID_SRIOV, PCI_EXT_CAP_SRIOV_SIZEOF, &pos) != OK ||
	    !(pci_read_config_word(pf, pos + PCI_SRIOV_CTRL) & PCI_SRIOV_CTRL_VFE))
		return;
	count = pci_read_config_word(pf, pos + PCI_SRIOV_NUM_VF);
	offset = pci_read_config_word(pf, pos + PCI_SRIOV_VF_OFFSET);
	stride = pci_read_config_word(pf, pos + PCI_SRIOV_VF_STRIDE);
	if (count > 1 && !stride)
		return; /* not allowed (PCIe 9.3.3.10): each VF would be the same */
	for (u32 i = 0; i < count; i++) {
		u32 bdf = (u32)pf->bdf + offset + i * stride;
		struct pci_dev vf = {
			.access = scan->access, .bridge = pf->bridge, .bdf = (u16)bdf, .vendor = pf->vendor, .is_vf = true
		};

		if (bdf >> 8 > scan->access->last_bus || pci_read_config_word(&vf, PCI_COMMAND) == 0xffff)
			return;
		if (pci_read_config_word(&vf, PCI_VENDOR_ID) != 0xffff)
			return; /* a function with an ID is no VF, and is found by the scan */
		vf.device = pci_read_config_word(pf, pos + PCI_SRIOV_VF_DID);
		read_function(&vf);
		if (!add(scan, &vf))
			return;
	}
}

static void scan_bus(struct scan *scan, u8 bus, struct pci_dev *bridge);

/* Stores one function and all that is below it. NULL when no function responds, or nothing more fits. */
static struct pci_dev *scan_function(struct scan *scan, u16 bdf, struct pci_dev *bridge)
{
	u32 id = pci_bus_read_dev_vendor_id(scan->access, bdf);
	struct pci_dev found, *dev;
	u8 header_type;

	if (!pci_vendor_id_valid(id))
		return NULL;
	found = (struct pci_dev){
		.access = scan->access, .bridge = bridge, .bdf = bdf, .vendor = (u16)id, .device = (u16)(id >> 16)
	};
	header_type = pci_read_config_byte(&found, PCI_HEADER_TYPE);
	found.header_type = header_type & PCI_HEADER_TYPE_MASK;
	found.multifunction = header_type & PCI_HEADER_TYPE_MFD;
	read_function(&found);
	dev = add(scan, &found);
	if (!dev)
		return NULL;
	add_vfs(scan, dev);
	if (dev->header_type == PCI_HEADER_TYPE_BRIDGE)
		scan_bus(scan, pci_read_config_byte(dev, PCI_SECONDARY_BUS), dev);
	return dev;
}

/* ARI (PCIe 6.13): each function of a device names the next, in 8 bits. 0 at the end, and without ARI. */
static unsigned int next_ari_function(const struct pci_dev *dev)
{
	u16 pos;

	if (pci_find_ext_capability(dev, PCI_EXT_CAP_ID_ARI, PCI_EXT_CAP_ARI_SIZEOF, &pos) != OK)
		return 0;
	return pci_read_config_word(dev, pos + PCI_ARI_CAP) >> 8;
}

/* Numbers rise along the list: one that does not rise ends it. */
static void scan_ari_functions(struct scan *scan, const struct pci_dev *first)
{
	unsigned int last = 0, fn = next_ari_function(first);

	while (fn > last) {
		const struct pci_dev *dev = scan_function(scan, (u16)((first->bdf & 0xff00) | fn), first->bridge);

		last = fn;
		fn = dev ? next_ari_function(dev) : 0;
	}
}

static void scan_bus(struct scan *scan, u8 bus, struct pci_dev *bridge)
{
	/* A bridge that firmware left unnumbered holds 0; a wrong one holds a bus that was scanned already or is out of range. */
	if (scan->bus_seen[bus] || bus < scan->access->first_bus || bus > scan->access->last_bus)
		return;
	scan->bus_seen[bus] = true;
	for (unsigned int device = 0; device < 32; device++) {
		struct pci_dev *first = scan_function(scan, PCI_BDF(bus, device, 0), bridge);

		if (!first)
			continue;
		/* Below a PCIe port there is one device; where it has ARI, the bits of the device number are the functions'. */
		if (bridge && bridge->pcie && next_ari_function(first)) {
			scan_ari_functions(scan, first);
			return;
		}
		if (first->multifunction)
			for (unsigned int fn = 1; fn < 8; fn++)
				scan_function(scan, PCI_BDF(bus, device, fn), bridge);
	}
}

enum status pci_enumerate(struct pci *pci, const struct pci_access *access)
{
	struct scan scan = { .pci = pci, .access = access };

	for (unsigned int bus = access->first_bus; bus <= access->last_bus; bus++)
		scan_bus(&scan, (u8)bus, NULL);
	if (!scan.full)
		return OK;
	log_line("pci: more than %u functions, the rest is not handled", pci->capacity);
	return ERR_RANGE;
}
