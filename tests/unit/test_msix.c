/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: MSI-X is programmed in Linux's order (msix_capability_init: on and masked as a whole, entries, INTx off, every mask bit,
 * unmasked as a whole), wherever in a BAR the table is, so that no message of the previous kernel can leave; a table that is not
 * wholly in a memory BAR is refused; shutdown and init do what their commits did. Could be false: the table survives the enable bit
 * with the previous kernel's messages unmasked and pending; those beyond the entries in use are easy to miss; where the table is,
 * and its size, come from the function. Provoked: a table full of unmasked stale messages, all pending, in every kind of BAR; a
 * model that delivers what is pending as soon as it is not masked. Failure: another list of writes, a stale message delivered, or
 * an access outside the table.
 */
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

#define BDF	PCI_BDF(0, 4, 0)
#define CAP	0x70
#define CTRL	(CAP + 2)
#define BAR	0x812340000
#define TABLE	(BAR + 0x2000)
#define ENTRIES 4

static const struct msi_message messages[] = { { 0xfee01000, 0x45 }, { 0x8fee02000, 0x46 } };

static struct fake_pci *fake;
static struct fake_fn *fn;
static struct fake_mem *mem; /* that the table is in */
static struct fake_devs devs;
static struct pci_dev *dev;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	return 0;
}

static int end(void **state)
{
	(void)state;
	assert_true(fake_status_spared(fake));
	fake_pci_free(fake);
	return 0;
}

/* Entries as a previous kernel leaves them: each holds a message and is unmasked. */
static void fill_table(u64 offset, unsigned int entries)
{
	for (unsigned int i = 0; i < entries; i++) {
		fake_mem_set(mem, offset + i * 16, 4, 0xfee00000);
		fake_mem_set(mem, offset + i * 16 + 8, 4, 0x31 + i);
	}
}

static void make(unsigned int entries, u16 flags)
{
	fake = fake_pci_new();
	fake->access.last_bus = 0;
	fn = fake_add(fake, BDF, 0x1111, 0x8001); /* at offset 0 Message Control would show both on */
	mem = fake_bar(fake, fn, 2, BAR, 0x10000, true);
	fake_cap_msix(fn, CAP, entries, 2, 0x2000);
	fake_set(fn, CTRL, 2, (entries - 1) | flags);
	fill_table(0x2000, entries);
	fake_enumerate(fake, &devs);
	dev = devs.dev;
	fake_sized(fake, dev);
}

static void it_is_enabled_in_linuxs_order(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(BDF, CTRL, 0xc003),  MEM_W32(TABLE + 0x00, 0xfee01000), MEM_W32(TABLE + 0x04, 0),
		MEM_W32(TABLE + 0x08, 0x45), MEM_W32(TABLE + 0x10, 0xfee02000), MEM_W32(TABLE + 0x14, 8),
		MEM_W32(TABLE + 0x18, 0x46), CFG_W16(BDF, PCI_COMMAND, 0x0407), MEM_W32(TABLE + 0x0c, 0),
		MEM_W32(TABLE + 0x1c, 0),    MEM_W32(TABLE + 0x2c, 1),		MEM_W32(TABLE + 0x3c, 1),
		CFG_W16(BDF, CTRL, 0x8003),
	};

	(void)state;
	make(ENTRIES, 0);
	assert_int_equal(pci_enable_msix(dev, messages, 2), OK);
	assert_writes(fake, want);
	assert_true(fake_log_has("msix control 0x0003 -> 0xc003 (enable MSI-X, all masked)"));
	assert_true(fake_log_has("msix control 0xc003 -> 0x8003 (unmask MSI-X)"));
}

/*
 * PCIe 6.1.4.5: an event while its vector is masked sets a bit in the Pending Bit Array; the message is sent, with what the entry
 * then holds, once nothing masks it. All bits are set here when the new kernel first writes Message Control: all entries may send.
 */
static struct {
	u64 table; /* offset in mem */
	unsigned int entries;
	const struct msi_message *wanted;
	unsigned int count;
	bool begun;
	bool pending[2048];
	bool stray; /* a message that is not the new one of its entry */
	unsigned int delivered;
} pba;

static void watch_pending(struct fake_pci *f, const struct fake_access *a)
{
	(void)f;
	pba.begun |= a->kind == FAKE_CFG_WRITE && a->where == CTRL;
	if (!pba.begun || (fake_get(fn, CTRL, 2) & 0xc000) != 0x8000)
		return;
	for (unsigned int n = 0; n < pba.entries; n++) {
		u64 entry = pba.table + 16 * n;

		if (!pba.pending[n] || fake_mem_get(mem, entry + 12, 4) & 1)
			continue;
		pba.pending[n] = false;
		pba.delivered++;
		pba.stray |= n >= pba.count || fake_mem_get(mem, entry, 4) != (u32)pba.wanted[n].address ||
			     fake_mem_get(mem, entry + 4, 4) != pba.wanted[n].address >> 32 ||
			     fake_mem_get(mem, entry + 8, 4) != pba.wanted[n].data;
	}
}

static void listen(u64 table, unsigned int entries, const struct msi_message *wanted, unsigned int count)
{
	memset(&pba, 0, sizeof(pba));
	memset(pba.pending, true, entries);
	pba.table = table;
	pba.entries = entries;
	pba.wanted = wanted;
	pba.count = count;
	fake->watch = watch_pending;
}

/* Each entry in use has sent what it was given, and nothing else was sent. */
static bool only_what_was_asked_for(void)
{
	return !pba.stray && pba.delivered == pba.count;
}

static void no_stale_message_can_leave(void **state)
{
	static const unsigned int entries[] = { 1, 2, 3, 64, 2047, 2048 };
	static const u16 before[] = { 0, 0x4000, 0x8000, 0xc000 }; /* off or on, the function mask left as it may be */
	static struct msi_message wanted[2048];

	(void)state;
	for (unsigned int i = 0; i < 2048; i++)
		wanted[i] = (struct msi_message){ 0x1fee00000 + 0x1000 * (i % 8), 0x4000 + i };
	fake = fake_pci_new();
	for (size_t i = 0; i < ARRAY_SIZE(entries) * ARRAY_SIZE(before) * 3; i++) {
		unsigned int size = entries[i / ARRAY_SIZE(before) % ARRAY_SIZE(entries)];
		const unsigned int counts[] = { 1, (size + 1) / 2, size };
		unsigned int count = counts[i / ARRAY_SIZE(before) / ARRAY_SIZE(entries)];

		fake_pci_free(fake);
		make(size, before[i % ARRAY_SIZE(before)]);
		listen(0x2000, size, wanted, count);
		assert_int_equal(pci_msix_vec_count(dev), size);
		assert_int_equal(pci_enable_msix(dev, wanted, count), OK);
		if (!only_what_was_asked_for())
			fail_msg("%u of %u entries, control before 0x%04x", count, size, before[i % ARRAY_SIZE(before)]);
		assert_int_equal(fake_get(fn, CTRL, 2), 0x8000 | (size - 1));
		for (unsigned int n = 0; n < size; n++)
			assert_int_equal(fake_mem_get(mem, 0x200c + n * 16, 4), n >= count);
	}
}

static void write_entry(unsigned int entry, u32 control)
{
	fake->access.ops->mem_write(&fake->access, TABLE + entry * 16, 4, (u32)messages[entry].address);
	fake->access.ops->mem_write(&fake->access, TABLE + entry * 16 + 4, 4, (u32)(messages[entry].address >> 32));
	fake->access.ops->mem_write(&fake->access, TABLE + entry * 16 + 8, 4, messages[entry].data);
	fake->access.ops->mem_write(&fake->access, TABLE + entry * 16 + 12, 4, control);
}

static void mask_entry(unsigned int entry)
{
	fake->access.ops->mem_write(&fake->access, TABLE + entry * 16 + 12, 4, 1);
}

static void the_model_catches_a_stale_message_that_is_not_suppressed(void **state)
{
	enum { RIGHT, NOT_MASKED_FIRST, UNMASKED_TOO_EARLY, AN_ENTRY_FORGOTTEN, ONE_LEFT_MASKED, MISTAKES };

	(void)state;
	fake = fake_pci_new();
	for (int mistake = RIGHT; mistake < MISTAKES; mistake++) {
		fake_pci_free(fake);
		make(3, 0);
		fake->access.map(TABLE, 48);
		listen(0x2000, 3, messages, 2);
		pci_write_config_word(dev, CTRL, mistake == NOT_MASKED_FIRST ? 0x8002 : 0xc002);
		write_entry(0, 0);
		if (mistake == UNMASKED_TOO_EARLY)
			pci_write_config_word(dev, CTRL, 0x8002);
		write_entry(1, mistake == ONE_LEFT_MASKED);
		if (mistake != AN_ENTRY_FORGOTTEN)
			mask_entry(2);
		pci_write_config_word(dev, CTRL, 0x8002);
		assert_int_equal(only_what_was_asked_for(), mistake == RIGHT);
	}
}

/* --- where the table is --- */

static const struct place {
	const char *what;
	unsigned int bar;
	u64 value; /* of the BAR, with its flags */
	u64 size;
	u32 table; /* the register */
	unsigned int pba_bar;
	u32 pba; /* offset */
	unsigned int entries;
	enum status want;
} places[] = {
	{ "one BAR, the table first", 0, 0xfe000000, 0x1000, 0x000, 0, 0x800, 4, OK },
	{ "one BAR, the PBA first", 5, 0xfe000000, 0x1000, 0x805, 5, 0x000, 4, OK },
	{ "two BARs", 1, 0xfe000000, 0x1000, 0x001, 3, 0x000, 4, OK },
	{ "64 bits above 4 GiB", 4, 0x8000000000c, 0x4000, 0x2004, 4, 0x3000, 64, OK },
	{ "64 bits below 4 GiB", 2, 0xfe000004, 0x4000, 0x0002, 4, 0x0000, 64, OK },
	{ "a BAR of one entry", 0, 0xfe000000, 16, 0x0, 2, 0, 1, OK },
	{ "a BAR of 2048 entries", 0, 0x80000000c, 0x8000, 0x0, 2, 0, 2048, OK },
	{ "far into a large one", 0, 0x80000000c, 16 * MIB, 0xff8000, 2, 0, 4, OK },
	{ "at the very end", 0, 0xfe000000, 0x1000, 0xf00, 0, 0, 16, OK },
	{ "one entry beyond", 0, 0xfe000000, 0x1000, 0xf00, 0, 0, 17, ERR_RANGE },
	{ "half an entry beyond", 0, 0xfe000000, 0x1000, 0xf08, 0, 0, 16, ERR_RANGE },
	{ "one entry more than the BAR has", 0, 0x80000000c, 0x4000, 0x0, 2, 0, 1025, ERR_RANGE },
	{ "after the BAR", 0, 0xfe000000, 0x1000, 0x1000, 0, 0, 1, ERR_RANGE },
	{ "as far as the register reaches", 0, 0xfe000000, 0x1000, 0xfffffff8, 0, 0, 1, ERR_RANGE },
	{ "no BAR 6", 0, 0xfe000000, 0x1000, 0x6, 0, 0, 1, ERR_RANGE },
	{ "no BAR 7", 0, 0xfe000000, 0x1000, 0x7, 0, 0, 1, ERR_RANGE },
	{ "not assigned", 0, 0xfe000000, 0x1000, 0x3, 0, 0, 1, ERR_RANGE },
	{ "assigned nowhere", 1, 0x00000000, 0x1000, 0x1, 0, 0, 1, ERR_RANGE },
	{ "I/O", 2, 0x0000c001, 0x100, 0x2, 0, 0, 1, ERR_RANGE },
	{ "the upper half of a 64-bit BAR", 2, 0x80000000c, 0x4000, 0x3, 0, 0, 1, ERR_RANGE },
	{ "the upper half, which looks like an address", 2, 0x81200000004, 0x4000, 0x3, 0, 0, 1, ERR_RANGE },
	{ "the upper half of one of 8 GiB", 2, 0x81200000004, 0x200000000, 0x3, 0, 0, 1, ERR_RANGE },
	{ "the last BAR, half of one", 5, 0xfe000004, 0x1000, 0x5, 0, 0, 1, ERR_RANGE },
};

static void a_table_is_used_where_it_is_wholly_in_a_memory_bar(void **state)
{
	(void)state;
	fake = fake_pci_new();
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		const struct place *p = &places[i];
		u64 table = (p->value & ~0xfULL) + (p->table & ~7U);
		enum status s;

		fake_pci_free(fake);
		fake_log_start();
		fake = fake_pci_new();
		fake->access.last_bus = 0;
		fn = fake_add(fake, BDF, 0x1111, 0x2222);
		fake_cap_msix(fn, CAP, p->entries, 0, p->table);
		fake_set(fn, CAP + 8, 4, p->pba | p->pba_bar);
		if (p->want == OK) {
			mem = fake_bar(fake, fn, p->bar, p->value & ~0xfULL, p->size, p->value & 4);
			fill_table(p->table & ~7U, p->entries);
			listen(p->table & ~7U, p->entries, messages, 1);
			if (p->pba_bar != p->bar)
				fake_bar(fake, fn, p->pba_bar, 0xfd000000, 0x1000, false);
		}
		fake_bar_register(fn, p->bar, p->value, p->size);
		fake_enumerate(fake, &devs);
		dev = devs.dev;
		s = pci_enable_msix(dev, messages, 1);
		if (s != p->want || (s == OK && !only_what_was_asked_for()))
			fail_msg("%s: status %d", p->what, s);
		for (unsigned int j = 0; j < fake->logged; j++) {
			const struct fake_access *a = &fake->log[j];

			if (a->kind == FAKE_MEM_WRITE || a->kind == FAKE_MEM_READ)
				assert_uint_in_range(a->where, table, table + 16 * p->entries - 4);
			else if (s != OK)
				assert_false(a->kind == FAKE_CFG_WRITE && a->where >= CAP);
		}
		assert_true(fake_bar_value(fn, p->bar) == p->value); /* sized, and left as it was */
		assert_int_equal(fake_get(fn, PCI_COMMAND, 2) & 7, 7);
		if (s != OK)
			assert_true(fake_log_has("pci 0000:00:04.0 msix table is"));
	}
}

static void too_few_vectors_are_refused_with_nothing_written(void **state)
{
	(void)state;
	make(1, 0);
	assert_int_equal(pci_enable_msix(dev, messages, 2), ERR_RANGE);
	assert_no_writes(fake);
	assert_one_line("msix has 1 vectors, 2 are needed");
}

static void a_table_that_cannot_be_mapped_is_refused_with_nothing_written(void **state)
{
	(void)state;
	make(ENTRIES, 0);
	fake->map_fails = true;
	assert_int_equal(pci_enable_msix(dev, messages, 1), ERR_RANGE);
	assert_no_writes(fake);
}

static void a_function_without_msix_or_removed_is_absent(void **state)
{
	(void)state;
	make(ENTRIES, 0);
	fn->answers = 0;
	assert_int_equal(pci_enable_msix(dev, messages, 1), ERR_ABSENT);
	dev->msix = 0;
	assert_int_equal(pci_enable_msix(dev, messages, 1), ERR_ABSENT);
	assert_int_equal(pci_msix_vec_count(dev), 0);
	assert_no_writes(fake);
	assert_int_equal(fake_log_lines(), 0);
}

/* PCIe 7.7.2: 12 bytes. */
static void a_capability_that_does_not_fit_below_0x100_is_not_used(void **state)
{
	(void)state;
	make(ENTRIES, 0);
	fake_cap_msix(fn, 0xfc, 1, 0, 0);
	fn->cfg[CAP + 1] = 0;
	fn->cfg[PCI_CAPABILITY_LIST] = 0xfc;
	fake_enumerate(fake, &devs);
	fake->access.cfg_size = 256;
	assert_int_not_equal(pci_enable_msix(dev, messages, 1), OK);
	assert_no_writes(fake);
}

static void shutdown_masks_what_was_used_then_disables_then_intx_on(void **state)
{
	static const struct fake_access want[] = {
		MEM_W32(TABLE + 0x0c, 1),
		MEM_W32(TABLE + 0x1c, 1),
		CFG_W16(BDF, CTRL, 0x0003),
		CFG_W16(BDF, PCI_COMMAND, 0x0007),
	};

	(void)state;
	make(ENTRIES, 0);
	assert_int_equal(pci_enable_msix(dev, messages, 2), OK);
	fake_clear_log(fake);
	pci_msix_shutdown(dev);
	assert_writes(fake, want);
}

static void shutdown_leaves_a_table_alone_that_this_kernel_never_programmed(void **state)
{
	static const struct fake_access want[] = { CFG_W16(BDF, CTRL, 0x0003), CFG_W16(BDF, PCI_COMMAND, 0x0007) };

	(void)state;
	make(ENTRIES, 0x8000);
	fake_set(fn, PCI_COMMAND, 2, 0x0407);
	pci_msix_shutdown(dev);
	assert_writes(fake, want);
}

static void init_clears_the_enable_bit_and_nothing_else(void **state)
{
	static const struct fake_access want[] = { CFG_W16(BDF, CTRL, 0x4003) };

	(void)state;
	make(ENTRIES, 0xc000);
	fake_set(fn, PCI_COMMAND, 2, 0x0407);
	pci_msix_init(dev);
	assert_writes(fake, want);
	/* The twin: shutdown writes more, and the same comparison says so. */
	fake_set(fn, CTRL, 2, 0xc003);
	fake_clear_log(fake);
	pci_msix_shutdown(dev);
	assert_false(fake_writes_are(fake, want, 1));
}

static void what_is_off_stays_untouched(void **state)
{
	(void)state;
	make(ENTRIES, 0x4000);
	pci_msix_shutdown(dev);
	pci_msix_init(dev);
	dev->msix = 0;
	pci_msix_shutdown(dev);
	pci_msix_init(dev);
	dev->msix = CAP;
	fn->answers = 0;
	pci_msix_shutdown(dev);
	pci_msix_init(dev);
	assert_no_writes(fake);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(it_is_enabled_in_linuxs_order),
		T(no_stale_message_can_leave),
		T(the_model_catches_a_stale_message_that_is_not_suppressed),
		T(a_table_is_used_where_it_is_wholly_in_a_memory_bar),
		T(too_few_vectors_are_refused_with_nothing_written),
		T(a_table_that_cannot_be_mapped_is_refused_with_nothing_written),
		T(a_function_without_msix_or_removed_is_absent),
		T(a_capability_that_does_not_fit_below_0x100_is_not_used),
		T(shutdown_masks_what_was_used_then_disables_then_intx_on),
		T(shutdown_leaves_a_table_alone_that_this_kernel_never_programmed),
		T(init_clears_the_enable_bit_and_nothing_else),
		T(what_is_off_stays_untouched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
