/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: acpi_read finds ECAM and the PM timer in valid tables, ignores the others with a line, and reads no byte that it has not
 * mapped. Could be false: firmware's tables are full of surprises: old RSDPs, short FADTs, wrong checksums, MCFG entries without
 * memory. Provoked: tables put together by the offsets of ACPI 6.4 in memory that is poisoned until it is mapped, so that the
 * sanitizer stops a read before. Failure: another result, or the sanitizer's report.
 */
#include "boot/acpi.h"
#include "tests/unit/unit.h"

#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#define SIZE 8192

static u8 *memory; /* below 4 GiB: an RSDT holds 32-bit addresses */
static size_t used;
static u8 *rsdp;
static u64 most_mapped; /* bytes that were to be mapped at once */
static struct acpi acpi;

static int once(void **state)
{
	(void)state;
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	return memory == MAP_FAILED;
}

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	ASAN_UNPOISON_MEMORY_REGION(memory, SIZE);
	memset(memory, 0, SIZE);
	used = 0;
	most_mapped = 0;
	return 0;
}

static enum status map(u64 address, u64 size)
{
	if (size > most_mapped)
		most_mapped = size;
	if (address < (u64)(uintptr_t)memory || address >= (u64)(uintptr_t)memory + SIZE || size > SIZE)
		return ERR_RANGE;
	ASAN_UNPOISON_MEMORY_REGION((void *)(uintptr_t)address, size);
	return OK;
}

static void put(u8 *table, size_t offset, unsigned int size, u64 value)
{
	memcpy(table + offset, &value, size);
}

static void sum(u8 *table, size_t size, size_t at)
{
	u8 s = 0;

	table[at] = 0;
	for (size_t i = 0; i < size; i++)
		s = (u8)(s + table[i]);
	table[at] = (u8)-s;
}

/* 5.2.6: signature, length at 4, checksum at 9. Each table is 64 bytes from the next, so that a read across is seen. */
static u8 *table(const char *signature, u32 length)
{
	u8 *t = memory + used;

	used += (length + 127) / 64 * 64;
	assert_true(used <= SIZE);
	memcpy(t, signature, 4);
	put(t, 4, 4, length);
	return t;
}

static u8 *mcfg(unsigned int entries)
{
	return table("MCFG", 44 + 16 * entries);
}

static void mcfg_entry(u8 *t, unsigned int i, u64 base, u16 segment, u8 first, u8 last)
{
	put(t, 44 + 16 * i, 8, base);
	put(t, 52 + 16 * i, 2, segment);
	put(t, 54 + 16 * i, 1, first);
	put(t, 55 + 16 * i, 1, last);
}

/* 5.2.9: PM_TMR_BLK at 76, PM_TMR_LEN at 91, X_PM_TMR_BLK (space, width, offset, size, address) at 208. */
static u8 *fadt(u32 length, u32 port)
{
	u8 *t = table("FACP", length);

	put(t, 76, 4, port);
	put(t, 91, 1, 4);
	return t;
}

/* 5.2.5.3 and 5.2.7, 5.2.8: an RSDP and an XSDT or RSDT that points to the tables. */
static void root(bool xsdt, u8 *const *tables, unsigned int n)
{
	unsigned int size = xsdt ? 8 : 4;
	u8 *r = table(xsdt ? "XSDT" : "RSDT", 36 + n * size);

	for (unsigned int i = 0; i < n; i++)
		put(r, 36 + i * size, size, (u64)(uintptr_t)tables[i]);
	sum(r, 36 + n * size, 9);
	rsdp = memory + used;
	used += 64;
	memcpy(rsdp, "RSD PTR ", 8);
	if (xsdt) {
		put(rsdp, 15, 1, 2);
		put(rsdp, 20, 4, 36);
		put(rsdp, 24, 8, (u64)(uintptr_t)r);
	} else {
		put(rsdp, 16, 4, (u64)(uintptr_t)r);
	}
	sum(rsdp, 20, 8);
	if (xsdt)
		sum(rsdp, 36, 32);
}

static void read_tables(void)
{
	ASAN_POISON_MEMORY_REGION(memory, SIZE);
	acpi_read(&acpi, (u64)(uintptr_t)rsdp, map);
}

static bool ecam_is(unsigned int i, u64 base, u16 segment, u8 first, u8 last)
{
	const struct acpi_ecam *e = &acpi.ecam[i];

	return i < acpi.ecam_count && e->base == base && e->segment == segment && e->first_bus == first && e->last_bus == last;
}

/* What every test that expects to find them builds on. */
static void sound_tables(bool xsdt)
{
	u8 *m = mcfg(2), *f = fadt(276, 0x608), *other = table("APIC", 44), *tables[] = { other, m, f };

	mcfg_entry(m, 0, 0xb0000000, 0, 0, 255);
	mcfg_entry(m, 1, 0x8000000000, 3, 0x40, 0x7f);
	sum(m, 44 + 32, 9);
	sum(f, 276, 9);
	sum(other, 44, 9);
	root(xsdt, tables, 3);
}

static bool all_found(void)
{
	return acpi.ecam_count == 2 && ecam_is(0, 0xb0000000, 0, 0, 255) && ecam_is(1, 0x8000000000, 3, 0x40, 0x7f) &&
	       acpi.pm_timer_port == 0x608;
}

static void ecam_and_pm_timer_are_found_by_either_root(void **state)
{
	for (int xsdt = 0; xsdt < 2; xsdt++) {
		begin(state);
		sound_tables(xsdt);
		read_tables();
		assert_true(all_found());
		assert_int_equal(fake_log_lines(), 0);
	}
}

static void without_a_valid_rsdp_nothing_is_read(void **state)
{
	static const size_t broken[] = { 0, 7, 8, 19 }; /* signature, and what the first checksum covers */

	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		begin(state);
		sound_tables(true);
		rsdp[broken[i]] ^= 0x10;
		read_tables();
		assert_int_equal(acpi.ecam_count, 0);
		assert_int_equal(acpi.pm_timer_port, 0);
		assert_one_line("ACPI: no RSDP");
	}
	begin(state);
	memset(&acpi, 0xee, sizeof(acpi));
	acpi_read(&acpi, 0, map);
	assert_false(all_found());
	assert_int_equal(acpi.ecam_count, 0);
	assert_int_equal(fake_log_lines(), 0);
}

/* An RSDP of revision 2 without an XSDT, and one of revision 0, which has no field for it: both use the RSDT. */
static void without_an_xsdt_the_rsdt_counts(void **state)
{
	(void)state;
	sound_tables(false);
	put(rsdp, 15, 1, 2);
	put(rsdp, 20, 4, 36);
	sum(rsdp, 20, 8);
	sum(rsdp, 36, 32);
	read_tables();
	assert_true(all_found());
	begin(state);
	sound_tables(false);
	put(rsdp, 24, 8, 0x1000); /* not its own bytes any more */
	read_tables();
	assert_true(all_found());
}

/* 5.2.5.3: since revision 2 another checksum covers the whole, with the XSDT's address. */
static void the_extended_checksum_is_checked_too(void **state)
{
	(void)state;
	sound_tables(true);
	rsdp[33] ^= 1;
	read_tables();
	assert_false(all_found());
	assert_int_equal(fake_log_lines(), 1);
}

static void a_root_with_a_wrong_checksum_is_ignored_with_a_line(void **state)
{
	u64 xsdt = 0;

	(void)state;
	sound_tables(true);
	memcpy(&xsdt, rsdp + 24, 8);
	((u8 *)(uintptr_t)xsdt)[20] ^= 1;
	read_tables();
	assert_false(all_found());
	assert_one_line("ACPI: table XSDT at 0x");
}

static void an_invalid_table_affects_no_other(void **state)
{
	u8 *f, *bad[4], *tables[6];

	(void)state;
	f = fadt(116, 0xb008); /* ACPI 1.0: no extended fields */
	sum(f, 116, 9);
	bad[0] = mcfg(1);
	mcfg_entry(bad[0], 0, 0xb0000000, 0, 0, 255);
	sum(bad[0], 60, 9);
	bad[0][50] ^= 1; /* checksum */
	bad[1] = table("MCFG", 64);
	put(bad[1], 4, 4, 35); /* shorter than a header */
	bad[2] = table("MCFG", 64);
	put(bad[2], 4, 4, 0x7fffffff); /* longer than memory */
	bad[3] = table("MCFG", 64);
	put(bad[3], 4, 4, 0);
	for (unsigned int i = 0; i < 4; i++)
		tables[i] = bad[i];
	tables[4] = NULL;
	tables[5] = f;
	root(true, tables, 6);
	read_tables();
	assert_int_equal(acpi.ecam_count, 0);
	assert_int_equal(acpi.pm_timer_port, 0xb008);
	assert_int_equal(fake_log_lines(), 4);
	for (unsigned int i = 0; i < 4; i++)
		assert_non_null(strstr(fake_log_line(i), "bad length or checksum, ignored"));
}

/* A length is a claim until the checksum is right, and mapping is what makes a device's registers readable. */
static void a_table_with_a_huge_length_is_not_even_mapped(void **state)
{
	for (u32 more = 0; more < 2; more++) {
		u8 *t, *tables[1];

		begin(state);
		t = tables[0] = table("MCFG", 64);
		put(t, 4, 4, 16 * MIB + more);
		root(true, tables, 1);
		read_tables();
		assert_int_equal(acpi.ecam_count, 0);
		assert_one_line("ACPI: table MCFG at 0x");
		if (more)
			assert_true(most_mapped < SIZE);
		else /* the twin: as large as any may be, it fails because this memory ends before */
			assert_int_equal(most_mapped, 16 * MIB);
	}
}

static void mcfg_entries_that_name_no_memory_are_ignored_with_a_line(void **state)
{
	u8 *m = mcfg(4), *tables[] = { m };

	(void)state;
	mcfg_entry(m, 0, 0, 0, 0, 255);
	mcfg_entry(m, 1, 0xb0080000, 0, 0, 255); /* not at a bus's size */
	mcfg_entry(m, 2, 0xb0000000, 0, 8, 7);
	mcfg_entry(m, 3, 0xc0000000, 0, 8, 8);
	sum(m, 44 + 64, 9);
	root(true, tables, 1);
	read_tables();
	assert_int_equal(acpi.ecam_count, 1);
	assert_true(ecam_is(0, 0xc0000000, 0, 8, 8));
	assert_int_equal(fake_log_lines(), 3);
	assert_true(fake_log_has("MCFG entry base 0xb0080000 buses 00-ff ignored"));
}

static void more_ranges_than_fit_are_ignored_with_a_line(void **state)
{
	u8 *m = mcfg(ACPI_ECAM_MAX + 1), *tables[] = { m };

	(void)state;
	for (unsigned int i = 0; i <= ACPI_ECAM_MAX; i++)
		mcfg_entry(m, i, 0x100000000 * (i + 1), (u16)i, 0, 255);
	sum(m, 44 + 16 * (ACPI_ECAM_MAX + 1), 9);
	root(true, tables, 1);
	read_tables();
	assert_int_equal(acpi.ecam_count, ACPI_ECAM_MAX);
	assert_one_line("MCFG entry base 0x900000000");
}

static void a_partial_entry_is_not_read(void **state)
{
	u8 *m = table("MCFG", 44 + 16 + 15), *tables[] = { m };

	(void)state;
	mcfg_entry(m, 0, 0xb0000000, 0, 0, 255);
	mcfg_entry(m, 1, 0xc0000000, 1, 0, 255);
	sum(m, 44 + 16 + 15, 9);
	root(true, tables, 1);
	read_tables();
	assert_int_equal(acpi.ecam_count, 1);
}

static void the_pm_timer_is_an_io_port_or_nothing(void **state)
{
	static const struct {
		u32 length;
		u32 port;
		u8 pm_len;
		u8 space;
		u64 extended;
		u16 want;
	} rows[] = {
		{ 276, 0x608, 4, 0, 0, 0x608 },	      /* no extended address */
		{ 276, 0x608, 4, 1, 0x1808, 0x1808 }, /* the extended one wins */
		{ 276, 0x608, 4, 1, 0, 0x608 },
		{ 276, 0x608, 4, 0, 0xfed40000, 0x608 }, /* in memory: not used */
		{ 276, 0x608, 0, 0, 0, 0 },		 /* "not supported" */
		{ 91, 0x608, 4, 0, 0, 0 },		 /* too short to have its length */
		{ 219, 0x608, 4, 1, 0x1808, 0x608 },	 /* too short for the extended one */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		u8 *f, *tables[1];

		begin(state);
		f = fadt(276, rows[i].port);
		put(f, 91, 1, rows[i].pm_len);
		put(f, 208, 1, rows[i].space);
		put(f, 212, 8, rows[i].extended);
		put(f, 4, 4, rows[i].length);
		sum(f, rows[i].length, 9);
		tables[0] = f;
		root(true, tables, 1);
		read_tables();
		if (acpi.pm_timer_port != rows[i].want)
			fail_msg("row %zu: port 0x%x, 0x%x wanted", i, acpi.pm_timer_port, rows[i].want);
	}
}

/* 5.2.9, flags at 112, bit 20: a machine without the fixed hardware has no PM timer, whatever the field says. */
static void a_hardware_reduced_machine_has_no_pm_timer(void **state)
{
	for (u32 reduced = 0; reduced < 2; reduced++) {
		u8 *f, *tables[1];

		begin(state);
		f = fadt(276, 0x608);
		put(f, 112, 4, reduced << 20 | 0x5);
		sum(f, 276, 9);
		tables[0] = f;
		root(true, tables, 1);
		read_tables();
		assert_int_equal(acpi.pm_timer_port, reduced ? 0 : 0x608);
	}
}

static void a_signature_that_is_no_text_does_not_reach_the_log(void **state)
{
	u8 *t = table("M\033[2", 44), *tables[] = { t };

	(void)state;
	t[20] = 1; /* a wrong checksum */
	root(true, tables, 1);
	read_tables();
	assert_one_line("ACPI: table ???? at 0x");
}

static void what_cannot_be_mapped_is_not_read(void **state)
{
	(void)state;
	sound_tables(true);
	put(rsdp, 24, 8, 0x10); /* no memory there */
	sum(rsdp, 36, 32);
	read_tables();
	assert_false(all_found());
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		T(ecam_and_pm_timer_are_found_by_either_root),
		T(without_a_valid_rsdp_nothing_is_read),
		T(without_an_xsdt_the_rsdt_counts),
		T(the_extended_checksum_is_checked_too),
		T(a_root_with_a_wrong_checksum_is_ignored_with_a_line),
		T(an_invalid_table_affects_no_other),
		T(a_table_with_a_huge_length_is_not_even_mapped),
		T(mcfg_entries_that_name_no_memory_are_ignored_with_a_line),
		T(more_ranges_than_fit_are_ignored_with_a_line),
		T(a_partial_entry_is_not_read),
		T(the_pm_timer_is_an_io_port_or_nothing),
		T(a_hardware_reduced_machine_has_no_pm_timer),
		T(a_signature_that_is_no_text_does_not_reach_the_log),
		T(what_cannot_be_mapped_is_not_read),
	};

	return cmocka_run_group_tests(tests, once, NULL);
}
