/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the fake behaves as configuration space does, so that the other tests prove something. Could be false: a fake that takes
 * every write would let a write of a read-only or write-1-to-clear bit pass unseen, or a BAR of any size. Provoked: each kind of
 * bit, a BAR that is written with ones, a function that is removed, and a log that is read back. Failure: another register value,
 * or an access that is not in the log.
 */
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

#define BDF PCI_BDF(0, 1, 0)

static void bits_are_read_only_writable_or_write_1_to_clear(void **state)
{
	struct fake_pci *fake = fake_pci_new();
	struct fake_fn *fn = fake_add(fake, BDF, 0x1111, 0x2222);
	const struct pci_access_ops *ops = fake->access.ops;

	(void)state;
	ops->cfg_write(&fake->access, BDF, PCI_VENDOR_ID, 4, 0xdeadbeef);
	assert_int_equal(fake_get(fn, PCI_VENDOR_ID, 4), 0x22221111);
	ops->cfg_write(&fake->access, BDF, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(fake_get(fn, PCI_COMMAND, 2), 0x0547);
	assert_int_equal(fake_get(fn, PCI_STATUS, 2), 0x3000);
	ops->cfg_write(&fake->access, BDF, PCI_STATUS, 2, 0x1000);
	assert_int_equal(fake_get(fn, PCI_STATUS, 2), 0x2000);
	fake_pci_free(fake);
}

static void a_removed_function_reads_all_ones_and_loses_writes(void **state)
{
	struct fake_pci *fake = fake_pci_new();
	struct fake_fn *fn = fake_add(fake, BDF, 0x1111, 0x2222);
	const struct pci_access_ops *ops = fake->access.ops;

	(void)state;
	fn->answers = 1;
	assert_int_equal(ops->cfg_read(&fake->access, BDF, PCI_VENDOR_ID, 2), 0x1111);
	assert_int_equal(ops->cfg_read(&fake->access, BDF, PCI_VENDOR_ID, 2), 0xffff);
	ops->cfg_write(&fake->access, BDF, PCI_COMMAND, 2, 0);
	assert_int_equal(fake_get(fn, PCI_COMMAND, 2), 0x0007);
	assert_int_equal(ops->cfg_read(&fake->access, PCI_BDF(9, 9, 1), PCI_VENDOR_ID, 4), 0xffffffff);
	fake_pci_free(fake);
}

/* PCIe 7.5.1.2.1. */
static void a_bar_that_is_written_with_ones_reads_its_size(void **state)
{
	static const struct {
		u64 value;
		u64 size;
		u64 ones;
	} rows[] = {
		{ 0xfe000000, 16, 0xfffffff0 },
		{ 0xfe000008, MIB, 0xfff00008 },
		{ 0x80000000c, 0x4000, 0xffffffffffffc00c },
		{ 0x80000000c, 0x200000000, 0xfffffffe0000000c },
		{ 0xfe000000, 0, 0xfe000000 },
		{ 0xc001, 0x100, 0xffffff01 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fake_pci *fake = fake_pci_new();
		struct fake_fn *fn = fake_add(fake, BDF, 0x1111, 0x2222);

		fake_bar_register(fn, 2, rows[i].value, rows[i].size);
		assert_true(fake_bar_value(fn, 2) == rows[i].value);
		fake->access.ops->cfg_write(&fake->access, BDF, 0x18, 4, 0xffffffff);
		fake->access.ops->cfg_write(&fake->access, BDF, 0x1c, 4, 0xffffffff);
		assert_true(fake_bar_value(fn, 2) == rows[i].ones);
		fake_pci_free(fake);
	}
}

static unsigned int watched;

static void watch(struct fake_pci *fake, const struct fake_access *a)
{
	/* It is called after the access: what was written is there. */
	if (a->kind == FAKE_CFG_WRITE)
		assert_int_equal(fake_get(fake_at(fake, BDF), (u16)a->where, a->size), a->value);
	watched++;
}

static void a_watcher_sees_every_access_after_it_took_effect(void **state)
{
	struct fake_pci *fake = fake_pci_new();
	struct pci_dev dev = { .access = &fake->access, .bdf = BDF };

	(void)state;
	watched = 0;
	fake_add(fake, BDF, 0x1111, 0x2222);
	fake->watch = watch;
	pci_write_config_byte(&dev, PCI_INTERRUPT_LINE, 7);
	pci_read_config_dword(&dev, PCI_VENDOR_ID);
	assert_int_equal(watched, 2);
	assert_false(fake->log[0].lost);
	fake->watch = NULL;
	fake->fn[0]->answers = 0;
	pci_read_config_dword(&dev, PCI_VENDOR_ID);
	pci_write_config_byte(&dev, PCI_INTERRUPT_LINE, 7);
	assert_true(fake->log[2].lost && fake->log[3].lost);
	fake_pci_free(fake);
}

/* The check of many tests, and what it must reject: a missing, an extra, a changed and a swapped write. */
static void the_comparison_of_writes_reports_every_difference(void **state)
{
	static const struct fake_access want[] = { CFG_W16(BDF, PCI_COMMAND, 3), CFG_W8(BDF, PCI_INTERRUPT_LINE, 5) };
	static const struct fake_access swapped[] = { CFG_W8(BDF, PCI_INTERRUPT_LINE, 5), CFG_W16(BDF, PCI_COMMAND, 3) };
	static const struct fake_access wider[] = { CFG_W32(BDF, PCI_COMMAND, 3), CFG_W8(BDF, PCI_INTERRUPT_LINE, 5) };
	struct fake_pci *fake = fake_pci_new();
	const struct pci_access_ops *ops = fake->access.ops;

	(void)state;
	fake_add(fake, BDF, 0x1111, 0x2222);
	ops->cfg_write(&fake->access, BDF, PCI_COMMAND, 2, 3);
	assert_false(fake_writes_are(fake, want, 2));
	ops->cfg_read(&fake->access, BDF, PCI_COMMAND, 2);
	ops->cfg_write(&fake->access, BDF, PCI_INTERRUPT_LINE, 1, 5);
	assert_true(fake_writes_are(fake, want, 2));
	assert_false(fake_writes_are(fake, want, 1));
	assert_false(fake_writes_are(fake, swapped, 2));
	assert_false(fake_writes_are(fake, wider, 2));
	fake_pci_free(fake);
}

static void a_write_that_reaches_status_is_reported(void **state)
{
	struct fake_pci *fake = fake_pci_new();
	const struct pci_access_ops *ops = fake->access.ops;

	(void)state;
	fake_add(fake, BDF, 0x1111, 0x2222);
	ops->cfg_write(&fake->access, BDF, PCI_COMMAND, 2, 3);
	assert_true(fake_status_spared(fake));
	ops->cfg_write(&fake->access, BDF, PCI_COMMAND, 4, 3);
	assert_false(fake_status_spared(fake));
	fake_pci_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_are_read_only_writable_or_write_1_to_clear),
		cmocka_unit_test(a_removed_function_reads_all_ones_and_loses_writes),
		cmocka_unit_test(a_bar_that_is_written_with_ones_reads_its_size),
		cmocka_unit_test(a_watcher_sees_every_access_after_it_took_effect),
		cmocka_unit_test(the_comparison_of_writes_reports_every_difference),
		cmocka_unit_test(a_write_that_reaches_status_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
