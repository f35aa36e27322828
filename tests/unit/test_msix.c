/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: MSI-X is programmed in Linux's order (msix_capability_init: on and masked as a whole, entries, INTx off, every mask bit,
 * unmasked as a whole), so that no message of the previous kernel can leave; shutdown and init do what their commits did.
 * Could be false: the table survives the enable bit with the previous kernel's messages unmasked; those beyond the entries in use are
 * easy to forget.
 * Provoked: a table full of unmasked stale messages. Failure: another list of writes, or a moment in which a stale entry could fire.
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
static struct fake_mem *mem;
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

/* A function as a previous kernel left it: every entry holds a message and is unmasked. */
static void make(unsigned int entries, u16 flags)
{
	fake = fake_pci_new();
	fn = fake_add(fake, BDF, 0x1111, 0x2222);
	mem = fake_bar(fake, fn, 2, BAR, 0x10000, true);
	fake_cap_msix(fn, CAP, entries, 2, 0x2000);
	fake_set(fn, CTRL, 2, (entries - 1) | flags);
	for (unsigned int i = 0; i < entries; i++) {
		fake_mem_set(mem, 0x2000 + i * 16, 4, 0xfee00000);
		fake_mem_set(mem, 0x2008 + i * 16, 4, 0x31 + i);
	}
	fake_enumerate(fake, &devs);
	dev = devs.dev;
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
 * Replays the log over the table as it was: at no moment may an entry fire that still holds the previous kernel's message, or one that
 * is half written.
 */
static bool no_stale_entry_could_fire(unsigned int entries, u16 flags)
{
	unsigned int written[2048] = { 0 };
	bool masked[2048] = { false };

	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i];
		u64 entry = (a->where - TABLE) / 16;

		if (a->kind == FAKE_CFG_WRITE && a->where == CTRL)
			flags = (u16)a->value;
		if (a->kind == FAKE_MEM_WRITE && a->where % 16 == 12)
			masked[entry] = a->value & 1;
		else if (a->kind == FAKE_MEM_WRITE)
			written[entry]++;
		for (unsigned int n = 0; n < entries; n++)
			if ((flags & 0xc000) == 0x8000 && !masked[n] && written[n] != 3)
				return false;
	}
	return true;
}

static void no_stale_message_can_leave(void **state)
{
	static const unsigned int entries[] = { 2, 3, 64, 2048 };

	(void)state;
	fake = fake_pci_new();
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
		fake_pci_free(fake);
		make(entries[i], 0);
		assert_int_equal(pci_enable_msix(dev, messages, 2), OK);
		assert_true(no_stale_entry_could_fire(entries[i], 0));
		for (unsigned int n = 0; n < entries[i]; n++)
			assert_int_equal(fake_mem_get(mem, 0x200c + n * 16, 4), n >= 2);
	}
}

static void the_stale_check_rejects_enabling_without_masking(void **state)
{
	(void)state;
	make(ENTRIES, 0);
	pci_write_config_word(dev, CTRL, 0x8003);
	assert_false(no_stale_entry_could_fire(ENTRIES, 0));
}

static void the_stale_check_rejects_entries_left_unmasked(void **state)
{
	(void)state;
	make(ENTRIES, 0);
	assert_int_equal(pci_enable_msix(dev, messages, 2), OK);
	for (unsigned int i = 0; i < fake->logged; i++)
		if (fake->log[i].kind == FAKE_MEM_WRITE && fake->log[i].where == TABLE + 0x3c)
			fake->log[i].value = 0; /* as if the last entry had been forgotten */
	assert_false(no_stale_entry_could_fire(ENTRIES, 0));
}

static void too_few_vectors_are_refused_with_nothing_written(void **state)
{
	(void)state;
	make(1, 0);
	assert_int_equal(pci_enable_msix(dev, messages, 2), ERR_RANGE);
	assert_no_writes(fake);
	assert_one_line("msix has 1 vectors, 2 are needed");
}

static void a_table_in_no_memory_bar_is_refused_with_nothing_written(void **state)
{
	static const u32 tables[] = { 0x2000 | 7, 0x2000 | 6, 0x2000 | 5, 0x2000 | 0, 0x2000 | 1 };

	(void)state;
	make(ENTRIES, 0);
	fake_set(fn, PCI_BASE_ADDRESS_0 + 4, 4, 0x0000c001); /* BAR 1 is I/O, 0 and 5 are not assigned, 6 and 7 do not exist */
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		fake_log_start();
		fake_set(fn, CAP + 4, 4, tables[i]);
		assert_int_equal(pci_enable_msix(dev, messages, 1), ERR_RANGE);
		assert_one_line("which is no assigned memory BAR");
	}
	assert_no_writes(fake);
}

static void a_table_that_cannot_be_mapped_is_refused_with_nothing_written(void **state)
{
	(void)state;
	make(ENTRIES, 0);
	fake->map_fails = true;
	assert_int_equal(pci_enable_msix(dev, messages, 1), ERR_RANGE);
	assert_no_writes(fake);
}

static void a_function_without_msix_or_gone_is_absent(void **state)
{
	(void)state;
	make(ENTRIES, 0);
	fn->answers = 0;
	assert_int_equal(pci_enable_msix(dev, messages, 1), ERR_ABSENT);
	dev->msix = 0;
	assert_int_equal(pci_enable_msix(dev, messages, 1), ERR_ABSENT);
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

static void shutdown_masks_what_was_used_then_goes_off_then_intx_on(void **state)
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
	fake_forget(fake);
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
	fake_forget(fake);
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
		T(the_stale_check_rejects_enabling_without_masking),
		T(the_stale_check_rejects_entries_left_unmasked),
		T(too_few_vectors_are_refused_with_nothing_written),
		T(a_table_in_no_memory_bar_is_refused_with_nothing_written),
		T(a_table_that_cannot_be_mapped_is_refused_with_nothing_written),
		T(a_function_without_msix_or_gone_is_absent),
		T(a_capability_that_does_not_fit_below_0x100_is_not_used),
		T(shutdown_masks_what_was_used_then_goes_off_then_intx_on),
		T(shutdown_leaves_a_table_alone_that_this_kernel_never_programmed),
		T(init_clears_the_enable_bit_and_nothing_else),
		T(what_is_off_stays_untouched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
