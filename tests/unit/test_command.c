/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the command register is written as 16 bits, changes only the bit in question, and is not written at all where nothing
 * changes or the function was removed; bus master is set upstream first; the log has the old and the new value. Could be false: a
 * 32-bit write would clear error bits of Status; a removed function must not be written to; a function below a bridge without bus
 * master can issue no request. Provoked: a function with error bits set, a removed one, a bridge upstream. Failure: another list of
 * writes.
 */
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

static struct fake_pci *fake;
static struct fake_devs devs;
static struct pci_dev *edu;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	fake = fake_tree();
	fake_enumerate(fake, &devs);
	edu = fake_dev(&devs, TREE_EDU);
	return 0;
}

static int end(void **state)
{
	(void)state;
	assert_true(fake_status_spared(fake));
	fake_pci_free(fake);
	return 0;
}

static void set_command(u16 bdf, u16 value)
{
	fake_set(fake_at(fake, bdf), PCI_COMMAND, 2, value);
}

static void clearing_bus_master_is_one_16_bit_write_of_that_bit(void **state)
{
	static const struct fake_access want[] = { CFG_W16(TREE_EDU, PCI_COMMAND, 0x0543) };
	static const struct fake_access as_32_bits[] = { CFG_W32(TREE_EDU, PCI_COMMAND, 0x30100543) };

	(void)state;
	set_command(TREE_EDU, 0x0547);
	pci_clear_master(edu);
	assert_writes(fake, want);
	assert_false(fake_writes_are(fake, as_32_bits, 1));
	assert_one_line("pci 0000:01:00.0 command 0x0547 -> 0x0543 (clear bus master)");
	assert_int_equal(fake_get(fake_at(fake, TREE_EDU), PCI_STATUS, 2), 0x3010);
}

static void nothing_is_written_where_nothing_changes(void **state)
{
	(void)state;
	set_command(TREE_EDU, 0x0403);
	pci_clear_master(edu);
	pci_enable_memory(edu);
	pci_intx(edu, false);
	set_command(TREE_EDU, 0x0007);
	pci_set_master(edu);
	pci_intx(edu, true);
	assert_no_writes(fake);
	assert_int_equal(fake_log_lines(), 0);
}

static void nothing_is_written_to_a_removed_function(void **state)
{
	(void)state;
	fake_at(fake, TREE_EDU)->answers = 0;
	pci_clear_master(edu);
	pci_intx(edu, true);
	pci_enable_memory(edu);
	pci_set_master(edu); /* the bridge is there and on already */
	assert_no_writes(fake);
	assert_int_equal(fake_log_lines(), 0);
}

static void a_function_that_is_removed_between_read_and_write_affects_no_other(void **state)
{
	static const struct fake_access want[] = { CFG_W16(TREE_EDU, PCI_COMMAND, 0x0403) };

	(void)state;
	fake_at(fake, TREE_EDU)->answers = 1;
	pci_clear_master(edu);
	assert_writes(fake, want);
}

static void bus_master_is_set_upstream_first(void **state)
{
	static const struct fake_access want[] = { CFG_W16(TREE_BRIDGE, PCI_COMMAND, 0x0007),
						   CFG_W16(TREE_EDU, PCI_COMMAND, 0x0007) };
	static const struct fake_access child_first[] = { CFG_W16(TREE_EDU, PCI_COMMAND, 0x0007),
							  CFG_W16(TREE_BRIDGE, PCI_COMMAND, 0x0007) };

	(void)state;
	set_command(TREE_BRIDGE, 0x0003);
	set_command(TREE_EDU, 0x0003);
	pci_set_master(edu);
	assert_writes(fake, want);
	assert_false(fake_writes_are(fake, child_first, 2));
}

/* A read-only bridge stays as it is, even if a function below it can issue no request then. */
static void a_read_only_bridge_is_skipped(void **state)
{
	static const struct fake_access want[] = { CFG_W16(TREE_EDU, PCI_COMMAND, 0x0007) };

	(void)state;
	set_command(TREE_BRIDGE, 0x0003);
	set_command(TREE_EDU, 0x0003);
	fake_dev(&devs, TREE_BRIDGE)->read_only = true;
	pci_set_master(edu);
	assert_writes(fake, want);
}

/* Whether the kernel may set bus master of the bridge upstream, and of the next one; whether it was inherited on. */
static const struct pci_dev *closed(bool ours, bool on, bool ours_above, bool on_above)
{
	struct pci_dev *bridge = fake_dev(&devs, TREE_BRIDGE), *above = fake_dev(&devs, TREE_PLAIN);

	bridge->bridge = above;
	bridge->read_only = !ours;
	bridge->inherited.command = on ? 0x0007 : 0x0003;
	above->read_only = !ours_above;
	above->inherited.command = on_above ? 0x0007 : 0x0003;
	return pci_blocking_bridge(edu);
}

static void a_bridge_blocks_where_it_is_off_and_read_only(void **state)
{
	(void)state;
	assert_ptr_equal(closed(false, false, true, true), fake_dev(&devs, TREE_BRIDGE));
	assert_ptr_equal(closed(true, true, false, false), fake_dev(&devs, TREE_PLAIN));
	assert_ptr_equal(closed(false, true, false, false), fake_dev(&devs, TREE_PLAIN));
	assert_ptr_equal(closed(true, false, false, false), fake_dev(&devs, TREE_PLAIN));
	/* The twins: what is off may be set, what is read-only is on; and there is no bridge. */
	assert_null(closed(true, false, false, true));
	assert_null(closed(false, true, true, false));
	assert_null(pci_blocking_bridge(fake_dev(&devs, TREE_PLAIN)));
}

static void clearing_bus_master_leaves_the_bridge_alone(void **state)
{
	(void)state;
	pci_clear_master(edu);
	assert_int_equal(fake_get(fake_at(fake, TREE_BRIDGE), PCI_COMMAND, 2), 0x0007);
}

static void memory_and_intx_have_their_bits(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(TREE_EDU, PCI_COMMAND, 0x0002), CFG_W16(TREE_EDU, PCI_COMMAND, 0x0402),
		CFG_W16(TREE_EDU, PCI_COMMAND, 0x0002), CFG_W16(TREE_EDU, PCI_COMMAND, 0x0003),
		CFG_W16(TREE_EDU, PCI_COMMAND, 0x0002),
	};

	(void)state;
	set_command(TREE_EDU, 0);
	pci_enable_memory(edu);
	pci_intx(edu, false);
	pci_intx(edu, true);
	assert_false(pci_disable_io(edu));
	pci_enable_io(edu);
	assert_true(pci_disable_io(edu));
	assert_writes(fake, want);
	assert_int_equal(fake_log_lines(), 5);
	assert_true(fake_log_has("0x0002 -> 0x0402 (disable INTx)"));
	assert_true(fake_log_has("0x0402 -> 0x0002 (enable INTx)"));
}

static void a_bit_that_is_stuck_costs_one_write(void **state)
{
	static const struct fake_access want[] = { CFG_W16(TREE_EDU, PCI_COMMAND, 0x0403) };

	(void)state;
	fake_writable(fake_at(fake, TREE_EDU), PCI_COMMAND, 2, 0x0543); /* bus master is wired to 1 */
	pci_clear_master(edu);
	assert_writes(fake, want);
	assert_int_equal(fake_get(fake_at(fake, TREE_EDU), PCI_COMMAND, 2), 0x0407);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(clearing_bus_master_is_one_16_bit_write_of_that_bit),
		T(nothing_is_written_where_nothing_changes),
		T(nothing_is_written_to_a_removed_function),
		T(a_function_that_is_removed_between_read_and_write_affects_no_other),
		T(bus_master_is_set_upstream_first),
		T(a_read_only_bridge_is_skipped),
		T(a_bridge_blocks_where_it_is_off_and_read_only),
		T(clearing_bus_master_leaves_the_bridge_alone),
		T(memory_and_intx_have_their_bits),
		T(a_bit_that_is_stuck_costs_one_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
