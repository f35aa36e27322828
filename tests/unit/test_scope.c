/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: outside QEMU only the functions in handoff.allow may be written to; a list that is no list of functions is refused. Could
 * be false: a typing error that is read as another address would let the walk write to a disk in use. Provoked: addresses as lspci
 * prints them, in every wrong form, and the four settings over the tree. Failure: a wrong form accepted, or a function that may be
 * written to and should not be.
 */
#include "images/scope.h"
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

static struct fake_pci *fake;
static struct fake_devs devs;

static int begin(void **state)
{
	static const struct pci_driver driver = { .name = "some" };

	(void)state;
	fake_log_start();
	fake = fake_tree();
	fake_enumerate(fake, &devs);
	fake_dev(&devs, TREE_EDU)->driver = &driver;
	fake_dev(&devs, TREE_BLK)->driver = &driver;
	return 0;
}

static int end(void **state)
{
	(void)state;
	fake_pci_free(fake);
	return 0;
}

static void lists_of_addresses_are_read(void **state)
{
	static const char *const good[] = { "", "00:03.0", "0000:00:03.0", "0:3.0", "ff:1f.7", "0001:80:00.1,00:03.0", "FF:1F.7" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		if (scope_check(good[i]) != OK)
			fail_msg("\"%s\" refused", good[i]);
	assert_int_equal(fake_log_lines(), 0);
}

static void anything_else_is_refused_with_one_line(void **state)
{
	static const char *const bad[] = {
		"all",	    "3",	"00:03",	   "00:03.",	"00:03.8",	 "00:20.0",  "100:00.0",	 "00.03.0",
		"00:03.01", "00:03.0;", "00:03.0 01:00.0", "0:0:0:0.0", "00000:00:03.0", ",00:03.0", "00:03.0,,00:04.0", "-1:03.0",
		"00:03.0x"
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_log_start();
		if (scope_check(bad[i]) != ERR_INVALID)
			fail_msg("\"%s\" accepted", bad[i]);
		assert_one_line("option handoff.allow: \"");
	}
}

static void a_list_names_functions_by_segment_and_address(void **state)
{
	struct pci_access other = fake->access;
	struct pci_dev dev = { .access = &fake->access, .bdf = PCI_BDF(0x1a, 0x1f, 7) };
	struct pci_dev elsewhere = { .access = &other, .bdf = PCI_BDF(0x1a, 0x1f, 7) };

	(void)state;
	other.segment = 0x10;
	assert_true(scope_listed("1a:1f.7", &dev));
	assert_true(scope_listed("00:01.0,0000:1A:1F.7", &dev));
	assert_false(scope_listed("1a:1f.6,1a:1e.7,1b:1f.7", &dev));
	assert_false(scope_listed("", &dev));
	assert_false(scope_listed("1a:1f.7", &elsewhere));
	assert_true(scope_listed("0010:1a:1f.7", &elsewhere));
}

/* Which of bridge, plain, edu and blk may be written to: a letter each. */
static const char *ours(bool in_qemu, bool bound_only, const char *allow)
{
	static const u16 bdfs[] = { TREE_BRIDGE, TREE_PLAIN, TREE_EDU, TREE_BLK };
	static char text[5];

	scope_apply(&devs.pci, in_qemu, bound_only, allow);
	for (size_t i = 0; i < ARRAY_SIZE(bdfs); i++)
		text[i] = fake_dev(&devs, bdfs[i])->read_only ? '-' : "BPEV"[i];
	return text;
}

static void in_qemu_every_function_may_be_written(void **state)
{
	(void)state;
	assert_string_equal(ours(true, false, ""), "BPEV");
}

static void on_a_real_machine_every_function_is_read_only(void **state)
{
	(void)state;
	assert_string_equal(ours(false, false, ""), "----");
	assert_null(fake_dev(&devs, TREE_EDU)->driver);
}

static void only_what_is_allowed_may_be_written(void **state)
{
	(void)state;
	assert_string_equal(ours(false, false, "01:00.0"), "--E-");
	assert_non_null(fake_dev(&devs, TREE_EDU)->driver);
	assert_null(fake_dev(&devs, TREE_BLK)->driver);
}

static void in_qemu_a_list_narrows_as_well(void **state)
{
	(void)state;
	assert_string_equal(ours(true, false, "00:02.0,01:01.0"), "B--V");
}

static void bound_leaves_out_what_has_no_driver(void **state)
{
	(void)state;
	assert_string_equal(ours(true, true, ""), "--EV");
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(lists_of_addresses_are_read),
		T(anything_else_is_refused_with_one_line),
		T(a_list_names_functions_by_segment_and_address),
		T(in_qemu_every_function_may_be_written),
		T(on_a_real_machine_every_function_is_read_only),
		T(only_what_is_allowed_may_be_written),
		T(in_qemu_a_list_narrows_as_well),
		T(bound_leaves_out_what_has_no_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
