/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whatever configuration space holds, enumeration ends, writes nothing, and stores each bridge before what is below it;
 * every access is one that a back end allows; a policy writes what it is for, and nothing to a function that was removed or is
 * read-only. Could be false: capability lists that loop or reach past the end, bridges with wrong bus numbers, any number of VFs,
 * BARs that are smaller than what they should hold, registers that change between reads, functions that are removed meanwhile.
 * Provoked: a back end of its own with functions made of any bytes; it checks each access against the contract of pci/access.h and
 * against what may be done at that moment. Then, as an image does it: startup's policy, any use of the functions, shutdown's. The
 * input: struct settings, then records.
 */
#include "lib/time.h"
#include "shutdown/policies.h"
#include "startup/policies.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fake_x86.h"

#define FUNCTIONS_MAX 16
#define CAPACITY_MAX  64
#define MAPPED_MAX    64
#define VECTORS_MAX   8

/* Each function is read a few times for each entry of its two lists, each VF a few times for each of its list. */
#define READS_MAX (65536 + FUNCTIONS_MAX * 4000 + (CAPACITY_MAX + FUNCTIONS_MAX) * 200)

struct settings {
	u8 first_bus;
	u8 buses;	  /* beyond the first */
	u16 capacity : 6; /* less one */
	u16 startup : 2;
	u16 legacy : 1; /* 256 bytes a function, as by CF8/CFC */
	u16 shutdown : 3;
	u16 maps : 4;  /* how many mappings succeed; 15: all */
	u8 read_only;  /* of the functions with these numbers */
	u8 has_driver; /* likewise */
} __attribute__((packed));

/* A function is made first, and then changed. USE acts on what the enumeration has found. */
enum { MAKE, SET8, SET16, SET32, READ_ONLY, GOES, CHANGES, USE };
struct record {
	u8 what;
	u8 function;
	u16 where; /* MAKE: bus, device and function; USE: what for; else a register */
	u32 value;
} __attribute__((packed));

static struct function {
	u16 bdf;
	u32 reads, removed_after; /* reads; 0: it stays */
	bool seen_removed;	  /* the last read returned all ones */
	u16 changes_at;		  /* a register that differs by this at each read; 0: none */
	u8 changes_by;
	bool read_only;
	u8 cfg[PCI_CFG_SPACE_EXP_SIZE];
	u8 fixed[PCI_CFG_SPACE_EXP_SIZE]; /* a bit a bit: ignores writes */
} functions[FUNCTIONS_MAX];
static struct function *at_bdf[65536];

static struct {
	u64 start, end;
} mapped[MAPPED_MAX];
static unsigned int mapped_count, maps_left;

static enum { ENUMERATION, STARTUP, USES, SHUTDOWN } phase;
static unsigned int reads, shutdowns, resets;
static u16 decoding; /* what is off while a BAR is sized */
static struct pci pci;

/* --- the back end --- */

static u32 ones(unsigned int size)
{
	return size == 4 ? UINT32_MAX : (1U << 8 * size) - 1;
}

static bool gone(const struct function *f)
{
	return f->removed_after && f->reads >= f->removed_after;
}

static u32 get(const struct function *f, u16 reg, unsigned int size)
{
	u32 value = 0;

	memcpy(&value, f->cfg + reg, size);
	return value;
}

/* What holds of it now has held all the time. */
static bool steady(const struct function *f)
{
	return !f->removed_after && !f->changes_at;
}

/* A bit that can be cleared is clear; a register of all ones does not count, the function was removed. */
static bool is_off(const struct function *f, u16 reg, u16 bit)
{
	u32 value = get(f, reg, 2);
	u16 fixed;

	memcpy(&fixed, f->fixed + reg, sizeof(fixed));
	return value == 0xffff || !(value & ~fixed & bit);
}

static void check_access(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size)
{
	REQUIRE(size == 1 || size == 2 || size == 4);
	REQUIRE(reg % size == 0 && reg + size <= access->cfg_size);
	REQUIRE(PCI_BUS(bdf) >= access->first_bus && PCI_BUS(bdf) <= access->last_bus);
}

static u32 cfg_read(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size)
{
	struct function *f = at_bdf[bdf];
	u32 value;

	check_access(access, bdf, reg, size);
	REQUIRE(++reads <= READS_MAX);
	if (!f)
		return ones(size);
	f->seen_removed = gone(f);
	if (f->seen_removed)
		return ones(size);
	f->reads++;
	value = get(f, reg, size);
	if (f->changes_at >= reg && f->changes_at < reg + size)
		f->cfg[f->changes_at] ^= f->changes_by;
	return value;
}

enum owner { NO_OWNER, COMMAND = 1, BAR = 2, MSI = 4, MSI_FLAGS = 8, MSIX_FLAGS = 16 };

/* What a policy is for. */
static const struct promise {
	const struct pci_policy *policy;
	unsigned int writes;	   /* to these owners */
	bool master, bridges, msi; /* what is off afterwards: bus master of all or of bridges, messages */
	bool shutdown, reset;	   /* of drivers */
} *promise, startups[] = {
	{ .policy = &startup_disable_msi, .writes = MSI_FLAGS | MSIX_FLAGS, .msi = true },
	{ .policy = &startup_none },
	{ .policy = &startup_hardened, .writes = COMMAND | MSI | MSI_FLAGS | MSIX_FLAGS, .master = true, .msi = true },
}, shutdowns_of[] = {
	{ .policy = &shutdown_keep_msi, .writes = COMMAND, .master = true, .shutdown = true },
	{ .policy = &shutdown_disable_msi, .writes = COMMAND | MSI_FLAGS | MSIX_FLAGS, .master = true, .msi = true, .shutdown = true },
	{ .policy = &shutdown_none },
	{ .policy = &shutdown_disable_msi_only, .writes = COMMAND | MSI_FLAGS | MSIX_FLAGS, .msi = true, .shutdown = true },
	{ .policy = &shutdown_bridges_only, .writes = COMMAND, .bridges = true },
	{ .policy = &shutdown_reset, .writes = COMMAND, .master = true, .shutdown = true, .reset = true },
	{ .policy = &shutdown_intx_off, .writes = COMMAND | MSI_FLAGS | MSIX_FLAGS, .master = true, .msi = true, .shutdown = true },
	{ .policy = &shutdown_drain, .writes = COMMAND, .master = true, .shutdown = true },
};

/* Whose registers these are. A function may have been found more than once: as itself, and as a VF of a wrong PF. */
static enum owner owner_of(const struct function *f, u16 reg, unsigned int size)
{
	if (reg == PCI_COMMAND)
		return size == 2 ? COMMAND : NO_OWNER;
	if (reg >= PCI_BASE_ADDRESS_0 && reg < PCI_BASE_ADDRESS_0 + 4 * PCI_STD_NUM_BARS)
		return size == 4 ? BAR : NO_OWNER;
	for (unsigned int i = 0; i < pci.count; i++) {
		const struct pci_dev *dev = &pci.dev[i];
		u16 flags = dev->inherited.msi_flags;
		int msi_size = 10 + (flags & PCI_MSI_FLAGS_64BIT ? 4 : 0) + (flags & PCI_MSI_FLAGS_MASKBIT ? 10 : 0);

		if (dev->bdf != f->bdf)
			continue;
		if (dev->msix && reg == dev->msix + PCI_MSIX_FLAGS && size == 2)
			return MSIX_FLAGS;
		if (dev->msi && reg == dev->msi + PCI_MSI_FLAGS && size == 2)
			return MSI_FLAGS;
		if (dev->msi && reg > dev->msi + PCI_MSI_FLAGS && reg + (int)size <= dev->msi + msi_size)
			return MSI;
	}
	return NO_OWNER;
}

/* Which writes are allowed, and when. */
static void check_write(const struct function *f, u16 reg, unsigned int size, u32 value)
{
	enum owner owner = owner_of(f, reg, size);

	REQUIRE(owner != NO_OWNER && phase != ENUMERATION && !f->read_only);
	if (owner == BAR) /* it would decode the address that the ones are */
		REQUIRE(!steady(f) || is_off(f, PCI_COMMAND, decoding));
	if (phase == USES)
		return;
	/* A policy clears bits, and writes nothing to a function that was removed. */
	REQUIRE(!f->seen_removed);
	REQUIRE(promise->writes & owner);
	if (owner == COMMAND)
		REQUIRE(!steady(f) || !(value & ~get(f, reg, 2) & PCI_COMMAND_MASTER));
	else if (owner == MSI_FLAGS)
		REQUIRE(!(value & PCI_MSI_FLAGS_ENABLE));
	else if (owner == MSIX_FLAGS)
		REQUIRE(!(value & PCI_MSIX_FLAGS_ENABLE));
}

static void cfg_write(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size, u32 value)
{
	struct function *f = at_bdf[bdf];

	check_access(access, bdf, reg, size);
	REQUIRE(f);
	check_write(f, reg, size, value);
	if (gone(f))
		return;
	for (unsigned int i = 0; i < size; i++, value >>= 8)
		f->cfg[reg + i] = (u8)((f->cfg[reg + i] & f->fixed[reg + i]) | ((u8)value & (u8)~f->fixed[reg + i]));
}

static void check_memory(u64 address, unsigned int size)
{
	REQUIRE(phase == USES || phase == SHUTDOWN);
	REQUIRE((size == 1 || size == 2 || size == 4) && address % size == 0);
	for (unsigned int i = 0; i < mapped_count; i++)
		if (address >= mapped[i].start && address + size <= mapped[i].end)
			return;
	REQUIRE(!"mapped");
}

static u32 mem_read(const struct pci_access *access, u64 address, unsigned int size)
{
	(void)access;
	check_memory(address, size);
	return 0;
}

static void mem_write(const struct pci_access *access, u64 address, unsigned int size, u32 value)
{
	(void)access;
	(void)value;
	check_memory(address, size);
}

/* What a BAR that is written with ones reads: bits that are fixed, and ones. The lowest is its size (PCIe 7.5.1.2.1). */
static bool in_bar(const struct function *f, unsigned int bar, u64 address, u64 size)
{
	unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * bar;
	bool wide = (f->cfg[reg] & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
	u64 value = 0, fixed = 0, ones_read;

	memcpy(&value, f->cfg + reg, wide ? 8 : 4);
	memcpy(&fixed, f->fixed + reg, wide ? 8 : 4);
	value &= PCI_BASE_ADDRESS_MEM_MASK;
	ones_read = ((value & fixed) | ~fixed) & PCI_BASE_ADDRESS_MEM_MASK & (wide ? UINT64_MAX : UINT32_MAX);
	return address >= value && size <= (ones_read & -ones_read) && address - value <= (ones_read & -ones_read) - size;
}

/* Where all registers are valid, what is mapped is in a function's BAR. */
static bool is_device_memory(u64 address, u64 size)
{
	for (unsigned int i = 0; i < FUNCTIONS_MAX; i++) {
		if (!steady(&functions[i]))
			return true;
		for (unsigned int bar = 0; bar < PCI_STD_NUM_BARS; bar++)
			if (in_bar(&functions[i], bar, address, size))
				return true;
	}
	return false;
}

/* As boot/paging.c: what is nothing, or wraps, is refused. */
static enum status map(u64 address, u64 size)
{
	REQUIRE(is_device_memory(address, size));
	if (!size || address + size < address || mapped_count == MAPPED_MAX || !maps_left)
		return ERR_RANGE;
	maps_left -= maps_left < 15;
	mapped[mapped_count].start = address;
	mapped[mapped_count++].end = address + size;
	return OK;
}

/* --- a machine out of the input --- */

static void make(struct function *f, u16 bdf, u32 id)
{
	if (at_bdf[f->bdf] == f)
		at_bdf[f->bdf] = NULL;
	*f = (struct function){ .bdf = bdf };
	memcpy(f->cfg, &id, sizeof(id));
	memset(f->fixed, 0xff, 0x40);
	f->fixed[PCI_COMMAND] = (u8) ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	f->fixed[PCI_COMMAND + 1] = (u8) ~(PCI_COMMAND_INTX_DISABLE >> 8);
	if (at_bdf[bdf])
		at_bdf[bdf]->bdf = 0;
	at_bdf[bdf] = f;
}

static void change(struct function *f, const struct record *r)
{
	u16 reg = r->where % (PCI_CFG_SPACE_EXP_SIZE - 4);

	switch (r->what % 8) {
	case MAKE:
		make(f, r->where, r->value);
		break;
	case SET8:
	case SET16:
	case SET32:
		memcpy(f->cfg + reg, &r->value, 1U << (r->what % 8 - SET8));
		break;
	case READ_ONLY:
		memcpy(f->fixed + reg, &r->value, 4);
		break;
	case GOES:
		f->removed_after = r->value;
		break;
	case CHANGES:
		f->changes_at = reg;
		f->changes_by = (u8)r->value;
		break;
	}
}

/* --- what was found --- */

static void driver_shutdown(struct pci_dev *dev)
{
	REQUIRE(!dev->read_only && phase == SHUTDOWN);
	shutdowns++;
}

static enum status driver_reset(struct pci_dev *dev)
{
	REQUIRE(!dev->read_only && phase == SHUTDOWN);
	resets++;
	return OK;
}

static const struct pci_driver driver = { .name = "fuzz", .shutdown = driver_shutdown, .reset = driver_reset };

static void check_order(void)
{
	for (unsigned int i = 0; i < pci.count; i++) {
		const struct pci_dev *bridge = pci.dev[i].bridge;

		REQUIRE(at_bdf[pci.dev[i].bdf]);
		REQUIRE(!bridge || (bridge >= pci.dev && bridge < pci.dev + i && bridge->header_type == PCI_HEADER_TYPE_BRIDGE));
	}
}

static void use(const struct record *r)
{
	struct msi_message messages[VECTORS_MAX] = { { 0 } };
	struct pci_dev *dev;
	u64 address;
	u16 port;

	if (!pci.count)
		return;
	dev = &pci.dev[r->function % pci.count];
	if (dev->read_only)
		return;
	decoding = PCI_COMMAND_MEMORY;
	messages[0].address = (u64)(r->value >> 8) << (r->value & 0x80 ? 32 : 8);
	messages[0].data = r->value >> 24;
	switch (r->where % 8) {
	case 0:
		pci_set_master(dev);
		break;
	case 1:
		pci_clear_master(dev);
		break;
	case 2:
		pci_intx(dev, r->value & 1);
		break;
	case 3:
		pci_enable_memory(dev);
		break;
	case 4:
		pci_enable_msi(dev, messages[0], r->value & 0x7f);
		break;
	case 5:
		pci_enable_msix(dev, messages, r->value % (VECTORS_MAX + 1));
		break;
	case 6:
		pci_map_bar(dev, "memory", r->value & 7, r->value & ~7U, r->where & ~7U, &address);
		decoding = PCI_COMMAND_IO;
		if (pci_map_io_bar(dev, "ports", r->value & 7, r->value & ~7U, r->where & ~7U, &port) == OK)
			REQUIRE(port + (r->where & ~7U) <= UINT16_MAX + 1U);
		break;
	case 7:
		pci_msi_shutdown(dev);
		pci_msix_shutdown(dev);
		break;
	}
}

static void check_off(void)
{
	for (unsigned int i = 0; i < pci.count; i++) {
		const struct pci_dev *dev = &pci.dev[i];
		const struct function *f = at_bdf[dev->bdf];
		bool master = promise->master || (promise->bridges && dev->header_type == PCI_HEADER_TYPE_BRIDGE);

		if (f->read_only || !steady(f))
			continue;
		REQUIRE(!master || is_off(f, PCI_COMMAND, PCI_COMMAND_MASTER));
		REQUIRE(!promise->msi || !dev->msi || is_off(f, dev->msi + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE));
		REQUIRE(!promise->msi || !dev->msix || is_off(f, dev->msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE));
	}
}

static void run(struct settings settings, const struct record *uses, size_t count)
{
	unsigned int drivers = 0;

	for (unsigned int i = 0; i < pci.count; i++) {
		struct pci_dev *dev = &pci.dev[i];
		struct function *f = at_bdf[dev->bdf];

		dev->read_only = f->read_only = settings.read_only >> (f - functions) % 8 & 1;
		dev->driver = settings.has_driver >> (f - functions) % 8 & 1 ? &driver : NULL;
		drivers += dev->driver && !dev->read_only;
	}
	phase = STARTUP;
	promise = &startups[settings.startup % ARRAY_SIZE(startups)];
	pci_apply_forward(&pci, promise->policy);
	check_off();

	phase = USES;
	for (size_t i = 0; i < count; i++)
		if (uses[i].what % 8 == USE)
			use(&uses[i]);

	phase = SHUTDOWN;
	promise = &shutdowns_of[settings.shutdown];
	shutdowns = resets = 0;
	pci_apply_backward(&pci, promise->policy);
	check_off();
	REQUIRE(shutdowns == (promise->shutdown ? drivers : 0));
	REQUIRE(resets == (promise->reset ? drivers : 0));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const struct pci_access_ops ops = { "fuzz", cfg_read, cfg_write, mem_read, mem_write };
	static struct pci_dev devs[CAPACITY_MAX];
	struct settings settings;
	struct pci_access access = { .ops = &ops, .map = map };
	const struct record *records;
	size_t count;
	enum status s;

	if (size < sizeof(settings))
		return 0;
	memcpy(&settings, data, sizeof(settings));
	records = (const void *)(data + sizeof(settings));
	count = (size - sizeof(settings)) / sizeof(*records);
	for (unsigned int i = 0; i < FUNCTIONS_MAX; i++)
		at_bdf[functions[i].bdf] = NULL;
	for (unsigned int i = 0; i < FUNCTIONS_MAX; i++)
		functions[i].bdf = 0;
	for (size_t i = 0; i < count; i++)
		if (records[i].what % 8 != USE)
			change(&functions[records[i].function % FUNCTIONS_MAX], &records[i]);

	access.first_bus = settings.first_bus;
	access.last_bus = (u8)MIN(settings.first_bus + settings.buses, 255);
	access.cfg_size = settings.legacy ? PCI_CFG_SPACE_SIZE : PCI_CFG_SPACE_EXP_SIZE;
	pci = (struct pci){ .dev = devs, .capacity = 1 + settings.capacity };
	mapped_count = 0;
	maps_left = settings.maps;
	reads = 0;
	phase = ENUMERATION;
	fake_x86_reset();
	time_init(FAKE_PM_TIMER);
	fuzz_log_start();
	s = pci_enumerate(&pci, &access);
	REQUIRE(pci.count <= pci.capacity);
	REQUIRE(s == OK || (s == ERR_RANGE && pci.count == pci.capacity));
	check_order();
	reads = 0;
	run(settings, records, count);
	return 0;
}
