/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: each policy on the way out makes exactly the writes that its kernel made, children first; the reference clears bus master
 * with one 16-bit write a function and touches nothing else. Could be false: a policy that turns MSI off, too, or writes a bridge
 * before the device below it, still boots the next kernel; only the list of writes differs. Provoked: bridge, plain device, edu
 * with MSI and virtio-blk with MSI-X, all on. The deliberate mistakes are policies of this file. Failure: the list of writes,
 * printed with the expected one; for drain, which is about reads, that of all accesses.
 */
#include "lib/time.h"
#include "shutdown/policies.h"
#include "tests/unit/fake_pci.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

static struct fake_pci *fake;
static struct fake_devs devs;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	fake_x86_reset();
	time_init(FAKE_PM_TIMER);
	fake = fake_tree();
	fake_enumerate(fake, &devs);
	return 0;
}

static int end(void **state)
{
	(void)state;
	fake_pci_free(fake);
	return 0;
}

/* The reference's signature: of every function that had bus master on, one 16-bit write that clears only bit 2. */
static bool clears_only_bus_master(const u16 *had_master, size_t n)
{
	size_t cleared = 0;

	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i];

		if (!fake_is_write(a))
			continue;
		if (a->kind != FAKE_CFG_WRITE || a->where != PCI_COMMAND || a->size != 2 || !i)
			return false;
		/* Read just before, and changed in that bit alone. */
		if (fake->log[i - 1].kind != FAKE_CFG_READ || fake->log[i - 1].bdf != a->bdf ||
		    fake->log[i - 1].where != PCI_COMMAND || fake->log[i - 1].value != (a->value | PCI_COMMAND_MASTER) ||
		    a->value & PCI_COMMAND_MASTER)
			return false;
		cleared++;
	}
	for (size_t i = 0; i < n; i++)
		if (fake_get(fake_at(fake, had_master[i]), PCI_COMMAND, 2) & PCI_COMMAND_MASTER)
			return false;
	return cleared == n;
}

/* No function is written after its bridge was. */
static bool children_first(void)
{
	for (unsigned int i = 0; i < fake->logged; i++) {
		if (fake->log[i].kind != FAKE_CFG_WRITE)
			continue;
		for (const struct pci_dev *up = fake_dev(&devs, fake->log[i].bdf)->bridge; up; up = up->bridge)
			for (unsigned int j = 0; j < i; j++)
				if (fake->log[j].kind == FAKE_CFG_WRITE && fake->log[j].bdf == up->bdf)
					return false;
	}
	return true;
}

static const u16 all[] = { TREE_BRIDGE, TREE_PLAIN, TREE_EDU, TREE_BLK };

static void keep_msi_clears_bus_master_and_nothing_else(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(TREE_PLAIN, PCI_COMMAND, 0x0003),
		CFG_W16(TREE_BLK, PCI_COMMAND, 0x0403),
		CFG_W16(TREE_EDU, PCI_COMMAND, 0x0403),
		CFG_W16(TREE_BRIDGE, PCI_COMMAND, 0x0003),
	};

	(void)state;
	pci_apply_backward(&devs.pci, &shutdown_keep_msi);
	assert_writes(fake, want);
	assert_true(clears_only_bus_master(all, ARRAY_SIZE(all)));
	assert_true(children_first());
	/* MSI, MSI-X and INTx stay as they were. */
	assert_int_equal(fake_get(fake_at(fake, TREE_EDU), FAKE_EDU_MSI + 2, 2), 0x0081);
	assert_int_equal(fake_get(fake_at(fake, TREE_BLK), FAKE_BLK_MSIX + 2, 2), 0x8001);
}

static void keep_msi_costs_one_read_and_one_write_a_function(void **state)
{
	(void)state;
	pci_apply_backward(&devs.pci, &shutdown_keep_msi);
	assert_int_equal(fake->logged, 2 * ARRAY_SIZE(all));
}

static void keep_msi_writes_nothing_where_bus_master_was_off(void **state)
{
	static const u16 others[] = { TREE_BRIDGE, TREE_PLAIN, TREE_BLK };

	(void)state;
	fake_set(fake_at(fake, TREE_EDU), PCI_COMMAND, 2, 0x0403);
	pci_apply_backward(&devs.pci, &shutdown_keep_msi);
	assert_true(clears_only_bus_master(others, ARRAY_SIZE(others)));
}

static void keep_msi_skips_a_removed_function(void **state)
{
	static const u16 others[] = { TREE_BRIDGE, TREE_PLAIN, TREE_EDU };

	(void)state;
	fake_at(fake, TREE_BLK)->answers = 0;
	pci_apply_backward(&devs.pci, &shutdown_keep_msi);
	assert_true(clears_only_bus_master(others, ARRAY_SIZE(others)));
}

/* --- twins: what the signature must reject --- */

static void also_disables_msi(struct pci_dev *dev)
{
	pci_msi_init(dev);
	pci_clear_master(dev);
}

static void writes_32_bits(struct pci_dev *dev)
{
	u32 old = pci_read_config_dword(dev, PCI_COMMAND);

	pci_write_config_dword(dev, PCI_COMMAND, old & ~(u32)PCI_COMMAND_MASTER);
}

static void clears_decode_too(struct pci_dev *dev)
{
	u16 old = pci_read_config_word(dev, PCI_COMMAND);

	pci_write_config_word(dev, PCI_COMMAND, old & (u16) ~(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY));
}

static void skips_bridges(struct pci_dev *dev)
{
	if (dev->header_type != PCI_HEADER_TYPE_BRIDGE)
		pci_clear_master(dev);
}

static void writes_twice(struct pci_dev *dev)
{
	pci_clear_master(dev);
	pci_write_config_word(dev, PCI_COMMAND, pci_read_config_word(dev, PCI_COMMAND));
}

static void the_signature_rejects_every_other_policy(void **state)
{
	static const struct pci_policy mistakes[] = {
		{ "also disables MSI", also_disables_msi, true }, { "writes 32 bits", writes_32_bits, true },
		{ "clears decode too", clears_decode_too, true }, { "skips bridges", skips_bridges, true },
		{ "writes twice", writes_twice, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		pci_apply_backward(&devs.pci, &mistakes[i]);
		if (clears_only_bus_master(all, ARRAY_SIZE(all)))
			fail_msg("a policy that %s passes", mistakes[i].name);
		end(state);
		begin(state);
	}
	pci_apply_backward(&devs.pci, &shutdown_disable_msi);
	assert_false(clears_only_bus_master(all, ARRAY_SIZE(all)));
	end(state);
	begin(state);
	pci_apply_backward(&devs.pci, &shutdown_none);
	assert_false(clears_only_bus_master(all, ARRAY_SIZE(all)));
}

static void the_order_check_rejects_parents_first(void **state)
{
	(void)state;
	pci_apply_forward(&devs.pci, &shutdown_keep_msi);
	assert_true(clears_only_bus_master(all, ARRAY_SIZE(all)));
	assert_false(children_first());
}

/* --- the others --- */

static void master_first(struct pci_dev *dev)
{
	pci_clear_master(dev);
	pci_msi_shutdown(dev);
	pci_msix_shutdown(dev);
}

/* Linux 2012 to 2017: callback, MSI off, INTx on again, MSI-X likewise, and bus master last: the window between is the bug. */
static void disable_msi_turns_msi_off_before_bus_master(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(TREE_PLAIN, PCI_COMMAND, 0x0003),    CFG_W16(TREE_BLK, FAKE_BLK_MSIX + 2, 0x0001),
		CFG_W16(TREE_BLK, PCI_COMMAND, 0x0007),	     CFG_W16(TREE_BLK, PCI_COMMAND, 0x0003),
		CFG_W16(TREE_EDU, FAKE_EDU_MSI + 2, 0x0080), CFG_W16(TREE_EDU, PCI_COMMAND, 0x0007),
		CFG_W16(TREE_EDU, PCI_COMMAND, 0x0003),	     CFG_W16(TREE_BRIDGE, PCI_COMMAND, 0x0003),
	};
	static const struct pci_policy mistake = { "master first", master_first, true };

	pci_apply_backward(&devs.pci, &shutdown_disable_msi);
	assert_writes(fake, want);
	assert_true(children_first());
	/* The twin has the same writes in the order that would have been harmless. */
	end(state);
	begin(state);
	pci_apply_backward(&devs.pci, &mistake);
	assert_false(fake_writes_are(fake, want, ARRAY_SIZE(want)));
}

static void none_touches_nothing(void **state)
{
	(void)state;
	pci_apply_backward(&devs.pci, &shutdown_none);
	assert_int_equal(fake->logged, 0);
}

/* Linux 2008 to 2012: the first two thirds of what came after. */
static void disable_msi_only_leaves_bus_master_on(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(TREE_BLK, FAKE_BLK_MSIX + 2, 0x0001),
		CFG_W16(TREE_BLK, PCI_COMMAND, 0x0007),
		CFG_W16(TREE_EDU, FAKE_EDU_MSI + 2, 0x0080),
		CFG_W16(TREE_EDU, PCI_COMMAND, 0x0007),
	};

	(void)state;
	pci_apply_backward(&devs.pci, &shutdown_disable_msi_only);
	assert_writes(fake, want);
	fake_clear_log(fake);
	pci_apply_backward(&devs.pci, &shutdown_disable_msi_only);
	assert_no_writes(fake);
}

/* INTx is disabled first: with MSI off before, a function could assert it in between. */
static void intx_off_disables_intx_before_msi(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(TREE_PLAIN, PCI_COMMAND, 0x0407),     CFG_W16(TREE_PLAIN, PCI_COMMAND, 0x0403),
		CFG_W16(TREE_BLK, FAKE_BLK_MSIX + 2, 0x0001), CFG_W16(TREE_BLK, PCI_COMMAND, 0x0403),
		CFG_W16(TREE_EDU, PCI_COMMAND, 0x0407),	      CFG_W16(TREE_EDU, FAKE_EDU_MSI + 2, 0x0080),
		CFG_W16(TREE_EDU, PCI_COMMAND, 0x0403),	      CFG_W16(TREE_BRIDGE, PCI_COMMAND, 0x0407),
		CFG_W16(TREE_BRIDGE, PCI_COMMAND, 0x0403),
	};

	(void)state;
	fake_set(fake_at(fake, TREE_EDU), PCI_COMMAND, 2, 0x0007);
	pci_apply_backward(&devs.pci, &shutdown_intx_off);
	assert_writes(fake, want);
	assert_true(children_first());
	/* The twin: the other order. */
	end(state);
	begin(state);
	fake_set(fake_at(fake, TREE_EDU), PCI_COMMAND, 2, 0x0007);
	pci_apply_backward(&devs.pci, &shutdown_disable_msi);
	assert_false(fake_writes_are(fake, want, ARRAY_SIZE(want)));
}

static void bridges_only_touches_nothing_else(void **state)
{
	static const struct fake_access want[] = { CFG_W16(TREE_BRIDGE, PCI_COMMAND, 0x0003) };

	(void)state;
	pci_apply_backward(&devs.pci, &shutdown_bridges_only);
	assert_writes(fake, want);
	assert_int_equal(fake->logged, 2);
	fake_clear_log(fake);
	pci_apply_forward(&devs.pci, &shutdown_keep_msi);
	assert_false(fake_writes_are(fake, want, ARRAY_SIZE(want)));
}

static u16 reset_master[4];
static unsigned int resets;

static enum status count_reset(struct pci_dev *dev)
{
	reset_master[resets++] = (u16)fake_get(fake_at(fake, dev->bdf), PCI_COMMAND, 2);
	return ERR_TIMEOUT; /* makes no difference: bus master is cleared all the same */
}

static void reset_comes_before_bus_master_is_cleared(void **state)
{
	static const struct pci_driver with_reset = { .name = "with", .reset = count_reset }, without = { .name = "without" };

	(void)state;
	resets = 0;
	fake_dev(&devs, TREE_EDU)->driver = &with_reset;
	fake_dev(&devs, TREE_BLK)->driver = &without;
	pci_apply_backward(&devs.pci, &shutdown_reset);
	assert_int_equal(resets, 1);
	assert_int_equal(reset_master[0], 0x0407);
	assert_true(clears_only_bus_master(all, ARRAY_SIZE(all)));
	/* The twin: keep-msi resets no device. */
	end(state);
	begin(state);
	fake_dev(&devs, TREE_EDU)->driver = &with_reset;
	pci_apply_backward(&devs.pci, &shutdown_keep_msi);
	assert_int_equal(resets, 1);
}

/* --- drain --- */

#define EXP 0xa0 /* of edu, which has none in QEMU */

static void express(u16 device_status)
{
	struct fake_fn *fn = fake_at(fake, TREE_EDU);

	fake_cap(fn, EXP, PCI_CAP_ID_EXP);
	fake_set(fn, EXP + PCI_EXP_DEVSTA, 2, device_status);
	fake_enumerate(fake, &devs);
}

/* What is done to edu, in order: kind and register. */
static bool edu_accesses_are(const struct fake_access *want, size_t n)
{
	size_t found = 0;

	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i];

		if (a->bdf != TREE_EDU)
			continue;
		if (found == n || a->kind != want[found].kind || a->where != want[found].where || a->size != 2 ||
		    a->value != want[found].value)
			return false;
		found++;
	}
	return found == n;
}

static const struct fake_access drained[] = {
	{ FAKE_CFG_READ, TREE_EDU, PCI_COMMAND, 2, 0x0407, false },
	{ FAKE_CFG_WRITE, TREE_EDU, PCI_COMMAND, 2, 0x0403, false },
	{ FAKE_CFG_READ, TREE_EDU, PCI_COMMAND, 2, 0x0403, false },
	{ FAKE_CFG_READ, TREE_EDU, EXP + PCI_EXP_DEVSTA, 2, 0x0000, false },
};

static void drain_reads_back_and_then_waits_for_pending_transactions(void **state)
{
	express(0);
	pci_apply_backward(&devs.pci, &shutdown_drain);
	assert_true(edu_accesses_are(drained, ARRAY_SIZE(drained)));
	assert_true(clears_only_bus_master(all, ARRAY_SIZE(all)));
	assert_false(fake_log_has("pending"));
	/* Without the capability there is nothing to read. */
	end(state);
	begin(state);
	pci_apply_backward(&devs.pci, &shutdown_drain);
	assert_true(edu_accesses_are(drained, ARRAY_SIZE(drained) - 1));
	/* The twin: keep-msi does not read back. */
	end(state);
	begin(state);
	pci_apply_backward(&devs.pci, &shutdown_keep_msi);
	assert_true(edu_accesses_are(drained, 2));
	assert_false(edu_accesses_are(drained, ARRAY_SIZE(drained) - 1));
}

static unsigned int asked;

static void answer_the_third(struct fake_pci *pci, const struct fake_access *access)
{
	if (access->where == EXP + PCI_EXP_DEVSTA && ++asked == 2)
		fake_set(fake_at(pci, access->bdf), EXP + PCI_EXP_DEVSTA, 2, 0);
}

static void drain_waits_while_something_is_pending(void **state)
{
	(void)state;
	express(PCI_EXP_DEVSTA_TRPND);
	asked = 0;
	fake->watch = answer_the_third;
	pci_apply_backward(&devs.pci, &shutdown_drain);
	assert_int_equal(asked, 3);
	assert_false(fake_log_has("pending"));
}

static void drain_times_out_with_a_line(void **state)
{
	(void)state;
	express(PCI_EXP_DEVSTA_TRPND);
	fake_x86.pm_step = 3579545 / 10; /* 100 ms a read */
	pci_apply_backward(&devs.pci, &shutdown_drain);
	assert_true(fake_log_has("pci 0000:01:00.0 transactions still pending after 700 ms"));
	assert_true(clears_only_bus_master(all, ARRAY_SIZE(all)));
}

static void drain_does_not_wait_for_a_removed_function(void **state)
{
	(void)state;
	express(PCI_EXP_DEVSTA_TRPND);
	fake_at(fake, TREE_EDU)->answers = 0;
	pci_apply_backward(&devs.pci, &shutdown_drain);
	assert_false(fake_log_has("pending"));
	assert_int_equal(fake_get(fake_at(fake, TREE_EDU), PCI_COMMAND, 2), 0x0407);
}

/* --- what all share --- */

/* What kernel.c relies on: a bus master that the next kernel inherits on was set again, or was never cleared. */
static bool says_what_it_leaves(const struct pci_policy *policy)
{
	bool cleared = true;

	pci_apply_backward(&devs.pci, policy);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		cleared &= !(fake_get(fake_at(fake, all[i]), PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
	return cleared == policy->clears_master;
}

static void each_says_what_it_leaves_of_bus_master(void **state)
{
	static const struct pci_policy boasts = { "boasts", skips_bridges, true }, hides = { "hides", pci_clear_master, false };

	for (const struct pci_policy *const *policy = shutdown_policies; *policy; policy++) {
		if (!says_what_it_leaves(*policy))
			fail_msg("%s", (*policy)->name);
		end(state);
		begin(state);
	}
	/* The twins. */
	assert_false(says_what_it_leaves(&boasts));
	assert_false(says_what_it_leaves(&hides));
}

/* One name begins with another. */
static void each_is_found_by_its_name_and_nothing_else_is(void **state)
{
	(void)state;
	for (const struct pci_policy *const *policy = shutdown_policies; *policy; policy++)
		assert_ptr_equal(pci_policy_named(shutdown_policies, (*policy)->name), *policy);
	assert_ptr_equal(pci_policy_named(shutdown_policies, "disable-msi"), &shutdown_disable_msi);
	assert_null(pci_policy_named(shutdown_policies, "keep"));
	assert_null(pci_policy_named(shutdown_policies, ""));
}

static bool asks_no_driver(const struct pci_policy *policy)
{
	return policy == &shutdown_none || policy == &shutdown_bridges_only; /* a crash; firmware has other drivers */
}

static u16 called_master[4];
static unsigned int calls;

static void callback(struct pci_dev *dev)
{
	called_master[calls++] = (u16)fake_get(fake_at(fake, dev->bdf), PCI_COMMAND, 2);
}

static void the_drivers_callback_comes_first(void **state)
{
	static const struct pci_driver with_callback = { .name = "with", .shutdown = callback }, without = { .name = "without" };

	for (const struct pci_policy *const *policy = shutdown_policies; *policy; policy++) {
		calls = 0;
		fake_dev(&devs, TREE_EDU)->driver = &with_callback;
		fake_dev(&devs, TREE_BLK)->driver = &without;
		pci_apply_backward(&devs.pci, *policy);
		if (asks_no_driver(*policy)) {
			assert_int_equal(calls, 0);
		} else {
			assert_int_equal(calls, 1);
			assert_int_equal(called_master[0], 0x0407); /* bus master and MSI were still on */
		}
		end(state);
		begin(state);
	}
}

static void a_removed_function_is_not_written_to(void **state)
{
	for (const struct pci_policy *const *policy = shutdown_policies; *policy; policy++) {
		for (unsigned int f = 0; f < fake->fns; f++)
			fake->fn[f]->answers = 0;
		pci_apply_backward(&devs.pci, *policy);
		assert_no_writes(fake);
		end(state);
		begin(state);
	}
}

static void a_read_only_function_is_skipped(void **state)
{
	static const struct pci_driver with_callback = { .name = "with", .shutdown = callback };
	static const u16 others[] = { TREE_BRIDGE, TREE_PLAIN, TREE_BLK };
	struct pci_dev *edu = fake_dev(&devs, TREE_EDU);

	(void)state;
	calls = 0;
	edu->read_only = true;
	edu->driver = &with_callback;
	pci_apply_backward(&devs.pci, &shutdown_keep_msi);
	assert_true(clears_only_bus_master(others, ARRAY_SIZE(others)));
	for (const struct pci_policy *const *policy = shutdown_policies; *policy; policy++)
		pci_apply_backward(&devs.pci, *policy);
	for (unsigned int i = 0; i < fake->logged; i++)
		assert_int_not_equal(fake->log[i].bdf, TREE_EDU);
	assert_int_equal(calls, 0);
	assert_int_equal(fake_get(fake_at(fake, TREE_EDU), PCI_COMMAND, 2), 0x0407);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(keep_msi_clears_bus_master_and_nothing_else),
		T(keep_msi_costs_one_read_and_one_write_a_function),
		T(keep_msi_writes_nothing_where_bus_master_was_off),
		T(keep_msi_skips_a_removed_function),
		T(the_signature_rejects_every_other_policy),
		T(the_order_check_rejects_parents_first),
		T(disable_msi_turns_msi_off_before_bus_master),
		T(none_touches_nothing),
		T(disable_msi_only_leaves_bus_master_on),
		T(intx_off_disables_intx_before_msi),
		T(bridges_only_touches_nothing_else),
		T(reset_comes_before_bus_master_is_cleared),
		T(drain_reads_back_and_then_waits_for_pending_transactions),
		T(drain_waits_while_something_is_pending),
		T(drain_times_out_with_a_line),
		T(drain_does_not_wait_for_a_removed_function),
		T(each_says_what_it_leaves_of_bus_master),
		T(each_is_found_by_its_name_and_nothing_else_is),
		T(a_removed_function_is_not_written_to),
		T(the_drivers_callback_comes_first),
		T(a_read_only_function_is_skipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
