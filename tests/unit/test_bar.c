/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: pci_bar_address gives the address of an assigned memory BAR, of both widths, and of nothing else.
 * Could be false: the low bits are flags, a 64-bit BAR takes two registers, a bridge has two BARs, and the last one may claim to be
 * half of a 64-bit one (PCIe 7.5.1.2.1).
 * Provoked: one register value a row. Failure: another address, or an address where there is none.
 */
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

#define BDF PCI_BDF(0, 1, 0)

static const struct row {
	const char *what;
	unsigned int bar;
	u32 low;
	u32 high;
	u8 header_type;
	enum status want;
	u64 address;
} rows[] = {
	{ "32 bits", 0, 0xfebf1000, 0, 0, OK, 0xfebf1000 },
	{ "32 bits, prefetchable: the neighbour is not its upper half", 1, 0xfe000008, 0x12345678, 0, OK, 0xfe000000 },
	{ "below 1 MiB (type 1, reserved since PCI 2.2)", 2, 0x000c0002, 0, 0, OK, 0xc0000 },
	{ "64 bits above 4 GiB", 4, 0x0000000c, 0x8, 0, OK, 0x800000000 },
	{ "64 bits below 4 GiB", 0, 0xe0000004, 0, 0, OK, 0xe0000000 },
	{ "64 bits whose lower half is 0", 2, 0x00000004, 0x1, 0, OK, 0x100000000 },
	{ "I/O", 0, 0x0000c041, 0, 0, ERR_ABSENT, 0 },
	{ "not assigned", 0, 0, 0, 0, ERR_ABSENT, 0 },
	{ "not assigned, 64 bits", 0, 0x00000004, 0, 0, ERR_ABSENT, 0 },
	{ "all ones", 0, 0xffffffff, 0, 0, ERR_ABSENT, 0 },
	{ "the last claims 64 bits", 5, 0xfe000004, 0xffff, 0, ERR_ABSENT, 0 },
	{ "no such BAR", 6, 0xfe000000, 0, 0, ERR_ABSENT, 0 },
	{ "no such BAR, as MSI-X can name it", 7, 0xfe000000, 0, 0, ERR_ABSENT, 0 },
	{ "of a bridge", 1, 0xfe000000, 0, 1, OK, 0xfe000000 },
	{ "a bridge's last claims 64 bits", 1, 0xfe000004, 0, 1, ERR_ABSENT, 0 },
	{ "a bridge has two: the third is its bus numbers", 2, 0x00020100, 0, 1, ERR_ABSENT, 0 },
};

/* Whether the function under test answers a row as it should. */
static bool row_holds(const struct row *row)
{
	struct fake_pci *fake = fake_pci_new();
	struct fake_fn *fn = fake_add(fake, BDF, 0x1111, 0x2222);
	struct pci_dev dev = { .access = &fake->access, .bdf = BDF, .header_type = row->header_type };
	u64 address = 0;
	enum status s;

	fake_set(fn, (u16)(0x10 + 4 * row->bar), 4, row->low);
	fake_set(fn, (u16)(0x14 + 4 * row->bar), 4, row->high);
	s = pci_bar_address(&dev, row->bar, &address);
	assert_no_writes(fake);
	fake_pci_free(fake);
	return s == row->want && (s != OK || address == row->address);
}

static void every_kind_of_bar_is_understood(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (!row_holds(&rows[i]))
			fail_msg("BAR %u 0x%08x: %s", rows[i].bar, rows[i].low, rows[i].what);
}

static void a_wrong_expectation_is_caught(void **state)
{
	struct row wrong = rows[3];

	(void)state;
	wrong.address = 0x80000000c; /* as if the flags were part of it */
	assert_false(row_holds(&wrong));
	wrong = rows[6];
	wrong.want = OK;
	assert_false(row_holds(&wrong));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_bar_is_understood),
		cmocka_unit_test(a_wrong_expectation_is_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
