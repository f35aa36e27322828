/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: both ways into configuration space make each access with exactly its own size at exactly its own place; ECAM that does not
 * have the functions of CF8/CFC is reported. Could be false: CF8 takes a doubleword register and the data port's address selects
 * the bytes; ECAM's base is that of bus 0 also where the range begins later; a neighbour byte written along may be
 * write-1-to-clear; firmware may be wrong about the base. Provoked: every size at every place, on host memory as ECAM and on fake
 * ports; two segments that differ in one function. Failure: another byte changed, another port, a difference that is not reported.
 */
#include "pci/access.h"
#include "tests/unit/fake_pci.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define FIRST_BUS 0x20
#define BUSES	  2
#define SIZE	  (BUSES * MIB)

static u64 mapped_start, mapped_size;
static enum status map_result;

static enum status map(u64 start, u64 size)
{
	mapped_start = start;
	mapped_size = size;
	return map_result;
}

/* The bytes of [0, SIZE) that differ from what they were: exactly [at, at + n), and there they hold value. */
static bool only_changed(const u8 *now, const u8 *before, u64 at, unsigned int n, u32 value)
{
	for (u64 i = 0; i < SIZE; i++) {
		u8 want = i >= at && i < at + n ? (u8)(value >> 8 * (i - at)) : before[i];

		if (now[i] != want)
			return false;
	}
	return true;
}

static void ecam_reaches_each_register_with_its_size(void **state)
{
	static const struct {
		u16 bdf;
		u16 reg;
		unsigned int size;
	} rows[] = {
		{ 0x2000, 0x000, 4 }, { 0x2000, 0x004, 2 }, { 0x2000, 0x00e, 1 }, { 0x20ff, 0xffc, 4 },
		{ 0x20ff, 0xffe, 2 }, { 0x2108, 0x03d, 1 }, { 0x21ff, 0xfff, 1 },
	};
	u8 *memory = malloc(SIZE), *before = malloc(SIZE);
	struct pci_access access;

	(void)state;
	map_result = OK;
	assert_int_equal(
		pci_access_ecam(&access, map, (u64)(uintptr_t)memory - FIRST_BUS * MIB, 3, FIRST_BUS, FIRST_BUS + BUSES - 1), OK);
	assert_int_equal(mapped_start, (u64)(uintptr_t)memory);
	assert_int_equal(mapped_size, SIZE);
	assert_int_equal(access.segment, 3);
	assert_int_equal(access.cfg_size, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 at = (u64)(rows[i].bdf - 0x2000) * 4096 + rows[i].reg; /* PCIe 7.2.2 */
		u32 mask = rows[i].size == 4 ? 0xffffffff : (1U << 8 * rows[i].size) - 1, value = 0xa1b2c3d4 & mask, got = 0;

		memset(memory, 0x5e, SIZE);
		memset(before, 0x5e, SIZE);
		access.ops->cfg_write(&access, rows[i].bdf, rows[i].reg, rows[i].size, value);
		assert_true(only_changed(memory, before, at, rows[i].size, value));
		memcpy(&got, memory + at, rows[i].size);
		assert_int_equal(access.ops->cfg_read(&access, rows[i].bdf, rows[i].reg, rows[i].size), got);
		/* The twins: a neighbour that changed along, and a value that is in another place. */
		memory[at ? at - 1 : rows[i].size] ^= 1;
		assert_false(only_changed(memory, before, at, rows[i].size, value));
	}
	free(memory);
	free(before);
}

static void ecam_that_cannot_be_mapped_is_refused(void **state)
{
	struct pci_access access;

	(void)state;
	map_result = ERR_RANGE;
	assert_int_equal(pci_access_ecam(&access, map, 0xb0000000, 0, 0, 255), ERR_RANGE);
	assert_int_equal(mapped_start, 0xb0000000);
	assert_int_equal(mapped_size, 256 * MIB);
}

static u32 data;
static unsigned int interruptible; /* accesses during which an interrupt handler could have made others */
static u32 in(u16 port, unsigned int size)
{
	(void)port;
	interruptible += fake_x86.irq_on;
	return size == 4 ? data : data & ((1U << 8 * size) - 1);
}
static void out(u16 port, unsigned int size, u32 value)
{
	(void)port;
	(void)size;
	(void)value;
	interruptible += fake_x86.irq_on;
}
static const struct fake_ports cf8 = { 0xcf8, 0xcff, in, out };

/* PCI 3.2.2.3.2: the address port holds enable, bus, device, function and doubleword; the data port's low bits say the byte. */
static void cf8_selects_the_doubleword_and_the_port_selects_the_byte(void **state)
{
	static const struct fake_io want[] = {
		OUT(0xcf8, 4, 0x80001804), OUT(0xcfc, 2, 0x0503),     /* 00:03.0 command */
		OUT(0xcf8, 4, 0x8000183c), IN(0xcfd, 1, 0x44),	      /* interrupt pin */
		OUT(0xcf8, 4, 0x80ffff04), IN(0xcfe, 2, 0x3344),      /* ff:1f.7 status */
		OUT(0xcf8, 4, 0x800100fc), OUT(0xcfc, 4, 0x11223344), /* 01:00.0, the last doubleword */
	};
	/* What kvm-unit-tests does: the low bits in the address port, data always at 0xcfc. */
	static const struct fake_io low_bits_in_cf8[] = {
		OUT(0xcf8, 4, 0x80001804), OUT(0xcfc, 2, 0x0503), OUT(0xcf8, 4, 0x8000183d), IN(0xcfc, 1, 0x44),
		OUT(0xcf8, 4, 0x80ffff06), IN(0xcfc, 2, 0x3344),  OUT(0xcf8, 4, 0x800100fc), OUT(0xcfc, 4, 0x11223344),
	};
	struct pci_access access;

	(void)state;
	fake_x86_reset();
	fake_x86_claim(&cf8);
	pci_access_cf8(&access, map);
	assert_int_equal(access.cfg_size, 256);
	assert_int_equal(access.last_bus, 255);
	data = 0x11223344;
	access.ops->cfg_write(&access, 0x0018, 0x04, 2, 0x0503);
	assert_int_equal(access.ops->cfg_read(&access, 0x0018, 0x3d, 1), 0x44);
	assert_int_equal(access.ops->cfg_read(&access, 0xffff, 0x06, 2), 0x3344);
	access.ops->cfg_write(&access, 0x0100, 0xfc, 4, data);
	assert_true(fake_io_is(want, ARRAY_SIZE(want)));
	assert_false(fake_io_is(low_bits_in_cf8, ARRAY_SIZE(low_bits_in_cf8)));
}

/* The two accesses of one register belong together. */
static void no_interrupt_comes_between_cf8_and_its_data(void **state)
{
	struct pci_access access;

	(void)state;
	fake_x86_reset();
	fake_x86_claim(&cf8);
	pci_access_cf8(&access, map);
	for (int on = 0; on < 2; on++) {
		fake_x86.irq_on = on;
		interruptible = 0;
		access.ops->cfg_write(&access, 0x0018, 0x04, 2, 0x0503);
		access.ops->cfg_read(&access, 0x0018, 0x04, 2);
		assert_int_equal(interruptible, 0);
		assert_int_equal(fake_x86.irq_on, on);
	}
	x86_outl(0xcf8, 0); /* the twin */
	assert_int_equal(interruptible, 1);
}

static void memory_is_accessed_with_the_requested_size(void **state)
{
	u8 bytes[16] __attribute__((aligned(16))), before[16];
	u64 at = (u64)(uintptr_t)bytes;
	struct pci_access access;

	(void)state;
	pci_access_cf8(&access, map);
	memset(bytes, 0xee, sizeof(bytes));
	memcpy(before, bytes, sizeof(bytes));
	access.ops->mem_write(&access, at + 4, 4, 0x01020304);
	access.ops->mem_write(&access, at + 8, 2, 0x0506);
	access.ops->mem_write(&access, at + 11, 1, 0x07);
	memcpy(before + 4, "\x04\x03\x02\x01\x06\x05\xee\x07", 8);
	assert_memory_equal(bytes, before, sizeof(bytes));
	assert_int_equal(access.ops->mem_read(&access, at + 4, 4), 0x01020304);
	assert_int_equal(access.ops->mem_read(&access, at + 8, 2), 0x0506);
	assert_int_equal(access.ops->mem_read(&access, at + 11, 1), 0x07);
}

/* --- ECAM and CF8/CFC --- */

#define HERE	    0x40 /* ECAM's first bus */
#define NO_FUNCTION 0xffffffff

/* A difference at this function between ECAM and CF8/CFC. */
static const struct difference {
	const char *what;
	u16 bdf;
	u32 ecam;
	u32 cf8;
	bool agrees;
} differences[] = {
	{ "none", PCI_BDF(HERE, 3, 0), 0x10001111, 0x10001111, true },
	{ "another device", PCI_BDF(HERE, 3, 0), 0x10011111, 0x10001111, false },
	{ "another vendor", PCI_BDF(HERE, 3, 0), 0x10001112, 0x10001111, false },
	{ "the first is not there", PCI_BDF(HERE, 0, 0), NO_FUNCTION, 0x10001111, false },
	{ "the last is not there", PCI_BDF(HERE, 31, 0), NO_FUNCTION, 0x10001111, false },
	{ "zeros are there", PCI_BDF(HERE, 3, 0), 0, 0x10001111, false },
	{ "one that CF8/CFC does not reach", PCI_BDF(HERE, 3, 0), 0x10001111, NO_FUNCTION, true },
	{ "CF8/CFC shows zeros", PCI_BDF(HERE, 3, 0), 0x10001111, 0, true }, /* no function, either: what pci_enumerate skips */
	{ "CF8/CFC shows zeros, and ECAM ones", PCI_BDF(HERE, 3, 0), NO_FUNCTION, 0, true },
	{ "CF8/CFC shows vendor 0", PCI_BDF(HERE, 3, 0), 0x10001111, 0x10000000, true },
	{ "CF8/CFC shows vendor ffff", PCI_BDF(HERE, 3, 0), 0x10001111, 0x1000ffff, true },
	{ "CF8/CFC shows vendor 1", PCI_BDF(HERE, 3, 0), NO_FUNCTION, 0x00000001, false },
	{ "CF8/CFC shows device ffff", PCI_BDF(HERE, 3, 0), NO_FUNCTION, 0xffff0001, false },
	{ "on another bus", PCI_BDF(HERE + 1, 3, 0), NO_FUNCTION, 0x10001111, true },
	{ "on the bus at 0", PCI_BDF(0, 3, 0), NO_FUNCTION, 0x10001111, true },
	{ "another function", PCI_BDF(HERE, 3, 1), NO_FUNCTION, 0x10001111, true }, /* it is compared by function 0 alone */
};

static void add(struct fake_pci *fake, u16 bdf, u32 id)
{
	if (id != NO_FUNCTION)
		fake_add(fake, bdf, (u16)id, (u16)(id >> 16));
}

static bool agrees_as_it_should(const struct difference *d)
{
	struct fake_pci *ecam = fake_pci_new(), *cf8_fake = fake_pci_new();
	char place[32];
	bool agrees, holds;

	fake_log_start();
	ecam->access.ecam_base = 0xb0000000;
	ecam->access.first_bus = HERE;
	add(ecam, PCI_BDF(HERE, 2, 0), 0x20002222); /* what both show */
	add(cf8_fake, PCI_BDF(HERE, 2, 0), 0x20002222);
	add(ecam, d->bdf, d->ecam);
	add(cf8_fake, d->bdf, d->cf8);
	agrees = pci_ecam_agrees(&ecam->access, &cf8_fake->access);
	snprintf(place, sizeof(place), "0xb0000000: %02x:%02x.0", PCI_BUS(d->bdf), PCI_DEV(d->bdf));
	holds = agrees == d->agrees && fake_log_lines() == !agrees && fake_log_has(place) == !agrees;
	holds &= !fake_writes(ecam) && !fake_writes(cf8_fake);
	fake_pci_free(ecam);
	fake_pci_free(cf8_fake);
	return holds;
}

static void ecam_that_differs_is_reported(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(differences); i++) {
		struct difference wrong = differences[i];

		if (!agrees_as_it_should(&differences[i]))
			fail_msg("%s", differences[i].what);
		wrong.agrees = !wrong.agrees; /* the twin */
		assert_false(agrees_as_it_should(&wrong));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ecam_reaches_each_register_with_its_size),
		cmocka_unit_test(ecam_that_cannot_be_mapped_is_refused),
		cmocka_unit_test(cf8_selects_the_doubleword_and_the_port_selects_the_byte),
		cmocka_unit_test(no_interrupt_comes_between_cf8_and_its_data),
		cmocka_unit_test(memory_is_accessed_with_the_requested_size),
		cmocka_unit_test(ecam_that_differs_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
