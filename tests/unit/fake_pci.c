/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/fake_pci.h"

#include "tests/unit/unit.h"

/* PCIe 7.5.1.1.3 and 7.5.1.1.4: what a function implements of Command and Status. */
#define COMMAND_BITS 0x0547
#define STATUS_W1C   0xf900
#define STATUS_SET   0x3000 /* received aborts: a careless 32-bit write of Command clears them */

static struct fake_pci *current; /* pci_access.map has no context */

struct fake_fn *fake_at(struct fake_pci *fake, u16 bdf)
{
	for (unsigned int i = 0; i < fake->fns; i++)
		if (fake->fn[i]->bdf == bdf)
			return fake->fn[i];
	return NULL;
}

/* --- the ops --- */

static void note(struct fake_pci *fake, struct fake_access access)
{
	if (fake->logged == fake->log_room) {
		fake->log_room = fake->log_room ? 2 * fake->log_room : 256;
		fake->log = realloc(fake->log, fake->log_room * sizeof(fake->log[0]));
		assert_non_null(fake->log);
	}
	fake->log[fake->logged++] = access;
	if (fake->watch)
		fake->watch(fake, &access);
}

static struct fake_pci *fake_of(const struct pci_access *access)
{
	return (struct fake_pci *)(uintptr_t)access;
}

static u32 ones(unsigned int size)
{
	return size == 4 ? 0xffffffff : (1U << 8 * size) - 1;
}

/* Counts an access; false when the function was removed. */
static bool answers(struct fake_fn *fn)
{
	if (!fn || !fn->answers)
		return false;
	if (fn->answers > 0)
		fn->answers--;
	return true;
}

static void check_access(u64 where, unsigned int size, u64 limit, const char *what)
{
	if ((size != 1 && size != 2 && size != 4) || where % size)
		fail_msg("%s 0x%lx: an access of %u bytes", what, where, size);
	if (where + size > limit)
		fail_msg("%s 0x%lx, %u bytes: beyond 0x%lx", what, where, size, limit);
}

static u32 cfg_read(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size)
{
	struct fake_pci *fake = fake_of(access);
	struct fake_fn *fn = fake_at(fake, bdf);
	bool there;
	u32 value;

	check_access(reg, size, access->cfg_size, "configuration register");
	there = answers(fn);
	value = there ? fake_get(fn, reg, size) : ones(size);
	note(fake, (struct fake_access){ FAKE_CFG_READ, bdf, reg, (u8)size, value, !there });
	return value;
}

static void cfg_write(const struct pci_access *access, u16 bdf, u16 reg, unsigned int size, u32 value)
{
	struct fake_pci *fake = fake_of(access);
	struct fake_fn *fn = fake_at(fake, bdf);
	bool there;

	check_access(reg, size, access->cfg_size, "configuration register");
	if (value & ~ones(size))
		fail_msg("configuration register 0x%x: 0x%x has more than %u bytes", reg, value, size);
	there = answers(fn);
	for (unsigned int i = 0; there && i < size; i++) {
		u8 v = (u8)(value >> 8 * i), *cfg = &fn->cfg[reg + i], rw = fn->rw[reg + i], w1c = fn->w1c[reg + i];

		*cfg = (u8)((*cfg & ~rw & ~(v & w1c)) | (v & rw));
	}
	note(fake, (struct fake_access){ FAKE_CFG_WRITE, bdf, reg, (u8)size, value, !there });
}

static struct fake_mem *mem_at(struct fake_pci *fake, u64 address, unsigned int size)
{
	bool mapped = false;

	check_access(address, size, UINT64_MAX, "memory");
	for (unsigned int i = 0; i < fake->maps; i++)
		mapped |= address >= fake->mapped[i].start && address + size <= fake->mapped[i].end;
	if (!mapped)
		fail_msg("memory 0x%lx: %u bytes accessed, but not mapped before", address, size);
	for (unsigned int i = 0; i < fake->mems; i++)
		if (address >= fake->mem[i].base && address + size <= fake->mem[i].base + fake->mem[i].size)
			return &fake->mem[i];
	fail_msg("memory 0x%lx: no memory there", address);
	return NULL;
}

static void check_decode(const struct fake_mem *mem, u64 address)
{
	if (!mem->fn->answers)
		return;
	if (!(mem->fn->cfg[PCI_COMMAND] & PCI_COMMAND_MEMORY))
		fail_msg("memory 0x%lx: the function does not decode memory", address);
	if ((fake_bar_value(mem->fn, mem->bar) & PCI_BASE_ADDRESS_MEM_MASK) != mem->base)
		fail_msg("memory 0x%lx: BAR %u holds 0x%lx", address, mem->bar, fake_bar_value(mem->fn, mem->bar));
}

static u32 mem_read(const struct pci_access *access, u64 address, unsigned int size)
{
	struct fake_pci *fake = fake_of(access);
	struct fake_mem *mem = mem_at(fake, address, size);
	bool there;
	u32 value;

	check_decode(mem, address);
	there = answers(mem->fn);
	if (!there)
		value = ones(size);
	else if (mem->read)
		value = mem->read(mem->model, address - mem->base, size);
	else
		value = fake_mem_get(mem, address - mem->base, size);
	note(fake, (struct fake_access){ FAKE_MEM_READ, 0, address, (u8)size, value, !there });
	return value;
}

static void mem_write(const struct pci_access *access, u64 address, unsigned int size, u32 value)
{
	struct fake_pci *fake = fake_of(access);
	struct fake_mem *mem = mem_at(fake, address, size);
	bool there;

	check_decode(mem, address);
	there = answers(mem->fn);
	if (there && mem->write)
		mem->write(mem->model, address - mem->base, size, value);
	else if (there)
		fake_mem_set(mem, address - mem->base, size, value);
	note(fake, (struct fake_access){ FAKE_MEM_WRITE, 0, address, (u8)size, value, !there });
}

static enum status map(u64 address, u64 size)
{
	if (current->map_fails)
		return ERR_RANGE;
	assert_true(current->maps < ARRAY_SIZE(current->mapped));
	current->mapped[current->maps].start = address;
	current->mapped[current->maps++].end = address + size;
	return OK;
}

/* --- building --- */

struct fake_pci *fake_pci_new(void)
{
	static const struct pci_access_ops ops = { "fake", cfg_read, cfg_write, mem_read, mem_write };
	struct fake_pci *fake = calloc(1, sizeof(*fake));

	assert_non_null(fake);
	fake->access = (struct pci_access){ .ops = &ops, .map = map, .last_bus = 255, .cfg_size = FAKE_CFG_SIZE };
	current = fake;
	return fake;
}

void fake_pci_free(struct fake_pci *fake)
{
	for (unsigned int i = 0; i < fake->fns; i++)
		free(fake->fn[i]);
	for (unsigned int i = 0; i < fake->mems; i++) {
		if (fake->mem[i].free)
			fake->mem[i].free(fake->mem[i].model);
		free(fake->mem[i].bytes);
	}
	free(fake->log);
	free(fake);
}

u32 fake_get(const struct fake_fn *fn, u16 reg, unsigned int size)
{
	u32 value = 0;

	memcpy(&value, fn->cfg + reg, size);
	return value;
}

void fake_set(struct fake_fn *fn, u16 reg, unsigned int size, u32 value)
{
	memcpy(fn->cfg + reg, &value, size);
}

void fake_writable(struct fake_fn *fn, u16 reg, unsigned int size, u32 mask)
{
	memcpy(fn->rw + reg, &mask, size);
}

struct fake_fn *fake_add(struct fake_pci *fake, u16 bdf, u16 vendor, u16 device)
{
	struct fake_fn *fn = calloc(1, sizeof(*fn));
	const u16 w1c = STATUS_W1C;

	assert_non_null(fn);
	assert_true(fake->fns < FAKE_FNS_MAX);
	assert_null(fake_at(fake, bdf));
	fake->fn[fake->fns++] = fn;
	fn->bdf = bdf;
	fn->answers = -1;
	fn->next = &fn->cfg[PCI_CAPABILITY_LIST];
	fake_set(fn, PCI_VENDOR_ID, 4, (u32)device << 16 | vendor);
	fake_set(fn, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	fake_set(fn, PCI_STATUS, 2, STATUS_SET);
	fake_writable(fn, PCI_COMMAND, 2, COMMAND_BITS);
	fake_writable(fn, PCI_INTERRUPT_LINE, 1, 0xff);
	memcpy(fn->w1c + PCI_STATUS, &w1c, 2);
	return fn;
}

struct fake_fn *fake_bridge(struct fake_pci *fake, u16 bdf, u8 secondary, u8 subordinate)
{
	struct fake_fn *fn = fake_add(fake, bdf, 0x1b36, 0x000c); /* QEMU's pcie-root-port */

	fake_set(fn, PCI_CLASS_REVISION, 4, 0x06040000);
	fake_set(fn, PCI_HEADER_TYPE, 1, PCI_HEADER_TYPE_BRIDGE);
	fake_set(fn, 0x18, 1, bdf >> 8); /* primary, secondary, subordinate bus (PCIe 7.5.1.3) */
	fake_set(fn, PCI_SECONDARY_BUS, 1, secondary);
	fake_set(fn, 0x1a, 1, subordinate);
	fake_cap(fn, 0x54, PCI_CAP_ID_EXP);
	return fn;
}

void fake_cap(struct fake_fn *fn, u8 pos, u8 id)
{
	fake_set(fn, PCI_STATUS, 2, fake_get(fn, PCI_STATUS, 2) | PCI_STATUS_CAP_LIST);
	*fn->next = pos;
	fn->cfg[pos] = id;
	fn->next = &fn->cfg[pos + 1];
}

void fake_cap_msi(struct fake_fn *fn, u8 pos, u16 features)
{
	bool wide = features & PCI_MSI_FLAGS_64BIT;
	u8 data = (u8)(pos + (wide ? 12 : 8)), mask = (u8)(data + 4); /* PCIe 7.7.1 */

	fake_cap(fn, pos, PCI_CAP_ID_MSI);
	fake_set(fn, pos + 2, 2, features);
	fake_writable(fn, pos + 2, 2, 0x71);
	fake_writable(fn, pos + 4, 4, 0xfffffffc);
	if (wide)
		fake_writable(fn, pos + 8, 4, 0xffffffff);
	fake_writable(fn, data, 2, 0xffff);
	if (features & PCI_MSI_FLAGS_MASKBIT)
		fake_writable(fn, mask, 4, (u32)((1ULL << MIN(1U << (features >> 1 & 7), 32U)) - 1));
}

void fake_cap_msix(struct fake_fn *fn, u8 pos, unsigned int entries, unsigned int bar, u32 offset)
{
	fake_cap(fn, pos, PCI_CAP_ID_MSIX);
	fake_set(fn, pos + 2, 2, entries - 1);
	fake_writable(fn, pos + 2, 2, 0xc000);
	fake_set(fn, pos + 4, 4, offset | bar);
}

void fake_ext_cap(struct fake_fn *fn, u16 pos, u16 id)
{
	if (fn->ext_last)
		fake_set(fn, fn->ext_last, 4, fake_get(fn, fn->ext_last, 4) | (u32)pos << 20);
	fake_set(fn, pos, 4, 1U << 16 | id);
	fn->ext_last = pos;
}

void fake_ari(struct fake_fn *fn, u16 pos, u8 next_function)
{
	fake_ext_cap(fn, pos, PCI_EXT_CAP_ID_ARI);
	fake_set(fn, pos + 5, 1, next_function);
}

void fake_sriov(struct fake_fn *fn, u16 pos, u16 count, u16 offset, u16 stride, u16 vf_device)
{
	fake_ext_cap(fn, pos, PCI_EXT_CAP_ID_SRIOV);
	fake_set(fn, pos + 0x08, 2, PCI_SRIOV_CTRL_VFE);
	fake_set(fn, pos + 0x10, 2, count);
	fake_set(fn, pos + 0x14, 2, offset);
	fake_set(fn, pos + 0x16, 2, stride);
	fake_set(fn, pos + 0x1a, 2, vf_device);
}

static bool is_wide(u64 value)
{
	return (value & (PCI_BASE_ADDRESS_SPACE_IO | PCI_BASE_ADDRESS_MEM_TYPE_MASK)) == PCI_BASE_ADDRESS_MEM_TYPE_64;
}

/* PCIe 7.5.1.2.1: the address bits below the size are hardwired to 0. */
void fake_bar_register(struct fake_fn *fn, unsigned int bar, u64 value, u64 size)
{
	u16 reg = (u16)(PCI_BASE_ADDRESS_0 + 4 * bar);
	u64 mask = size ? ~(size - 1) : 0;

	assert_true(!size || (size >= 16 && !(size & (size - 1)) && !(value & ~0xfULL & ~mask)));
	fake_set(fn, reg, 4, (u32)value);
	fake_writable(fn, reg, 4, (u32)mask);
	if (is_wide(value)) {
		fake_set(fn, reg + 4, 4, (u32)(value >> 32));
		fake_writable(fn, reg + 4, 4, (u32)(mask >> 32));
	}
}

u64 fake_bar_value(const struct fake_fn *fn, unsigned int bar)
{
	u16 reg = (u16)(PCI_BASE_ADDRESS_0 + 4 * bar);
	u32 low = fake_get(fn, reg, 4);

	return is_wide(low) ? low | (u64)fake_get(fn, reg + 4, 4) << 32 : low;
}

struct fake_mem *fake_bar(struct fake_pci *fake, struct fake_fn *fn, unsigned int bar, u64 base, u64 size, bool wide)
{
	struct fake_mem *mem = &fake->mem[fake->mems++];

	assert_true(fake->mems <= FAKE_MEMS_MAX);
	fake_bar_register(fn, bar, base | (wide ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0), size);
	*mem = (struct fake_mem){ .base = base, .size = size, .fn = fn, .bar = bar, .bytes = calloc(1, size) };
	assert_non_null(mem->bytes);
	return mem;
}

u32 fake_mem_get(const struct fake_mem *mem, u64 offset, unsigned int size)
{
	u32 value = 0;

	memcpy(&value, mem->bytes + offset, size);
	return value;
}

void fake_mem_set(struct fake_mem *mem, u64 offset, unsigned int size, u32 value)
{
	memcpy(mem->bytes + offset, &value, size);
}

/* --- devices --- */

struct fake_fn *fake_edu(struct fake_pci *fake, u16 bdf)
{
	struct fake_fn *fn = fake_add(fake, bdf, 0x1234, 0x11e8);

	fake_cap_msi(fn, FAKE_EDU_MSI, PCI_MSI_FLAGS_64BIT);
	fake_bar(fake, fn, 0, FAKE_EDU_BAR, MIB, false);
	fake_set(fn, PCI_INTERRUPT_PIN, 1, 1);
	fake_set(fn, PCI_INTERRUPT_LINE, 1, 11);
	return fn;
}

/* virtio 1.2, 4.1.4: vendor-specific capability: length, type, BAR, offset, length; notifications have a multiplier, too. */
static void virtio_cap(struct fake_fn *fn, u8 pos, u8 type, u32 offset, u32 length, int multiplier)
{
	fake_cap(fn, pos, PCI_CAP_ID_VNDR);
	fake_set(fn, pos + 2, 1, multiplier ? 20 : 16);
	fake_set(fn, pos + 3, 1, type);
	fake_set(fn, pos + 4, 1, 4);
	fake_set(fn, pos + 8, 4, offset);
	fake_set(fn, pos + 12, 4, length);
	if (multiplier)
		fake_set(fn, pos + 16, 4, (u32)multiplier);
}

struct fake_fn *fake_virtio_blk(struct fake_pci *fake, u16 bdf)
{
	struct fake_fn *fn = fake_add(fake, bdf, 0x1af4, 0x1042);

	fake_cap_msix(fn, FAKE_BLK_MSIX, FAKE_BLK_VECTORS, 1, 0);
	virtio_cap(fn, 0x84, 5, 0, 0, 0); /* PCI_CFG: a window that is not used */
	virtio_cap(fn, 0x70, 2, 0x3000, 0x1000, 4);
	virtio_cap(fn, 0x60, 4, 0x2000, 0x1000, 0);
	virtio_cap(fn, 0x50, 3, 0x1000, 0x1000, 0);
	virtio_cap(fn, 0x40, 1, 0x0000, 0x1000, 0);
	fake_bar(fake, fn, 1, FAKE_BLK_MSIX_BAR, 0x1000, false);
	fake_bar(fake, fn, 4, FAKE_BLK_BAR, FAKE_BLK_BAR_SIZE, true);
	fake_set(fn, PCI_INTERRUPT_PIN, 1, 1);
	fake_set(fn, PCI_INTERRUPT_LINE, 1, 10);
	return fn;
}

struct fake_pci *fake_tree(void)
{
	const u16 running = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	struct fake_pci *fake = fake_pci_new();
	struct fake_fn *fn;

	fake_bridge(fake, TREE_BRIDGE, 1, 1);
	fake_add(fake, TREE_PLAIN, 0x8086, 0x100e);
	fn = fake_edu(fake, TREE_EDU);
	fake_set(fn, PCI_COMMAND, 2, running | PCI_COMMAND_INTX_DISABLE);
	fake_set(fn, FAKE_EDU_MSI + 2, 2, PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_ENABLE);
	fn = fake_virtio_blk(fake, TREE_BLK);
	fake_set(fn, PCI_COMMAND, 2, running | PCI_COMMAND_INTX_DISABLE);
	fake_set(fn, FAKE_BLK_MSIX + 2, 2, (FAKE_BLK_VECTORS - 1) | PCI_MSIX_FLAGS_ENABLE);
	return fake;
}

void fake_enumerate(struct fake_pci *fake, struct fake_devs *devs)
{
	*devs = (struct fake_devs){ .pci = { .capacity = FAKE_DEVS_MAX } };
	devs->pci.dev = devs->dev;
	assert_int_equal(pci_enumerate(&devs->pci, &fake->access), OK);
	fake_clear_log(fake);
}

struct pci_dev *fake_dev(struct fake_devs *devs, u16 bdf)
{
	for (unsigned int i = 0; i < devs->pci.count; i++)
		if (devs->dev[i].bdf == bdf)
			return &devs->dev[i];
	fail_msg("the enumeration has not found %02x:%02x.%x", PCI_BUS(bdf), PCI_DEV(bdf), PCI_FN(bdf));
	return NULL;
}

void fake_sized(const struct fake_pci *fake, struct pci_dev *dev)
{
	for (unsigned int i = 0; i < fake->mems; i++)
		if (fake->mem[i].fn->bdf == dev->bdf)
			dev->bar_size[fake->mem[i].bar] = fake->mem[i].size;
}

/* --- checks --- */

void fake_clear_log(struct fake_pci *fake)
{
	fake->logged = 0;
}

bool fake_is_write(const struct fake_access *a)
{
	return a->kind == FAKE_CFG_WRITE || a->kind == FAKE_MEM_WRITE;
}

unsigned int fake_writes(const struct fake_pci *fake)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < fake->logged; i++)
		n += fake_is_write(&fake->log[i]);
	return n;
}

bool fake_writes_are(const struct fake_pci *fake, const struct fake_access *want, size_t n)
{
	size_t at = 0;

	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i], *b;

		if (!fake_is_write(a))
			continue;
		if (at == n)
			return false;
		b = &want[at++];
		if (a->kind != b->kind || a->bdf != b->bdf || a->where != b->where || a->size != b->size || a->value != b->value)
			return false;
	}
	return at == n;
}

bool fake_status_spared(const struct fake_pci *fake)
{
	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i];

		if (a->kind == FAKE_CFG_WRITE && a->where < PCI_STATUS + 2 && a->where + a->size > PCI_STATUS)
			return false;
	}
	return true;
}

void fake_print(const struct fake_pci *fake)
{
	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i];

		if (!fake_is_write(a))
			continue;
		if (a->kind == FAKE_CFG_WRITE)
			print_message("wrote %02x:%02x.%x 0x%02lx <- 0x%0*x\n", PCI_BUS(a->bdf), PCI_DEV(a->bdf), PCI_FN(a->bdf),
				      a->where, 2 * a->size, a->value);
		else
			print_message("wrote memory 0x%lx <- 0x%0*x\n", a->where, 2 * a->size, a->value);
	}
}
