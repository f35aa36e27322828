/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: every register constant of pci/regs.h has the value that <linux/pci_regs.h> gives the same name. Could be false: a typing
 * error reads like a register, and a wrong one may still work on QEMU. Provoked: unit.mk takes the names from pci/regs.h and
 * compiles one table with each header; both are compared. Failure: the name with both values. A name that Linux's header lacks must
 * be in the list below, with its reason.
 */
#include "tests/unit/regs.h"
#include "tests/unit/unit.h"

static const struct {
	const char *name;
	const char *reason;
} ours_only[] = {
	{ "PCI_HEADER_TYPE_MASK", "Linux 6.1 writes 0x7f; the name came with 6.7" },
	{ "PCI_HEADER_TYPE_MFD", "Linux 6.1 writes 0x80; the name came with 6.7" },
	{ "PCI_EXT_CAP_START", "Linux writes PCI_CFG_SPACE_SIZE, the end of what comes before (PCIe 7.6: 0x100)" },
};

static bool is_ours_only(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(ours_only); i++)
		if (!strcmp(ours_only[i].name, name))
			return true;
	return false;
}

static bool agree(const struct reg *ours, const struct reg *theirs)
{
	for (; ours->name; ours++, theirs++) {
		if (theirs->value == REG_ABSENT && is_ours_only(ours->name))
			continue;
		if (strcmp(ours->name, theirs->name) || ours->value != theirs->value) {
			print_message("%s is 0x%llx, in Linux 0x%llx\n", ours->name, (unsigned long long)ours->value,
				      (unsigned long long)theirs->value);
			return false;
		}
	}
	return true;
}

static unsigned int length(const struct reg *regs)
{
	unsigned int n = 0;

	while (regs[n].name)
		n++;
	return n;
}

static void every_constant_is_linux(void **state)
{
	(void)state;
	assert_true(length(regs_ours) > 50);
	assert_int_equal(length(regs_ours), length(regs_linux));
	assert_true(agree(regs_ours, regs_linux));
}

static void a_changed_value_is_caught(void **state)
{
	struct reg changed[] = { regs_ours[0], { NULL, 0 } };

	(void)state;
	changed[0].value ^= 1;
	assert_false(agree(changed, regs_linux));
}

static void a_name_that_linux_lacks_is_caught(void **state)
{
	const struct reg ours[] = { { "PCI_NO_SUCH_THING", 1 }, { NULL, 0 } };
	const struct reg theirs[] = { { "PCI_NO_SUCH_THING", REG_ABSENT }, { NULL, 0 } };

	(void)state;
	assert_false(agree(ours, theirs));
}

static void every_exception_is_needed(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ours_only); i++) {
		bool found = false;

		for (const struct reg *r = regs_linux; r->name; r++)
			found |= !strcmp(r->name, ours_only[i].name);
		if (!found)
			fail_msg("%s (%s) is not in pci/regs.h", ours_only[i].name, ours_only[i].reason);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_constant_is_linux),
		cmocka_unit_test(a_changed_value_is_caught),
		cmocka_unit_test(a_name_that_linux_lacks_is_caught),
		cmocka_unit_test(every_exception_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
