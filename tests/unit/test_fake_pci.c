/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the fake behaves as configuration space does, so that what the other tests see of it means something.
 * Could be false: a fake that takes every write would let a write of a read-only or write-1-to-clear bit pass unseen.
 * Provoked: each kind of bit, a function that goes, and a log that is read back.
 * Failure: another register value, or an access that is not in the log.
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

static void a_function_that_is_gone_reads_all_ones_and_loses_writes(void **state)
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

/* The check of many tests, and what it must reject: a missing, an extra, a changed and a swapped write. */
static void the_comparison_of_writes_tells_every_difference(void **state)
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

static void a_write_that_reaches_status_is_told(void **state)
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
		cmocka_unit_test(a_function_that_is_gone_reads_all_ones_and_loses_writes),
		cmocka_unit_test(the_comparison_of_writes_tells_every_difference),
		cmocka_unit_test(a_write_that_reaches_status_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
