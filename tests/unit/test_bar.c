/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: pci_map_bar finds the address of an assigned memory BAR, of both widths, and of nothing else; it maps what is inside one,
 * and neither 0 bytes nor what reaches past it, after sizing it once with memory decoding off, and restores the register. On
 * success the function decodes memory; on failure as before, and not at all where the register was not restored. The same holds of
 * pci_map_io_bar, an assigned I/O BAR, and I/O decoding. Could be false: the low bits are flags, a 64-bit BAR takes two registers,
 * a bridge has two BARs, and the last one may claim to be half of a 64-bit one (PCIe 7.5.1.2.1); offset and size come from the
 * device and may wrap; a register that is left with ones moves the device, one that holds them while it decodes responds at another
 * device's address; what the ones read back as comes from the device, too. Provoked: one register value a row, one extent a row,
 * one wrong size a row, each with memory decoding on and off before; a register that keeps its ones; a function that is removed at
 * each access in turn. Failure: another address, another list of writes, or a BAR that decodes away from its place.
 */
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

#define BDF PCI_BDF(0, 1, 0)

static const struct row {
	const char *what;
	unsigned int bar;
	u32 low;
	u32 high;
	u8 header_type;
	enum status want;
	u64 address;
} rows[] = {
	{ "32 bits", 0, 0xfebf1000, 0, 0, OK, 0xfebf1000 },
	{ "32 bits, prefetchable: the neighbour is not its upper half", 1, 0xfe000008, 0x12345678, 0, OK, 0xfe000000 },
	{ "below 1 MiB (type 1, reserved since PCI 2.2)", 2, 0x000c0002, 0, 0, OK, 0xc0000 },
	{ "64 bits above 4 GiB", 4, 0x0000000c, 0x8, 0, OK, 0x800000000 },
	{ "64 bits below 4 GiB", 0, 0xe0000004, 0, 0, OK, 0xe0000000 },
	{ "64 bits whose lower half is 0", 2, 0x00000004, 0x1, 0, OK, 0x100000000 },
	{ "I/O", 0, 0x0000c041, 0, 0, ERR_ABSENT, 0 },
	{ "not assigned", 0, 0, 0, 0, ERR_ABSENT, 0 },
	{ "not assigned, 64 bits", 0, 0x00000004, 0, 0, ERR_ABSENT, 0 },
	{ "all ones", 0, 0xffffffff, 0, 0, ERR_ABSENT, 0 },
	{ "the last claims 64 bits", 5, 0xfe000004, 0xffff, 0, ERR_ABSENT, 0 },
	{ "no such BAR", 6, 0xfe000000, 0, 0, ERR_ABSENT, 0 },
	{ "no such BAR, as MSI-X can name it", 7, 0xfe000000, 0, 0, ERR_ABSENT, 0 },
	{ "of a bridge", 1, 0xfe000000, 0, 1, OK, 0xfe000000 },
	{ "a bridge's last claims 64 bits", 1, 0xfe000004, 0, 1, ERR_ABSENT, 0 },
	{ "a bridge has two: the third is its bus numbers", 2, 0x00020100, 0, 1, ERR_ABSENT, 0 },
	{ "of an unknown header type", 0, 0xfe000000, 0, 2, ERR_ABSENT, 0 },
	{ "of a removed one", 0, 0xfe000000, 0, 0x7f, ERR_ABSENT, 0 },
};

/* As if they had been sized already. */
static void know_sizes(struct pci_dev *dev)
{
	for (size_t i = 0; i < ARRAY_SIZE(dev->bar_size); i++)
		dev->bar_size[i] = 16;
}

/* Whether the function under test returns what a row expects. */
static bool row_holds(const struct row *row)
{
	struct fake_pci *fake = fake_pci_new();
	struct fake_fn *fn = fake_add(fake, BDF, 0x1111, 0x2222);
	struct pci_dev dev = { .access = &fake->access, .bdf = BDF, .header_type = row->header_type };
	u64 address = 0;
	enum status s;

	fake_log_start();
	know_sizes(&dev);
	fake_set(fn, (u16)(0x10 + 4 * row->bar), 4, row->low);
	fake_set(fn, (u16)(0x14 + 4 * row->bar), 4, row->high);
	s = pci_map_bar(&dev, "test", row->bar, 0, 1, &address);
	assert_no_writes(fake);
	fake_pci_free(fake);
	return s == row->want && (s != OK || address == row->address);
}

static void every_kind_of_bar_is_understood(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (!row_holds(&rows[i]))
			fail_msg("BAR %u 0x%08x: %s", rows[i].bar, rows[i].low, rows[i].what);
}

/* What is written there as to a 32-bit BAR would move the 64-bit one. */
static void the_upper_half_of_a_bar_is_none(void **state)
{
	struct fake_pci *f = fake_pci_new();
	struct fake_fn *both = fake_add(f, BDF, 0x1111, 0x2222);
	struct pci_dev d = { .access = &f->access, .bdf = BDF };
	u64 address;

	(void)state;
	fake_log_start();
	know_sizes(&d);
	fake_set(both, 0x10, 4, 0x4); /* 0 and 1, then 2, then 3 and 4 */
	fake_set(both, 0x14, 4, 0x812);
	fake_set(both, 0x18, 4, 0x0000c005); /* I/O, whose bit 2 is the address's */
	fake_set(both, 0x1c, 4, 0xfc000004);
	fake_set(both, 0x20, 4, 0x804); /* looks like the first half of another */
	fake_set(both, 0x24, 4, 0xfd000000);
	for (unsigned int bar = 0; bar < 6; bar++)
		assert_int_equal(pci_map_bar(&d, "test", bar, 0, 1, &address), bar == 1 || bar == 2 || bar == 4 ? ERR_ABSENT : OK);
	assert_int_equal(address, 0xfd000000);
	fake_pci_free(f);
}

static void a_wrong_expectation_is_caught(void **state)
{
	struct row wrong = rows[3];

	(void)state;
	wrong.address = 0x80000000c; /* as if the flags were part of it */
	assert_false(row_holds(&wrong));
	wrong = rows[6];
	wrong.want = OK;
	assert_false(row_holds(&wrong));
}

/* --- mapping --- */

#define COMMAND_ON  0x0007
#define COMMAND_OFF 0x0005 /* as before, without memory decoding */
#define ONES	    0xffffffff

static struct fake_pci *fake;
static struct fake_fn *fn;
static struct pci_dev dev;
static u64 placed; /* where the BAR of the function is, with its flags */
static unsigned int placed_bar;
static bool astray; /* it decoded memory elsewhere */

static void watch_place(struct fake_pci *f, const struct fake_access *a)
{
	(void)f;
	(void)a;
	astray |= fake_get(fn, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY && fake_bar_value(fn, placed_bar) != placed;
}

static void make(unsigned int bar, u64 value, u64 size, u16 command)
{
	fake_log_start();
	fake = fake_pci_new();
	fn = fake_add(fake, BDF, 0x1111, 0x2222);
	fake_set(fn, PCI_COMMAND, 2, command);
	fake_bar_register(fn, bar, value, size);
	dev = (struct pci_dev){ .access = &fake->access, .bdf = BDF };
	placed = value;
	placed_bar = bar;
	astray = false;
	fake->watch = watch_place;
}

static bool is_wide(u64 value)
{
	return (value & 0x7) == 0x4;
}

static bool decodes(u16 command)
{
	return command & PCI_COMMAND_MEMORY;
}

/* The writes that sizing the BAR takes (PCIe 7.5.1.2.1) from one command to the other, and no other. */
static bool asked_for_size(u16 before, u16 after)
{
	u16 reg = (u16)(0x10 + 4 * placed_bar);
	struct fake_access want[6];
	size_t n = 0;

	if (decodes(before))
		want[n++] = (struct fake_access)CFG_W16(BDF, PCI_COMMAND, COMMAND_OFF);
	want[n++] = (struct fake_access)CFG_W32(BDF, reg, ONES);
	if (is_wide(placed))
		want[n++] = (struct fake_access)CFG_W32(BDF, reg + 4U, ONES);
	want[n++] = (struct fake_access)CFG_W32(BDF, reg, (u32)placed);
	if (is_wide(placed))
		want[n++] = (struct fake_access)CFG_W32(BDF, reg + 4U, (u32)(placed >> 32));
	if (decodes(after))
		want[n++] = (struct fake_access)CFG_W16(BDF, PCI_COMMAND, COMMAND_ON);
	return fake_writes_are(fake, want, n);
}

static const struct kind {
	const char *what;
	unsigned int bar;
	u64 value;
	u64 size;
} kinds[] = {
	{ "the smallest there is", 0, 0xfebf1000, 16 },
	{ "32 bits", 2, 0xfebf1000, 0x1000 },
	{ "32 bits, prefetchable, the last", 5, 0xfe000008, MIB },
	{ "32 bits, one writable bit", 1, 0x80000000, 0x80000000 },
	{ "below 1 MiB", 3, 0x000c0002, 0x4000 },
	{ "64 bits below 4 GiB", 0, 0xe0000004, 0x1000 },
	{ "64 bits, prefetchable, the last two", 4, 0x80000000c, 0x4000 },
	{ "64 bits, 2 GiB", 0, 0x480000004, 0x80000000 },
	{ "64 bits, 4 GiB: no writable bit in the lower half", 2, 0x10000000c, 0x100000000 },
	{ "64 bits, 8 GiB", 2, 0x80000000c, 0x200000000 },
};

/* Extents, relative to the BAR's size. */
static const struct extent {
	const char *what;
	bool from_end; /* offset is counted from there */
	u64 offset;
	u64 size;
	enum status want;
} extents[] = {
	{ "the first byte", false, 0, 1, OK },
	{ "the last byte", true, -1ULL, 1, OK },
	{ "the last 16", true, -16ULL, 16, OK },
	{ "nothing", false, 0, 0, ERR_RANGE },
	{ "nothing, at the end", true, 0, 0, ERR_RANGE },
	{ "one byte beyond", true, -15ULL, 16, ERR_RANGE },
	{ "the next byte", true, 0, 1, ERR_RANGE },
	{ "nothing, after the end", true, 1, 0, ERR_RANGE },
	{ "a size that wraps", false, 1, -1ULL, ERR_RANGE },
	{ "a size that wraps to the end", false, 16, -16ULL, ERR_RANGE },
	{ "an offset that wraps", false, -1ULL, 1, ERR_RANGE },
	{ "an offset that wraps to the start", false, -16ULL, 32, ERR_RANGE },
};

/* The whole claim for one BAR and one extent in it. */
static bool extent_holds(const struct kind *kind, const struct extent *extent, u16 command)
{
	u64 offset = extent->offset + (extent->from_end ? kind->size : 0), address = 0x5a;
	u16 after = extent->want == OK ? COMMAND_ON : command;
	bool holds;

	make(kind->bar, kind->value, kind->size, command);
	holds = pci_map_bar(&dev, "thing", kind->bar, offset, extent->size, &address) == extent->want;
	holds &= asked_for_size(command, after) && !astray;
	holds &= fake_bar_value(fn, kind->bar) == kind->value && fake_get(fn, PCI_COMMAND, 2) == after;
	holds &= dev.bar_size[kind->bar] == kind->size;
	if (extent->want == OK) {
		holds &= address == (kind->value & ~0xfULL) + offset && fake->maps == 1;
		holds &= fake->mapped[0].start == address && fake->mapped[0].end == address + extent->size;
	} else {
		holds &= address == 0x5a && !fake->maps && fake_log_has("pci 0000:00:01.0 thing is at 0x");
	}
	/* It was sized once: the device may be in use the next time. */
	fake_clear_log(fake);
	holds &= pci_map_bar(&dev, "thing", kind->bar, offset, extent->size, &address) == extent->want && !fake_writes(fake);
	fake_pci_free(fake);
	return holds;
}

static void what_is_in_a_bar_is_mapped_and_nothing_beyond(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (size_t e = 0; e < ARRAY_SIZE(extents); e++)
			for (u16 command = COMMAND_OFF; command <= COMMAND_ON; command += 2)
				if (!extent_holds(&kinds[k], &extents[e], command))
					fail_msg("%s: %s, command 0x%x", kinds[k].what, extents[e].what, command);
}

static void a_wrong_extent_is_caught(void **state)
{
	struct extent wrong = extents[5];
	struct kind other = kinds[1];

	(void)state;
	wrong.want = OK;
	assert_false(extent_holds(&kinds[0], &wrong, COMMAND_ON));
	wrong = extents[0];
	wrong.want = ERR_RANGE;
	assert_false(extent_holds(&kinds[0], &wrong, COMMAND_ON));
	wrong = extents[3];
	wrong.want = OK;
	assert_false(extent_holds(&kinds[0], &wrong, COMMAND_ON));
	other.value |= 4; /* as if it took two registers: the upper half would be another BAR's */
	other.bar = 5;
	assert_false(extent_holds(&other, &extents[0], COMMAND_ON));
}

static void a_bar_that_holds_ones_while_it_decodes_is_caught(void **state)
{
	(void)state;
	for (int off_first = 0; off_first < 2; off_first++) {
		make(0, 0xfe000000, 0x1000, COMMAND_ON);
		if (off_first)
			pci_disable_memory(&dev);
		pci_write_config_dword(&dev, 0x10, ONES);
		pci_write_config_dword(&dev, 0x10, 0xfe000000);
		pci_enable_memory(&dev);
		assert_int_equal(astray, !off_first);
		assert_int_equal(asked_for_size(COMMAND_ON, COMMAND_ON), off_first);
		fake_pci_free(fake);
	}
}

/* It may have been turned off since then. */
static void what_was_sized_before_decodes_again(void **state)
{
	static const struct fake_access want[] = { CFG_W16(BDF, PCI_COMMAND, COMMAND_ON) };
	u64 address;

	(void)state;
	make(0, 0xfe000000, 0x1000, COMMAND_ON);
	assert_int_equal(pci_map_bar(&dev, "thing", 0, 0, 16, &address), OK);
	fake_set(fn, PCI_COMMAND, 2, COMMAND_OFF);
	fake_clear_log(fake);
	assert_int_equal(pci_map_bar(&dev, "thing", 0, 0, 0x1001, &address), ERR_RANGE); /* the twin: nothing is mapped */
	assert_no_writes(fake);
	assert_int_equal(pci_map_bar(&dev, "thing", 0, 0x10, 16, &address), OK);
	assert_writes(fake, want);
	fake_pci_free(fake);
}

static void what_is_in_no_memory_bar_is_absent_with_a_line_and_nothing_written(void **state)
{
	u64 address;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].want == OK)
			continue;
		make(0, 0, 0, COMMAND_ON);
		dev.header_type = rows[i].header_type;
		fake_set(fn, (u16)(0x10 + 4 * rows[i].bar), 4, rows[i].low);
		fake_set(fn, (u16)(0x14 + 4 * rows[i].bar), 4, rows[i].high);
		if (pci_map_bar(&dev, "thing", rows[i].bar, 0, 16, &address) != ERR_ABSENT)
			fail_msg("BAR %u 0x%08x: %s", rows[i].bar, rows[i].low, rows[i].what);
		assert_no_writes(fake);
		assert_one_line("pci 0000:00:01.0 thing is in BAR");
		fake_pci_free(fake);
	}
}

static void what_cannot_be_mapped_is_an_error(void **state)
{
	(void)state;
	for (u16 command = COMMAND_OFF; command <= COMMAND_ON; command += 2) {
		u64 address = 0x5a;

		make(0, 0xfe000000, 0x1000, command);
		fake->map_fails = true;
		assert_int_equal(pci_map_bar(&dev, "thing", 0, 0, 16, &address), ERR_RANGE);
		assert_int_equal(address, 0x5a); /* it is not returned */
		assert_true(asked_for_size(command, command));
		fake->map_fails = false; /* the twin */
		assert_int_equal(pci_map_bar(&dev, "thing", 0, 0, 16, &address), OK);
		assert_int_equal(fake_get(fn, PCI_COMMAND, 2), COMMAND_ON);
		fake_pci_free(fake);
	}
}

/* --- I/O --- */

static const struct io_row {
	const char *what;
	u32 value;
	u32 writable; /* bits of the register */
	u64 offset;
	u64 size;
	enum status want;
	u64 room; /* its size, 0 where it is not read */
} io_rows[] = {
	{ "a UART's", 0xc041, 0xfffffff8, 0, 8, OK, 8 },
	{ "16 bits, as a device for PCs may have it", 0xc041, 0x0000fff8, 0, 8, OK, 8 },
	{ "the smallest there is", 0xc045, 0xfffffffc, 0, 4, OK, 4 },
	{ "the last byte of the largest", 0xc001, 0xffffff00, 255, 1, OK, 256 },
	{ "the last ports of all", 0xff01, 0xffffff00, 0, 256, OK, 256 },
	{ "too small", 0xc045, 0xfffffffc, 0, 8, ERR_RANGE, 4 },
	{ "one port beyond", 0xc041, 0xfffffff8, 1, 8, ERR_RANGE, 8 },
	{ "an offset that wraps", 0xc041, 0xfffffff8, -1ULL, 2, ERR_RANGE, 8 },
	{ "too small: a bit of its address is hardwired to 1", 0xc045, 0xfffffff8, 0, 8, ERR_RANGE, 4 },
	{ "no writable bit: as large as its address allows", 0xc041, 0, 0, 8, OK, 64 },
	{ "not assigned", 0x0001, 0xfffffff8, 0, 8, ERR_ABSENT, 0 },
	{ "beyond the ports of a CPU", 0x1c041, 0xfffffff8, 0, 8, ERR_ABSENT, 0 },
	{ "a memory BAR", 0xc040, 0xfffffff0, 0, 8, ERR_ABSENT, 0 },
	{ "a memory BAR of 64 bits", 0xc044, 0xfffffff0, 0, 8, ERR_ABSENT, 0 },
	{ "all ones", ONES, ONES, 0, 8, ERR_ABSENT, 0 },
};

static bool io_decodes_away; /* while its register holds something else */

static void watch_io(struct fake_pci *f, const struct fake_access *a)
{
	(void)f;
	(void)a;
	io_decodes_away |= fake_get(fn, PCI_COMMAND, 2) & PCI_COMMAND_IO && fake_get(fn, 0x10, 4) != placed;
}

static bool io_row_holds(const struct io_row *row, bool on)
{
	const u16 off_command = 0x0006, on_command = 0x0007, before = on ? on_command : off_command;
	const u16 after = row->want == OK ? on_command : before;
	u16 port = 0x5a;
	bool holds;

	make(0, 0, 0, before);
	fake_set(fn, 0x10, 4, row->value);
	fake_writable(fn, 0x10, 4, row->writable);
	placed = row->value;
	io_decodes_away = false;
	fake->watch = watch_io;
	holds = pci_map_io_bar(&dev, "thing", 0, row->offset, row->size, &port) == row->want && !io_decodes_away;
	holds &= fake_get(fn, 0x10, 4) == row->value && fake_get(fn, PCI_COMMAND, 2) == after;
	holds &= dev.bar_size[0] == row->room && !fake->maps && fake_status_spared(fake);
	holds &= port == (row->want == OK ? (row->value & 0xfffc) + row->offset : 0x5a);
	holds &= (fake_writes(fake) == 0) == (row->want == ERR_ABSENT);
	if (row->want == ERR_ABSENT)
		holds &= fake_log_has("pci 0000:00:01.0 thing is in BAR 0, which is not an assigned I/O BAR");
	if (row->want == ERR_RANGE)
		holds &= fake_log_has("pci 0000:00:01.0 thing is at 0x");
	fake_clear_log(fake);
	holds &= pci_map_io_bar(&dev, "thing", 0, row->offset, row->size, &port) == row->want;
	holds &= !row->room || !fake_writes(fake); /* it was sized once */
	fake_pci_free(fake);
	return holds;
}

static void what_is_in_an_io_bar_has_a_port_and_nothing_beyond(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(io_rows); i++)
		for (int on = 0; on < 2; on++)
			if (!io_row_holds(&io_rows[i], on))
				fail_msg("0x%08x: %s, I/O decoding %s", io_rows[i].value, io_rows[i].what, on ? "on" : "off");
}

static void a_wrong_io_row_is_caught(void **state)
{
	struct io_row wrong = io_rows[0];

	(void)state;
	wrong.want = ERR_ABSENT;
	assert_false(io_row_holds(&wrong, true));
	wrong = io_rows[5];
	wrong.want = OK;
	assert_false(io_row_holds(&wrong, true));
	wrong = io_rows[12];
	wrong.want = OK;
	assert_false(io_row_holds(&wrong, false));
}

/* What holds ones while memory is off, and I/O on, would respond at the last ports. */
static void one_whose_io_cannot_be_turned_off_is_not_sized(void **state)
{
	u16 port;

	(void)state;
	make(0, 0, 0, 0x0007);
	fake_set(fn, 0x10, 4, 0xc041);
	fake_writable(fn, 0x10, 4, 0xfffffff8);
	fake_writable(fn, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	fake->watch = NULL;
	assert_int_equal(pci_map_io_bar(&dev, "thing", 0, 0, 8, &port), ERR_RANGE);
	for (unsigned int i = 0; i < fake->logged; i++)
		assert_false(fake->log[i].kind == FAKE_CFG_WRITE && fake->log[i].value == ONES);
	fake_writable(fn, PCI_COMMAND, 2, 0x0007); /* the twin */
	assert_int_equal(pci_map_io_bar(&dev, "thing", 0, 0, 8, &port), OK);
	fake_pci_free(fake);
}

static u16 keeper; /* a register that keeps what it holds when it was given ones; 0: none */

static void watch_keeper(struct fake_pci *f, const struct fake_access *a)
{
	static u32 kept;

	if (a->kind == FAKE_CFG_WRITE && a->where == keeper) {
		if (a->value == ONES)
			kept = fake_get(fn, keeper, 4);
		fake_set(fn, keeper, 4, kept);
	}
	watch_place(f, a);
}

static void one_that_is_not_back_in_its_place_decodes_nothing(void **state)
{
	static const struct {
		const struct kind *kind;
		u16 keeper;
	} keepers[] = { { &kinds[1], 0x18 }, { &kinds[6], 0x20 }, { &kinds[6], 0x24 }, { &kinds[1], 0 }, { &kinds[6], 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keepers); i++) {
		for (u16 command = COMMAND_OFF; command <= COMMAND_ON; command += 2) {
			const struct kind *kind = keepers[i].kind;
			bool back = !keepers[i].keeper; /* the twin */
			u16 after = back ? COMMAND_ON : COMMAND_OFF;
			u64 address;

			make(kind->bar, kind->value, kind->size, command);
			keeper = keepers[i].keeper;
			fake->watch = watch_keeper;
			assert_int_equal(pci_map_bar(&dev, "thing", kind->bar, 0, 16, &address), back ? OK : ERR_RANGE);
			assert_int_equal(fake_bar_value(fn, kind->bar) == kind->value, back);
			assert_int_equal(fake_log_has("the BAR has 0"), !back);
			assert_int_equal(fake->maps, back);
			assert_true(asked_for_size(command, after));
			assert_int_equal(fake_get(fn, PCI_COMMAND, 2), after);
			assert_false(astray);
			fake_pci_free(fake);
		}
	}
}

/* --- wrong sizes --- */

static u64 readback; /* what the BAR reads back as when it was written with ones */

static void watch_lie(struct fake_pci *f, const struct fake_access *a)
{
	u16 reg = (u16)(0x10 + 4 * placed_bar);

	(void)f;
	if (a->kind != FAKE_CFG_WRITE || (a->where & ~4ULL) != reg)
		return;
	if (a->value == ONES)
		fake_set(fn, (u16)a->where, 4, (u32)(readback >> 8 * (a->where - reg)));
	else
		fake_set(fn, (u16)a->where, 4, a->value);
}

static void what_the_ones_read_back_as_is_used_only_as_a_size(void **state)
{
	static const struct {
		const char *what;
		u64 value;
		u64 readback;
		u64 size; /* 0: it has none */
	} readbacks[] = {
		{ "no writable bit", 0xfe000000, 0, 0 },
		{ "no writable bit but flags", 0xfe000008, 0x8, 0 },
		{ "all ones", 0xfe000000, ONES, 0 },
		{ "now I/O", 0xfe000000, 0xfffff001, 0 },
		{ "now 64 bits", 0xfe000000, 0xfffff004, 0 },
		{ "now 32 bits", 0x8fe000004, 0xfffffffffffff000, 0 },
		{ "64 bits, none writable", 0x8fe000004, 0x4, 0 },
		{ "64 bits, all ones", 0x8fe000004, -1ULL, 0 },
		{ "a hole in the mask: the lowest bit counts", 0xfe000000, 0xf0f04000, 0x4000 },
		{ "64 bits, only the lower half writable", 0xfe000004, 0xffff0004, 0x10000 },
		{ "64 bits, only one bit writable", 0x8000000000000004, 0x8000000000000004, 0x8000000000000000 },
		{ "as it was", 0xfe000000, 0xfe000000, 0x2000000 },
		{ "larger than its address allows", 0xfe000000, 0x80000000, 0 },
		{ "so large that the end of it would wrap", 0xfffffffe00000004, 0x8000000000000004, 0 },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(readbacks); i++) {
		const u64 value = readbacks[i / 2].value, size = readbacks[i / 2].size;
		const u16 command = i % 2 ? COMMAND_ON : COMMAND_OFF;
		u64 address;

		make(0, value, 16, command);
		fake_writable(fn, 0x10, 4, ONES);
		fake_writable(fn, 0x14, 4, is_wide(value) ? ONES : 0);
		fake->watch = watch_lie;
		readback = readbacks[i / 2].readback;
		if (pci_map_bar(&dev, "thing", 0, 0, size + 1, &address) != ERR_RANGE)
			fail_msg("%s: more than %lu bytes", readbacks[i / 2].what, size);
		assert_true(asked_for_size(command, command));
		assert_int_equal(fake_get(fn, PCI_COMMAND, 2), command);
		if (size && pci_map_bar(&dev, "thing", 0, 0, size, &address) != OK)
			fail_msg("%s: not %lu bytes", readbacks[i / 2].what, size);
		assert_true(fake_bar_value(fn, 0) == value);
		assert_int_equal(fake_get(fn, PCI_COMMAND, 2), size ? COMMAND_ON : command);
		fake_pci_free(fake);
	}
}

/* Nor is a BAR sized whose decoding cannot be turned off. */
static void one_whose_memory_cannot_be_turned_off_is_not_sized(void **state)
{
	u64 address;

	(void)state;
	for (int writable = 0; writable < 2; writable++) {
		make(0, 0xfe000000, 0x1000, COMMAND_ON);
		fake_writable(fn, PCI_COMMAND, 2, writable ? 0x0547 : 0x0545);
		assert_int_equal(pci_map_bar(&dev, "thing", 0, 0, 16, &address), writable ? OK : ERR_RANGE);
		assert_false(astray);
		assert_int_equal(fake_writes(fake), writable ? 4 : 1);
		fake_pci_free(fake);
	}
}

/* Once a read has shown that it was removed, only what was changed is restored. */
static void a_function_that_is_removed_while_it_is_sized_is_an_error(void **state)
{
	static const struct {
		const struct kind *kind;
		u16 command;
	} gone[] = { { &kinds[1], COMMAND_ON }, { &kinds[6], COMMAND_ON }, { &kinds[1], COMMAND_OFF }, { &kinds[6], COMMAND_OFF } };

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(gone); k++) {
		const struct kind *kind = gone[k].kind;
		unsigned int all = 0, needed = 0;

		for (int n = -1; n < (int)all || n < 0; n++) {
			u64 address;
			enum status s;

			make(kind->bar, kind->value, kind->size, gone[k].command);
			fake->watch = NULL;
			fn->answers = n;
			s = pci_map_bar(&dev, "thing", kind->bar, 0, kind->size, &address);
			if (n < 0) { /* the twin: it stays, and this is how long it takes */
				assert_int_equal(s, OK);
				all = needed = fake->logged;
				while (fake->log[needed - 1].where == PCI_COMMAND) /* to decode again */
					needed--;
			} else {
				assert_true(fake->logged <= all);
				if (n < (int)needed && s == OK)
					fail_msg("%s: removed after %d accesses, and mapped", kind->what, n);
			}
			for (unsigned int i = 0, removed = 0; i < fake->logged; i++) {
				const struct fake_access *a = &fake->log[i];

				removed |= a->lost && !fake_is_write(a);
				if (removed && fake_is_write(a) && (a->where == PCI_COMMAND || a->value == ONES))
					fail_msg("%s: removed after %d accesses, and written to", kind->what, n);
			}
			fake_pci_free(fake);
		}
		assert_uint_in_range(all - needed, 2, 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_bar_is_understood),
		cmocka_unit_test(the_upper_half_of_a_bar_is_none),
		cmocka_unit_test(a_wrong_expectation_is_caught),
		cmocka_unit_test(what_is_in_a_bar_is_mapped_and_nothing_beyond),
		cmocka_unit_test(a_wrong_extent_is_caught),
		cmocka_unit_test(a_bar_that_holds_ones_while_it_decodes_is_caught),
		cmocka_unit_test(what_was_sized_before_decodes_again),
		cmocka_unit_test(what_is_in_no_memory_bar_is_absent_with_a_line_and_nothing_written),
		cmocka_unit_test(what_cannot_be_mapped_is_an_error),
		cmocka_unit_test(what_is_in_an_io_bar_has_a_port_and_nothing_beyond),
		cmocka_unit_test(a_wrong_io_row_is_caught),
		cmocka_unit_test(one_whose_io_cannot_be_turned_off_is_not_sized),
		cmocka_unit_test(one_that_is_not_back_in_its_place_decodes_nothing),
		cmocka_unit_test(what_the_ones_read_back_as_is_used_only_as_a_size),
		cmocka_unit_test(one_whose_memory_cannot_be_turned_off_is_not_sized),
		cmocka_unit_test(a_function_that_is_removed_while_it_is_sized_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
