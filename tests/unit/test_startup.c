/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: on the way in, the reference (d5dea7d95c48) clears the enable bits of MSI and MSI-X, and nothing else, on every function;
 * hardened masks each by every means that it has, INTx first. Could be false: a kernel that also enables INTx, clears bus master or
 * touches a table would work as well, and would not be the reference; a function without a driver must be written to, too.
 * Provoked: the tree as the reference's shutdown leaves it. Failure: the list of writes, printed with the expected one.
 */
#include "startup/policies.h"
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

static struct fake_pci *fake;
static struct fake_devs devs;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	fake = fake_tree();
	for (unsigned int i = 0; i < fake->fns; i++)
		fake_set(fake->fn[i], PCI_COMMAND, 2, fake_get(fake->fn[i], PCI_COMMAND, 2) & ~(u32)PCI_COMMAND_MASTER);
	fake_enumerate(fake, &devs);
	return 0;
}

static int end(void **state)
{
	(void)state;
	fake_pci_free(fake);
	return 0;
}

/* Every write clears the enable bit of MSI or MSI-X; none was missed. */
static bool clears_only_enable_bits(void)
{
	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i];
		const struct pci_dev *dev;

		if (!fake_is_write(a))
			continue;
		if (a->kind != FAKE_CFG_WRITE || a->size != 2 || !i)
			return false;
		dev = fake_dev(&devs, a->bdf);
		if (!(dev->msi && a->where == dev->msi + 2U && fake->log[i - 1].value == (a->value | 0x0001)) &&
		    !(dev->msix && a->where == dev->msix + 2U && fake->log[i - 1].value == (a->value | 0x8000)))
			return false;
	}
	return !(fake_get(fake_at(fake, TREE_EDU), FAKE_EDU_MSI + 2, 2) & 0x0001) &&
	       !(fake_get(fake_at(fake, TREE_BLK), FAKE_BLK_MSIX + 2, 2) & 0x8000);
}

static void disable_msi_clears_the_enable_bits_and_nothing_else(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(TREE_EDU, FAKE_EDU_MSI + 2, 0x0080),
		CFG_W16(TREE_BLK, FAKE_BLK_MSIX + 2, 0x0001),
	};

	(void)state;
	pci_apply_forward(&devs.pci, &startup_disable_msi);
	assert_writes(fake, want);
	assert_true(clears_only_enable_bits());
	/* A second time there is nothing left to do. */
	fake_clear_log(fake);
	pci_apply_forward(&devs.pci, &startup_disable_msi);
	assert_no_writes(fake);
}

static void enables_intx_too(struct pci_dev *dev)
{
	pci_msi_shutdown(dev);
	pci_msix_shutdown(dev);
}

static void skips_msix(struct pci_dev *dev)
{
	pci_msi_init(dev);
}

static void clears_all_of_message_control(struct pci_dev *dev)
{
	pci_msi_init(dev);
	if (!dev->msix)
		return;
	pci_read_config_word(dev, (u16)(dev->msix + 2));
	pci_write_config_word(dev, (u16)(dev->msix + 2), 0);
}

static void the_check_rejects_every_other_policy(void **state)
{
	static const struct pci_policy mistakes[] = {
		{ "enables INTx, too", enables_intx_too, false },
		{ "skips MSI-X", skips_msix, false },
		{ "clears all of Message Control", clears_all_of_message_control, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		fake_set(fake_at(fake, TREE_BLK), FAKE_BLK_MSIX + 2, 2, 0xc001);
		pci_apply_forward(&devs.pci, &mistakes[i]);
		if (clears_only_enable_bits())
			fail_msg("a policy that %s passes", mistakes[i].name);
		end(state);
		begin(state);
	}
}

static void none_touches_nothing(void **state)
{
	(void)state;
	pci_apply_forward(&devs.pci, &startup_none);
	assert_int_equal(fake->logged, 0);
	assert_false(clears_only_enable_bits());
}

/* As a crash leaves it: bus master on, INTx enabled. */
static void everything_on(void)
{
	for (unsigned int i = 0; i < fake->fns; i++)
		fake_set(fake->fn[i], PCI_COMMAND, 2, 0x0007);
}

static void hardened_disables_intx_before_bus_master_and_msi(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(TREE_BRIDGE, PCI_COMMAND, 0x0407),   CFG_W16(TREE_BRIDGE, PCI_COMMAND, 0x0403),
		CFG_W16(TREE_EDU, PCI_COMMAND, 0x0407),	     CFG_W16(TREE_EDU, PCI_COMMAND, 0x0403),
		CFG_W16(TREE_EDU, FAKE_EDU_MSI + 2, 0x0080), CFG_W16(TREE_BLK, PCI_COMMAND, 0x0407),
		CFG_W16(TREE_BLK, PCI_COMMAND, 0x0403),	     CFG_W16(TREE_BLK, FAKE_BLK_MSIX + 2, 0x4001),
		CFG_W16(TREE_PLAIN, PCI_COMMAND, 0x0407),    CFG_W16(TREE_PLAIN, PCI_COMMAND, 0x0403),
	};

	(void)state;
	everything_on();
	pci_apply_forward(&devs.pci, &startup_hardened);
	assert_writes(fake, want);
	fake_clear_log(fake);
	pci_apply_forward(&devs.pci, &startup_hardened);
	assert_no_writes(fake);
	/* The twin: the reference leaves INTx and bus master as they are. */
	end(state);
	begin(state);
	everything_on();
	pci_apply_forward(&devs.pci, &startup_disable_msi);
	assert_false(fake_writes_are(fake, want, ARRAY_SIZE(want)));
}

/* 64 bits and 32, eight vectors; mask bits are written whether or not MSI was on. */
static void hardened_masks_every_vector_where_the_function_can(void **state)
{
	static const struct {
		u16 features;
		u16 mask;
	} layouts[] = { { 0x0186, PCI_MSI_MASK_64 }, { 0x0106, PCI_MSI_MASK_32 } };

	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		struct fake_fn *fn = fake_at(fake, TREE_PLAIN);
		const struct fake_access want[] = {
			CFG_W16(TREE_PLAIN, 0x42, layouts[i].features),
			CFG_W32(TREE_PLAIN, 0x40 + layouts[i].mask, 0xff),
		};

		fake_cap_msi(fn, 0x40, layouts[i].features);
		fake_set(fn, 0x42, 2, layouts[i].features | PCI_MSI_FLAGS_ENABLE);
		fake_enumerate(fake, &devs);
		pci_msi_mask(fake_dev(&devs, TREE_PLAIN));
		assert_writes(fake, want);
		fake_clear_log(fake);
		pci_msi_mask(fake_dev(&devs, TREE_PLAIN));
		assert_true(fake_writes_are(fake, &want[1], 1));
		/* Twins: without mask bits, and where the function is another by now. */
		fake_clear_log(fake);
		pci_msi_mask(fake_dev(&devs, TREE_BRIDGE));
		fake_set(fn, 0x42, 2, layouts[i].features ^ PCI_MSI_FLAGS_64BIT);
		pci_msi_mask(fake_dev(&devs, TREE_PLAIN));
		assert_no_writes(fake);
		end(state);
		begin(state);
	}
}

static void hardened_writes_nothing_to_a_removed_function(void **state)
{
	(void)state;
	everything_on();
	for (unsigned int i = 0; i < fake->fns; i++)
		fake->fn[i]->answers = 0;
	pci_apply_forward(&devs.pci, &startup_hardened);
	assert_no_writes(fake);
}

static void each_says_what_it_leaves_of_bus_master(void **state)
{
	for (const struct pci_policy *const *policy = startup_policies; *policy; policy++) {
		bool cleared = true;

		everything_on();
		pci_apply_forward(&devs.pci, *policy);
		for (unsigned int i = 0; i < fake->fns; i++)
			cleared &= !(fake_get(fake->fn[i], PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
		if (cleared != (*policy)->clears_master)
			fail_msg("%s", (*policy)->name);
		end(state);
		begin(state);
	}
}

static void a_read_only_function_is_skipped(void **state)
{
	(void)state;
	fake_dev(&devs, TREE_EDU)->read_only = true;
	for (const struct pci_policy *const *policy = startup_policies; *policy; policy++)
		pci_apply_forward(&devs.pci, *policy);
	assert_int_equal(fake_get(fake_at(fake, TREE_EDU), FAKE_EDU_MSI + 2, 2), 0x0081);
	for (unsigned int i = 0; i < fake->logged; i++)
		assert_int_not_equal(fake->log[i].bdf, TREE_EDU);
	assert_int_equal(fake_get(fake_at(fake, TREE_BLK), FAKE_BLK_MSIX + 2, 2), 0x4001);
}

static u16 order[8];
static unsigned int applied;

static void note_order(struct pci_dev *dev)
{
	order[applied++] = dev->bdf;
}

static void forward_is_parents_first_and_backward_children_first(void **state)
{
	static const struct pci_policy note = { "note", note_order, false };
	static const u16 forward[] = { TREE_BRIDGE, TREE_EDU, TREE_BLK, TREE_PLAIN };
	static const u16 backward[] = { TREE_PLAIN, TREE_BLK, TREE_EDU, TREE_BRIDGE };

	(void)state;
	applied = 0;
	pci_apply_forward(&devs.pci, &note);
	assert_int_equal(applied, 4);
	assert_memory_equal(order, forward, sizeof(forward));
	applied = 0;
	pci_apply_backward(&devs.pci, &note);
	assert_int_equal(applied, 4);
	assert_memory_equal(order, backward, sizeof(backward));
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(disable_msi_clears_the_enable_bits_and_nothing_else),
		T(the_check_rejects_every_other_policy),
		T(none_touches_nothing),
		T(hardened_disables_intx_before_bus_master_and_msi),
		T(hardened_masks_every_vector_where_the_function_can),
		T(hardened_writes_nothing_to_a_removed_function),
		T(each_says_what_it_leaves_of_bus_master),
		T(a_read_only_function_is_skipped),
		T(forward_is_parents_first_and_backward_children_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
