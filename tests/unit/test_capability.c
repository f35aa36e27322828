/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the walks over the capability lists are bounded whatever the lists hold, and find what a valid list holds. Could be false:
 * a list may loop, point into the header, end in all ones, or carry reserved bits in its pointers. Provoked: each of these lists,
 * and a valid one. Failure: a walk that does not end (the test does not either), reads in the header, or another set of
 * capabilities.
 */
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

#define BDF PCI_BDF(0, 1, 0)

static struct fake_pci *fake;
static struct fake_fn *fn;
static struct pci_dev dev;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	fake = fake_pci_new();
	fn = fake_add(fake, BDF, 0x1111, 0x2222);
	dev = (struct pci_dev){ .access = &fake->access, .bdf = BDF };
	return 0;
}

static int end(void **state)
{
	(void)state;
	fake_pci_free(fake);
	return 0;
}

/* Walks, and returns how many capabilities there were; their positions are in seen. */
static u8 seen[64];
static unsigned int walk(void)
{
	unsigned int n = 0;

	dev.inherited.status = (u16)fake_get(fn, PCI_STATUS, 2);
	for (struct pci_cap cap = { 0 }; pci_next_capability(&dev, &cap);) {
		assert_true(n < ARRAY_SIZE(seen));
		assert_int_equal(cap.id, fn->cfg[cap.pos]);
		seen[n++] = cap.pos;
	}
	return n;
}

/* The header has fields, not capabilities: the walk may read only the list's own pointer there. */
static bool header_left_alone(void)
{
	for (unsigned int i = 0; i < fake->logged; i++)
		if (fake->log[i].where < 0x40 && fake->log[i].where != PCI_CAPABILITY_LIST)
			return false;
	return true;
}

static void a_valid_list_is_walked_in_its_order(void **state)
{
	(void)state;
	fake_cap(fn, 0xc0, PCI_CAP_ID_MSIX);
	fake_cap(fn, 0x40, 0x01);
	fake_cap(fn, 0xfc, PCI_CAP_ID_VNDR);
	assert_int_equal(walk(), 3);
	assert_memory_equal(seen, "\xc0\x40\xfc", 3);
	assert_true(header_left_alone());
	assert_int_equal(fake_log_lines(), 0);
}

static void without_the_status_bit_there_is_no_list(void **state)
{
	(void)state;
	fake_cap(fn, 0x40, 0x01);
	fake_set(fn, PCI_STATUS, 2, 0);
	assert_int_equal(walk(), 0);
	assert_int_equal(fake->logged, 0);
}

static void the_reserved_low_bits_of_a_pointer_are_masked(void **state)
{
	(void)state;
	fake_cap(fn, 0x40, 0x01);
	fake_cap(fn, 0x50, PCI_CAP_ID_MSI);
	fn->cfg[PCI_CAPABILITY_LIST] |= 3;
	fn->cfg[0x41] |= 1;
	assert_int_equal(walk(), 2);
	assert_memory_equal(seen, "\x40\x50", 2);
}

static void a_pointer_into_the_header_ends_the_list(void **state)
{
	(void)state;
	for (unsigned int pointer = 0; pointer < 0x40; pointer++) {
		fn->next = &fn->cfg[PCI_CAPABILITY_LIST];
		fake_cap(fn, 0x40, 0x01);
		*fn->next = (u8)pointer;
		assert_int_equal(walk(), 1);
		assert_true(header_left_alone());
	}
}

static void the_header_check_sees_a_read_there(void **state)
{
	(void)state;
	pci_read_config_byte(&dev, PCI_INTERRUPT_PIN);
	assert_false(header_left_alone());
}

/* No list without a loop has more entries than fit between 0x40 and 0x100 in 4 bytes each. */
static void a_loop_ends_with_one_line(void **state)
{
	static const u8 loops[][3] = { { 0x40, 0x40, 0x40 }, { 0x40, 0x50, 0x40 }, { 0x50, 0x60, 0x50 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(loops); i++) {
		fake_log_start();
		fn->next = &fn->cfg[PCI_CAPABILITY_LIST];
		fake_cap(fn, 0x40, 0x01);
		for (unsigned int j = 0; j < 2; j++)
			fn->cfg[loops[i][j] + 1] = loops[i][j + 1];
		fn->cfg[0x41] = loops[i][1];
		assert_uint_in_range(walk(), 3, (0x100 - 0x40) / 4);
		assert_one_line("0000:00:01.0 capability list loops");
	}
}

static void the_longest_list_without_a_loop_is_no_loop(void **state)
{
	(void)state;
	for (unsigned int pos = 0x40; pos < 0x100; pos += 4)
		fake_cap(fn, (u8)pos, 0x01);
	assert_int_equal(walk(), (0x100 - 0x40) / 4);
	assert_int_equal(fake_log_lines(), 0);
}

static void all_ones_end_the_list(void **state)
{
	(void)state;
	fake_cap(fn, 0x40, 0x01);
	fake_cap(fn, 0x50, 0xff);
	fn->cfg[0x51] = 0xff;
	assert_int_equal(walk(), 1);
	/* A function that is removed after its n-th access. */
	for (int n = 0; n < 4; n++) {
		fn->answers = n;
		assert_true(walk() <= 1);
	}
}

/* --- extended capabilities --- */

static enum status find(u16 id, u16 *pos)
{
	*pos = 0xdead;
	return pci_find_ext_capability(&dev, id, 8, pos);
}

static void an_extended_capability_is_found_at_any_offset(void **state)
{
	u16 pos;

	(void)state;
	dev.pcie = 0x40;
	fake_ext_cap(fn, 0x100, 0x0001);
	fake_ext_cap(fn, 0xffc, 0x0003);
	fake_ext_cap(fn, 0x200, PCI_EXT_CAP_ID_ARI);
	assert_int_equal(find(PCI_EXT_CAP_ID_ARI, &pos), OK);
	assert_int_equal(pos, 0x200);
	assert_int_equal(find(0x0001, &pos), OK);
	assert_int_equal(pos, 0x100);
	assert_int_equal(find(PCI_EXT_CAP_ID_SRIOV, &pos), ERR_ABSENT);
}

static void extended_space_is_not_read_where_there_is_none(void **state)
{
	u16 pos;

	(void)state;
	fake_ext_cap(fn, 0x100, PCI_EXT_CAP_ID_ARI);
	assert_int_equal(find(PCI_EXT_CAP_ID_ARI, &pos), ERR_ABSENT); /* not PCIe */
	dev.pcie = 0x40;
	fake->access.cfg_size = 256;
	assert_int_equal(find(PCI_EXT_CAP_ID_ARI, &pos), ERR_ABSENT); /* CF8/CFC */
	assert_int_equal(fake->logged, 0);
	/* The twin: with both it is found. */
	fake->access.cfg_size = 4096;
	assert_int_equal(find(PCI_EXT_CAP_ID_ARI, &pos), OK);
}

static void an_extended_list_ends_at_nothing_all_ones_or_the_low_space(void **state)
{
	static const u32 heads[] = { 0, 0xffffffff, 0x0f010001, 0x00110001, 0xfff10001 };
	u16 pos;

	(void)state;
	dev.pcie = 0x40;
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		fake_set(fn, 0x100, 4, heads[i]);
		assert_int_equal(find(PCI_EXT_CAP_ID_ARI, &pos), ERR_ABSENT);
		for (unsigned int j = 0; j < fake->logged; j++)
			assert_true(fake->log[j].where >= 0x100);
	}
}

static void an_extended_list_that_loops_ends(void **state)
{
	u16 pos;

	(void)state;
	dev.pcie = 0x40;
	fake_ext_cap(fn, 0x100, 0x0001);
	fake_ext_cap(fn, 0x140, 0x0002);
	fake_set(fn, 0x140, 4, 0x10010002); /* back to 0x100 */
	assert_int_equal(find(PCI_EXT_CAP_ID_ARI, &pos), ERR_ABSENT);
	assert_true(fake->logged <= (4096 - 256) / 4);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(a_valid_list_is_walked_in_its_order),
		T(without_the_status_bit_there_is_no_list),
		T(the_reserved_low_bits_of_a_pointer_are_masked),
		T(a_pointer_into_the_header_ends_the_list),
		T(the_header_check_sees_a_read_there),
		T(a_loop_ends_with_one_line),
		T(the_longest_list_without_a_loop_is_no_loop),
		T(all_ones_end_the_list),
		T(an_extended_capability_is_found_at_any_offset),
		T(extended_space_is_not_read_where_there_is_none),
		T(an_extended_list_ends_at_nothing_all_ones_or_the_low_space),
		T(an_extended_list_that_loops_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
