/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: an access to a BAR's memory reaches the device as one access of the requested width; a register of 64 bits is written as
 * its lower half, then its upper one. Could be false: a compiler or a helper may split, merge or reorder; a device may then take
 * half an address for a whole one. Provoked: memory in a BAR that logs each access. Failure: another list of accesses.
 */
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

#define AT (FAKE_EDU_BAR + 0x40)

static void accesses_have_the_requested_width_and_the_lower_half_comes_first(void **state)
{
	static const struct fake_access want[] = {
		{ FAKE_MEM_WRITE, 0, AT, 1, 0x5a, false },
		{ FAKE_MEM_WRITE, 0, AT + 2, 2, 0x1234, false },
		MEM_W32(AT + 4, 0xdeadbeef),
		MEM_W32(AT + 8, 0x89abcdef),
		MEM_W32(AT + 12, 0x01234567),
	};
	struct fake_pci *fake = fake_tree();
	static struct fake_devs devs;
	struct pci_dev *dev;
	u64 bar;

	(void)state;
	fake_log_start();
	fake_enumerate(fake, &devs);
	dev = fake_dev(&devs, TREE_EDU);
	fake_sized(fake, dev);
	assert_int_equal(pci_map_bar(dev, "edu", 0, 0, MIB, &bar), OK);
	fake_clear_log(fake);
	pci_mem_write(dev, AT, 1, 0x5a);
	pci_mem_write(dev, AT + 2, 2, 0x1234);
	pci_mem_write32(dev, AT + 4, 0xdeadbeef);
	pci_mem_write64_lo_hi(dev, AT + 8, 0x0123456789abcdef);
	assert_writes(fake, want);
	fake_clear_log(fake);
	assert_int_equal(pci_mem_read(dev, AT + 2, 2), 0x1234);
	assert_int_equal(pci_mem_read32(dev, AT), 0x1234005a);
	assert_int_equal(fake->logged, 2);
	assert_int_equal(fake->log[0].size, 2);
	assert_int_equal(fake->log[1].size, 4);
	/* The twin: with the halves the other way round it is another list. */
	pci_mem_write32(dev, AT + 12, 0x01234567);
	pci_mem_write32(dev, AT + 8, 0x89abcdef);
	assert_false(fake_writes_are(fake, want + 3, 2));
	fake_pci_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accesses_have_the_requested_width_and_the_lower_half_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
