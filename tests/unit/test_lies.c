/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whatever a function's registers hold, and whenever it is removed, every walk ends, what is written to it stays within its
 * own registers, and every other function is found and handled as if this one were absent. Could be false: capability lists, bus
 * numbers, VF and ARI numbers come from the function; one that loops, points out of the space or at another function misleads a
 * walk that trusts it, or never ends it; a removed function reads all ones. Provoked: every list of two pointers, every loop, every
 * last place; bridges, PFs and ARI devices with numbers that they must not have; a segment with one function of each kind, each of
 * which is removed after its n-th access, for every n, under every pair of policies. Failure: a walk that does not end (the test
 * does not either), an access that the fake forbids, another end state of another function.
 */
#include "lib/time.h"
#include "shutdown/policies.h"
#include "startup/policies.h"
#include "tests/unit/fake_pci.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

static struct fake_pci *fake;
static struct fake_fn *fn;
static struct pci_dev room[FAKE_FNS_MAX];
static struct pci pci;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	fake_x86_reset();
	time_init(FAKE_PM_TIMER);
	fake = fake_pci_new();
	return 0;
}

static int end(void **state)
{
	(void)state;
	assert_true(fake_status_spared(fake));
	fake_pci_free(fake);
	return 0;
}

static void again(void)
{
	fake_pci_free(fake);
	begin(NULL);
}

static enum status enumerate(unsigned int capacity)
{
	pci = (struct pci){ .dev = room, .capacity = capacity };
	return pci_enumerate(&pci, &fake->access);
}

static struct pci_dev *found(u16 bdf)
{
	for (unsigned int i = 0; i < pci.count; i++)
		if (room[i].bdf == bdf)
			return &room[i];
	return NULL;
}

static unsigned int times_found(u16 bdf)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < pci.count; i++)
		n += room[i].bdf == bdf;
	return n;
}

/* --- capability lists --- */

#define LIAR PCI_BDF(0, 1, 0)

/* One function alone on its bus. */
static void alone(void)
{
	again();
	fake->access.last_bus = 0;
	fn = fake_add(fake, LIAR, 0x1111, 0x2222);
}

static void link(unsigned int pos, u8 id, unsigned int next)
{
	fake_set(fn, PCI_STATUS, 2, PCI_STATUS_CAP_LIST);
	fn->cfg[pos] = id;
	fn->cfg[pos + 1] = (u8)next;
}

/* The list as the standard has it (PCI 6.7): a bit for each doubleword that is a capability's. Returns whether it loops. */
static bool list_loops(unsigned int pointer, u64 *places)
{
	for (*places = 0; (pointer & 0xfc) >= 0x40; pointer = fn->cfg[(pointer & 0xfc) + 1]) {
		u64 place = 1ULL << (pointer & 0xfc) / 4;

		if (*places & place)
			return true;
		*places |= place;
	}
	return false;
}

/* Walked, it has these capabilities and no other, in bounded time, with a line if and only if it loops. */
static bool walk_holds(void)
{
	struct pci_dev dev = { .access = &fake->access, .bdf = LIAR, .inherited.status = PCI_STATUS_CAP_LIST };
	u64 want, got = 0;
	bool loops = list_loops(fn->cfg[PCI_CAPABILITY_LIST], &want);

	fake_log_start();
	fake_clear_log(fake);
	for (struct pci_cap cap = { 0 }; pci_next_capability(&dev, &cap);)
		got |= 1ULL << cap.pos / 4;
	return got == want && fake->logged <= 1 + (0x100 - 0x40) / 4 && fake_log_lines() == loops &&
	       fake_log_has("capability list loops") == loops;
}

static void every_list_of_two_pointers_ends(void **state)
{
	(void)state;
	for (unsigned int low_bits = 0; low_bits < 4; low_bits++) {
		for (unsigned int i = 0; i < 64 * 64; i++) {
			unsigned int a = i % 64 * 4, b = i / 64 * 4;

			for (int loops = 0; loops < 2; loops++) {
				if (i % 256 == 0)
					alone();
				memset(fn->cfg + 0x40, 0, 0xc0);
				/* Below 0x40 it points to fields, which are left as they are. */
				fn->cfg[PCI_CAPABILITY_LIST] = (u8)(a | low_bits);
				if (b >= 0x40)
					link(b, 0x01, loops ? a | low_bits : 0);
				if (a >= 0x40)
					link(a, 0x01, b | low_bits);
				if (!walk_holds())
					fail_msg("0x%02x -> 0x%02x", a | low_bits, b | low_bits);
			}
		}
	}
}

static void a_loop_of_every_length_ends(void **state)
{
	(void)state;
	alone();
	for (unsigned int n = 1; n <= 48; n++) {
		for (unsigned int back = 0; back <= n; back++) {
			memset(fn->cfg + 0x40, 0, 0xc0);
			fn->cfg[PCI_CAPABILITY_LIST] = 0x40;
			for (unsigned int i = 0; i < n; i++)
				link(0x40 + 4 * i, 0x01, i + 1 < n ? 0x44 + 4 * i : back < n ? 0x40 + 4 * back : 0);
			if (!walk_holds())
				fail_msg("%u capabilities, then back to number %u", n, back);
		}
	}
}

static void a_walk_that_stops_early_is_caught(void **state)
{
	u64 places;

	(void)state;
	alone();
	fn->cfg[PCI_CAPABILITY_LIST] = 0x40;
	link(0x40, 0x01, 0x50);
	link(0x50, 0x01, 0x40);
	assert_true(list_loops(0x40, &places));
	assert_true(places == (1ULL << 16 | 1ULL << 20));
	assert_true(walk_holds());
	fn->answers = 2; /* is removed before the second */
	assert_false(walk_holds());
}

/*
 * What a function may be written to by the policies and by enabling its interrupts: Command, and the capabilities that it was found
 * to have.
 */
static bool writes_stay_home(const struct pci_dev *dev, unsigned int msi_size)
{
	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i];

		if (a->kind != FAKE_CFG_WRITE)
			continue;
		if (!(a->where == PCI_COMMAND && a->size == 2) &&
		    !(dev->msi && a->where >= dev->msi + 2U && a->where + a->size <= dev->msi + msi_size) &&
		    !(dev->msix && a->where == dev->msix + 2U && a->size == 2))
			return false;
	}
	return true;
}

/* PCIe 7.7.1, 7.7.2, and what each has to fit into. */
static const struct capability {
	const char *what;
	u8 id;
	u16 control;
	unsigned int size;
} capabilities[] = {
	{ "MSI, 32 bits", PCI_CAP_ID_MSI, 0x0001, 10 },
	{ "MSI, 64 bits", PCI_CAP_ID_MSI, 0x0081, 14 },
	{ "MSI, 32 bits, maskable", PCI_CAP_ID_MSI, 0x0101, 20 },
	{ "MSI, 64 bits, maskable", PCI_CAP_ID_MSI, 0x0181, 24 },
	{ "MSI-X", PCI_CAP_ID_MSIX, 0x8000, 12 },
	{ "PCI Express", PCI_CAP_ID_EXP, 0x0002, 0 },
	{ "vendor-specific", PCI_CAP_ID_VNDR, 0xff10, 0 },
};

static void each_capability_is_used_where_it_fits_and_only_there(void **state)
{
	static const struct msi_message message = { 0xfee00000, 0x40 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++) {
		const struct capability *c = &capabilities[i];

		for (unsigned int pos = 0x40; pos < 0x100; pos += 4) {
			bool fits = c->size && pos + c->size <= 0x100;

			alone();
			fake->access.cfg_size = 0x100; /* the fake forbids what is beyond */
			fake_cap(fn, (u8)pos, c->id);
			memcpy(fn->cfg + pos + 2, &c->control, 2);
			fake_writable(fn, (u16)(pos + 2), 2, 0xc071);
			assert_int_equal(enumerate(1), OK);
			assert_int_equal(room->msi, fits && c->id == PCI_CAP_ID_MSI ? pos : 0);
			assert_int_equal(room->msix, fits && c->id == PCI_CAP_ID_MSIX ? pos : 0);
			assert_int_equal(room->pcie, c->id == PCI_CAP_ID_EXP ? pos : 0);
			pci_apply_forward(&pci, &startup_disable_msi);
			assert_int_equal(pci_enable_msi(room, message, 1), room->msi ? OK : ERR_ABSENT);
			assert_int_equal(pci_enable_msix(room, &message, 1),
					 room->msix ? ERR_RANGE : ERR_ABSENT); /* it has no BAR */
			pci_apply_backward(&pci, &shutdown_disable_msi);
			assert_true(writes_stay_home(room, c->size));
			assert_int_equal(fake_get(fn, PCI_COMMAND, 2), 0x0003); /* handled fully */
			if (fits)
				assert_false(fake_get(fn, (u16)(pos + 2), 2) & (c->id == PCI_CAP_ID_MSI ? 0x0001 : 0x8000));
			else
				assert_int_equal(fake_get(fn, (u16)(pos + 2), 2), c->control);
		}
	}
	/* The twin: the last one's neighbour. */
	fake_clear_log(fake);
	pci_write_config_word(room, 0x3c, 0);
	assert_false(writes_stay_home(room, 24));
}

/* As Linux's pci_find_capability has it. */
static void of_two_capabilities_of_a_kind_the_first_counts(void **state)
{
	(void)state;
	alone();
	fake_cap_msi(fn, 0x50, PCI_MSI_FLAGS_64BIT);
	fake_cap_msix(fn, 0x70, 3, 0, 0);
	fake_cap_msi(fn, 0x80, PCI_MSI_FLAGS_ENABLE);
	fake_cap_msix(fn, 0xa0, 9, 0, 0);
	fake_cap(fn, 0xfc, PCI_CAP_ID_MSI); /* which does not fit, and is on */
	fake_set(fn, 0xfe, 2, PCI_MSI_FLAGS_ENABLE);
	assert_int_equal(enumerate(1), OK);
	assert_int_equal(room->msi, 0x50);
	assert_int_equal(room->inherited.msi_flags, 0x0080);
	assert_int_equal(room->msix, 0x70);
	assert_int_equal(room->inherited.msix_flags, 2);
}

/* MSI and MSI-X in every place of one list, over each other, too: invalid, but bounded and within its own registers. */
static void capabilities_over_each_other_do_no_harm_elsewhere(void **state)
{
	static const struct msi_message message = { 0xfee00000, 0x40 };

	(void)state;
	for (unsigned int i = 0; i < 48 * 48; i++) {
		unsigned int a = 0x40 + i % 48 * 4, b = 0x40 + i / 48 * 4;

		alone();
		fake->access.cfg_size = 0x100;
		fn->cfg[PCI_CAPABILITY_LIST] = (u8)a;
		memset(fn->cfg + 0x40, 0x81, 0xc0);
		memset(fn->rw + 0x40, 0xff, 0xc0);
		link(b, PCI_CAP_ID_MSIX, a);
		link(a, PCI_CAP_ID_MSI, b);
		fake_set(fn, PCI_COMMAND, 2, 0x0007);
		assert_int_equal(enumerate(1), OK);
		pci_apply_forward(&pci, &startup_disable_msi);
		pci_enable_msi(room, message, 1);
		pci_enable_msix(room, &message, 1);
		pci_apply_backward(&pci, &shutdown_disable_msi);
		for (unsigned int j = 0; j < fake->logged; j++)
			if (fake->log[j].kind == FAKE_CFG_WRITE && fake->log[j].where != PCI_COMMAND)
				assert_uint_in_range(fake->log[j].where, 0x40, 0xff);
		assert_int_equal(fake_get(fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER, 0);
	}
}

/* --- extended capability lists --- */

/* Walked for what it does not have: in bounded time, and not below 0x100 nor past 0x1000, which the fake forbids. */
static bool extended_walk_ends(void)
{
	struct pci_dev dev = { .access = &fake->access, .bdf = LIAR, .pcie = 0x40 };
	u16 pos;

	fake_clear_log(fake);
	if (pci_find_ext_capability(&dev, PCI_EXT_CAP_ID_ARI, 8, &pos) != ERR_ABSENT || fake->logged > (0x1000 - 0x100) / 8)
		return false;
	for (unsigned int i = 0; i < fake->logged; i++)
		if (fake->log[i].where < 0x100)
			return false;
	return true;
}

static void every_extended_pointer_is_followed_within_the_space(void **state)
{
	(void)state;
	alone();
	for (u32 next = 0; next < 0x1000; next++) {
		fake_set(fn, 0x100, 4, next << 20 | 0x10001);
		if ((next & 0xffc) > 0x100)
			fake_set(fn, next & 0xffc, 4, next << 20 | 0x10002); /* which points to itself, or its low bits */
		if (!extended_walk_ends())
			fail_msg("0x100 -> 0x%03x", next);
		if ((next & 0xffc) > 0x100)
			fake_set(fn, next & 0xffc, 4, 0);
	}
}

static void an_extended_loop_of_every_length_ends(void **state)
{
	(void)state;
	alone();
	for (unsigned int n = 1; n <= (0x1000 - 0x100) / 4; n++) {
		for (unsigned int i = 0; i < n; i++)
			fake_set(fn, (u16)(0x100 + 4 * i), 4, (i + 1 < n ? 0x104 + 4 * i : 0x100) << 20 | 0x10001);
		if (!extended_walk_ends())
			fail_msg("%u capabilities in a circle", n);
	}
}

/* A capability takes 8 bytes or more, so that a list without a loop can be this long. */
static void the_longest_extended_list_is_walked_to_its_end(void **state)
{
	struct pci_dev dev = { .bdf = LIAR, .pcie = 0x40 };
	u16 pos;

	(void)state;
	alone();
	dev.access = &fake->access;
	for (u32 at = 0x100; at < 0xff8; at += 8)
		fake_set(fn, (u16)at, 4, (at + 8) << 20 | 0x10001);
	fake_set(fn, 0xff8, 4, 0x10000 | PCI_EXT_CAP_ID_ARI);
	assert_int_equal(pci_find_ext_capability(&dev, PCI_EXT_CAP_ID_ARI, 8, &pos), OK);
	assert_int_equal(pos, 0xff8);
}

static void each_extended_capability_is_used_where_it_fits_and_only_there(void **state)
{
	(void)state;
	for (unsigned int pos = 0x104; pos < 0x1000; pos += 4) {
		struct pci_dev dev = { .access = &fake->access, .bdf = LIAR, .pcie = 0x40 };
		u16 at;

		if (pos == 0x104)
			alone();
		dev.access = &fake->access;
		fake_set(fn, 0x100, 4, pos << 20 | 0x10001);
		fake_set(fn, (u16)pos, 4, 0x10000 | PCI_EXT_CAP_ID_SRIOV);
		assert_int_equal(pci_find_ext_capability(&dev, PCI_EXT_CAP_ID_SRIOV, 0x40, &at),
				 pos + 0x40 <= 0x1000 ? OK : ERR_ABSENT);
		fake_set(fn, (u16)pos, 4, 0x10000 | PCI_EXT_CAP_ID_ARI);
		assert_int_equal(pci_find_ext_capability(&dev, PCI_EXT_CAP_ID_ARI, 8, &at), pos + 8 <= 0x1000 ? OK : ERR_ABSENT);
		fake_set(fn, (u16)pos, 4, 0);
	}
}

/* --- functions that go --- */

#define BRIDGE PCI_BDF(0, 2, 0)
#define PLAIN  PCI_BDF(0, 3, 0)
#define PF     PCI_BDF(0, 4, 0)
#define VF     PCI_BDF(0, 5, 1)
#define MULTI  PCI_BDF(0, 6, 0)
#define MULTI3 PCI_BDF(0, 6, 3)
#define ARI    PCI_BDF(1, 0, 0)
#define ARI9   PCI_BDF(1, 1, 1)
#define EDU    PCI_BDF(2, 0, 0)
#define BLK    PCI_BDF(2, 1, 0)

/* One function of each kind, and the function through which it is found, if any: without that one it cannot be. */
static const struct kind {
	u16 bdf;
	u16 through[2];
} kinds[] = {
	{ BRIDGE, { 0 } }, { PLAIN, { 0 } },	      { PF, { 0 } },  { VF, { PF } }, { MULTI, { 0 } }, { MULTI3, { MULTI } },
	{ ARI, { 0 } },	   { ARI9, { BRIDGE, ARI } }, { EDU, { 0 } }, { BLK, { 0 } },
};

static void one_of_each_kind(void)
{
	struct fake_fn *f;

	again();
	fake->access.last_bus = 2;
	fake_bridge(fake, BRIDGE, 1, 1);
	fake_add(fake, PLAIN, 0x8086, 0x100e);
	f = fake_add(fake, PF, 0x8086, 0x10c9);
	fake_cap(f, 0xa0, PCI_CAP_ID_EXP);
	fake_sriov(f, 0x100, 1, VF - PF, 1, 0x10ca);
	f = fake_add(fake, VF, 0xffff, 0xffff);
	fake_cap_msix(f, 0x70, 3, 0, 0);
	fake_set(f, 0x72, 2, 0x8002);
	fake_set(fake_add(fake, MULTI, 0x8086, 0x1000), PCI_HEADER_TYPE, 1, 0x80);
	f = fake_add(fake, MULTI3, 0x8086, 0x1000);
	fake_cap_msi(f, 0x50, 0x0186);
	fake_set(f, 0x52, 2, 0x01a7);
	f = fake_add(fake, ARI, 0x8086, 0x1001);
	fake_cap(f, 0x40, PCI_CAP_ID_EXP);
	fake_ari(f, 0x100, 9);
	f = fake_add(fake, ARI9, 0x8086, 0x1001);
	fake_cap(f, 0x40, PCI_CAP_ID_EXP);
	fake_ari(f, 0x100, 0);
	f = fake_edu(fake, EDU);
	fake_set(f, FAKE_EDU_MSI + 2, 2, 0x0081);
	f = fake_virtio_blk(fake, BLK);
	fake_set(f, FAKE_BLK_MSIX + 2, 2, 0xc001);
}

/* What an image does to PCI from its first access to its last, as far as these functions take part. */
static void live(const struct pci_policy *startup, const struct pci_policy *shutdown)
{
	static const struct msi_message messages[] = { { 0xfee00000, 0x40 }, { 0xfee00000, 0x41 } };

	assert_int_equal(enumerate(FAKE_FNS_MAX), OK);
	assert_no_writes(fake);
	pci_apply_forward(&pci, startup);
	for (unsigned int i = 0; i < pci.count; i++) {
		pci_set_master(&room[i]);
		if (room[i].bdf == BLK)
			pci_enable_msix(&room[i], messages, 2);
		else
			pci_enable_msi(&room[i], messages[0], 1);
	}
	pci_apply_backward(&pci, shutdown);
}

/* The registers of every other function are as in the run in which it stayed. */
static bool others_as_if_it_had_stayed(u16 gone, const struct fake_pci *stayed)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].bdf != gone && kinds[i].through[0] != gone && kinds[i].through[1] != gone &&
		    memcmp(fake_at(fake, kinds[i].bdf)->cfg, fake_at((struct fake_pci *)(uintptr_t)stayed, kinds[i].bdf)->cfg,
			   FAKE_CFG_SIZE))
			return false;
	return true;
}

static unsigned int accesses_of(u16 bdf)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i];

		if (a->kind == FAKE_CFG_READ || a->kind == FAKE_CFG_WRITE)
			n += a->bdf == bdf;
		else
			n += bdf == BLK; /* the only one with a table */
	}
	return n;
}

static bool clears_master(const struct pci_policy *shutdown, const struct pci_dev *dev)
{
	return shutdown->clears_master || (shutdown == &shutdown_bridges_only && dev->header_type == PCI_HEADER_TYPE_BRIDGE);
}

static void whichever_function_is_removed_the_others_are_handled(void **state)
{
	unsigned int runs = 0;

	(void)state;
	for (size_t p = 0; p < STARTUP_COUNT * SHUTDOWN_COUNT; p++) {
		const struct pci_policy *startup = startup_policies[p % STARTUP_COUNT];
		const struct pci_policy *shutdown = shutdown_policies[p / STARTUP_COUNT];
		struct fake_pci *stayed;

		one_of_each_kind();
		live(startup, shutdown);
		assert_int_equal(pci.count, ARRAY_SIZE(kinds));
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) /* the twin: in which it stays */
			assert_int_equal(fake_get(fake_at(fake, kinds[i].bdf), PCI_COMMAND, 2) & PCI_COMMAND_MASTER,
					 clears_master(shutdown, found(kinds[i].bdf)) ? 0 : PCI_COMMAND_MASTER);
		stayed = fake;
		fake = fake_pci_new();
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
			u16 bdf = kinds[i].bdf;
			int all;

			one_of_each_kind();
			live(startup, shutdown);
			all = (int)accesses_of(bdf);
			assert_true(all > 5);
			for (int n = 0; n <= all; n++, runs++) {
				one_of_each_kind();
				fake_at(fake, bdf)->answers = n;
				live(startup, shutdown);
				if (!others_as_if_it_had_stayed(bdf, stayed))
					fail_msg("startup %s, shutdown %s: %02x:%02x.%x is removed after %d accesses",
						 startup->name, shutdown->name, PCI_BUS(bdf), PCI_DEV(bdf), PCI_FN(bdf), n);
				if (n < all)
					assert_true((int)accesses_of(bdf) <= all + 16); /* all ones make no walk longer */
			}
		}
		fake_pci_free(stayed);
	}
	assert_true(runs > 1000);
}

static void a_neighbour_that_was_left_out_is_caught(void **state)
{
	struct fake_pci *stayed;

	(void)state;
	one_of_each_kind();
	live(&startup_disable_msi, &shutdown_keep_msi);
	stayed = fake;
	fake = fake_pci_new();
	one_of_each_kind();
	live(&startup_disable_msi, &shutdown_keep_msi);
	assert_true(others_as_if_it_had_stayed(PLAIN, stayed));
	pci_set_master(found(EDU));
	assert_false(others_as_if_it_had_stayed(PLAIN, stayed));
	assert_true(others_as_if_it_had_stayed(EDU, stayed));
	fake_pci_free(stayed);
}

/* After a read that got all ones. The one write whose read was the last to succeed may still follow. */
static bool written_once_gone(void)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		bool told = false;

		for (unsigned int i = 0; i < fake->logged; i++) {
			const struct fake_access *a = &fake->log[i];

			if (a->bdf != kinds[k].bdf)
				continue;
			if (told && fake_is_write(a))
				return true;
			told |= a->lost && !fake_is_write(a);
		}
	}
	return false;
}

static void a_policy_writes_nothing_to_a_removed_function(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		for (size_t p = 0; p < STARTUP_COUNT + SHUTDOWN_COUNT; p++) {
			for (int n = 0; n < 8; n++) {
				one_of_each_kind();
				assert_int_equal(enumerate(FAKE_FNS_MAX), OK);
				fake_clear_log(fake);
				fake_at(fake, kinds[k].bdf)->answers = n;
				if (p < STARTUP_COUNT)
					pci_apply_forward(&pci, startup_policies[p]);
				else
					pci_apply_backward(&pci, shutdown_policies[p - STARTUP_COUNT]);
				assert_false(written_once_gone());
			}
		}
	}
	/* The twin: a write without a check. */
	fake_at(fake, EDU)->answers = 0;
	pci_clear_master(found(EDU));
	assert_false(written_once_gone());
	pci_write_config_word(found(EDU), PCI_COMMAND, 0);
	assert_true(written_once_gone());
}

/* --- functions with wrong numbers of others --- */

static bool masters_off(void)
{
	for (unsigned int i = 0; i < fake->fns; i++)
		if (fake_get(fake->fn[i], PCI_COMMAND, 2) & PCI_COMMAND_MASTER)
			return false;
	return true;
}

/* Each function is there once, its bridge before it, and the walk out reaches all. */
static bool all_there_once(void)
{
	if (enumerate(FAKE_FNS_MAX) != OK || pci.count != fake->fns)
		return false;
	for (unsigned int i = 0; i < fake->fns; i++)
		if (times_found(fake->fn[i]->bdf) != 1)
			return false;
	for (unsigned int i = 0; i < pci.count; i++)
		if (room[i].bridge && room[i].bridge >= &room[i])
			return false;
	assert_no_writes(fake);
	pci_apply_backward(&pci, &shutdown_keep_msi);
	return masters_off();
}

/* Own bus, the root's, one that another claims, one that is not there, in any combination; subordinate numbers are not read. */
static void bridges_may_claim_any_bus(void **state)
{
	static const u8 claims[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 255 };
	static const u8 subordinates[] = { 0, 1, 255 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(claims) * ARRAY_SIZE(claims) * ARRAY_SIZE(subordinates); i++) {
		u8 first = claims[i % 10], second = claims[i / 10 % 10], subordinate = subordinates[i / 100];

		again();
		fake->access.last_bus = 7;
		fake_add(fake, PCI_BDF(0, 1, 0), 1, 1);
		fake_bridge(fake, PCI_BDF(0, 2, 0), first, subordinate);
		fake_bridge(fake, PCI_BDF(0, 3, 0), second, subordinate);
		fake_bridge(fake, PCI_BDF(3, 0, 0), first, subordinate);
		fake_bridge(fake, PCI_BDF(3, 1, 0), second, subordinate);
		fake_add(fake, PCI_BDF(4, 0, 0), 1, 2);
		fake_add(fake, PCI_BDF(7, 31, 0), 1, 3);
		if (!all_there_once())
			fail_msg("bridges claim %u and %u, to %u", first, second, subordinate);
	}
}

static void a_function_that_is_missing_or_there_twice_is_caught(void **state)
{
	(void)state;
	fake_add(fake, PCI_BDF(0, 1, 0), 1, 1);
	assert_true(all_there_once());
	fake_add(fake, PCI_BDF(0, 1, 1), 1, 2); /* of a device that says it has one function */
	assert_false(all_there_once());
	room[0].bdf = room[1].bdf = PCI_BDF(0, 1, 0);
	pci.count = 2;
	assert_int_equal(times_found(PCI_BDF(0, 1, 0)), 2);
}

static void bridges_nest_as_deep_as_there_are_buses(void **state)
{
	(void)state;
	for (unsigned int bus = 0; bus < 255; bus++)
		fake_bridge(fake, PCI_BDF(bus, 0, 0), (u8)(bus + 1), 255);
	fake_bridge(fake, PCI_BDF(255, 0, 0), 0, 255); /* and back to the root */
	assert_true(all_there_once());
	assert_ptr_equal(found(PCI_BDF(255, 0, 0))->bridge, found(PCI_BDF(254, 0, 0)));
}

/*
 * PCIe 9.3.3: any number of VFs, anywhere, at any distance. No function responds where none is; the real ones are where a valid PF
 * would name them, or further off, and have no IDs.
 */
static void pfs_may_name_any_vfs(void **state)
{
	static const u16 counts[] = { 0, 1, 2, 3, 0xffff };
	static const u16 distances[] = { 0, 1, 2, 7, 8, 0x100, 0x8000, 0xffff }; /* to itself, and to each of its neighbours */

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts) * ARRAY_SIZE(distances) * ARRAY_SIZE(distances); i++) {
		u16 count = counts[i % 5], offset = distances[i / 5 % 8], stride = distances[i / 40];
		bool allowed = offset && (count < 2 || stride); /* PCIe 9.3.3.9, 9.3.3.10 */
		unsigned int vfs = 0;

		again();
		fake->access.last_bus = 2;
		fn = fake_add(fake, PF, 0x8086, 0x10c9);
		fake_cap(fn, 0xa0, PCI_CAP_ID_EXP);
		fake_sriov(fn, 0x100, count, offset, stride, 0x10ca);
		fake_add(fake, PLAIN, 1, 2);
		fake_add(fake, PCI_BDF(0, 5, 0), 1, 3);
		fake_add(fake, PCI_BDF(1, 5, 0), 1, 3);
		for (u32 bdf = PF + offset; allowed && vfs < MIN(count, 2) && bdf >> 8 < 3 && !fake_at(fake, (u16)bdf);
		     bdf += stride)
			vfs += !!fake_add(fake, (u16)bdf, 0xffff, 0xffff);
		if (!all_there_once())
			fail_msg("%u VFs at %u and every %u: %u of them found", count, offset, stride, pci.count - 4);
	}
}

/* PCIe 6.13: rising function numbers. Each of two functions names any. */
static void ari_lists_may_name_any_function(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 64 * 64; i++) {
		unsigned int a = i % 64 * 4 + 1, b = i / 64 * 4 + 1; /* 9 is one of them */
		struct fake_fn *f;

		again();
		fake->access.last_bus = 1;
		fake_bridge(fake, BRIDGE, 1, 1);
		f = fake_add(fake, ARI, 1, 1);
		fake_cap(f, 0x40, PCI_CAP_ID_EXP);
		fake_ari(f, 0x100, (u8)a);
		f = fake_add(fake, ARI9, 1, 1);
		fake_cap(f, 0x40, PCI_CAP_ID_EXP);
		fake_ari(f, 0x100, (u8)b);
		assert_int_equal(enumerate(8), OK);
		assert_int_equal(times_found(BRIDGE), 1);
		assert_int_equal(times_found(ARI), 1);
		assert_int_equal(times_found(ARI9), a == 9);
		assert_int_equal(pci.count, 2 + (a == 9));
	}
}

static void any_header_type_is_a_function_and_only_1_is_a_bridge(void **state)
{
	(void)state;
	for (unsigned int type = 0; type < 0x100; type++) {
		again();
		fake->access.last_bus = 1;
		fn = fake_add(fake, LIAR, 1, 1);
		fake_set(fn, PCI_HEADER_TYPE, 1, type);
		fake_set(fn, PCI_CLASS_REVISION, 4, 0xffffff00 | type);
		fake_set(fn, PCI_SECONDARY_BUS, 1, 1);
		fake_add(fake, PCI_BDF(0, 1, 5), 1, 3);
		fake_add(fake, PLAIN, 1, 2);
		fake_add(fake, PCI_BDF(1, 0, 0), 1, 4);
		assert_int_equal(enumerate(8), OK);
		assert_int_equal(pci.count, 3 + !!(type & 0x80));
		assert_ptr_equal(found(PCI_BDF(1, 0, 0))->bridge, (type & 0x7f) == 1 ? found(LIAR) : NULL);
		assert_int_equal(found(LIAR)->class, 0xffffff);
		pci_apply_backward(&pci, &shutdown_disable_msi);
		assert_false(fake_get(fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
		assert_false(fake_get(fake_at(fake, PLAIN), PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
	}
}

/* Writes are not read back: the next kernel's enumeration reports the result. */
static void a_bus_master_that_cannot_be_cleared_is_what_the_next_kernel_inherits(void **state)
{
	static const u16 writable[] = { 0x0000, 0x0543 };

	(void)state;
	for (size_t p = 0; p < 2; p++) {
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
			for (size_t w = 0; w < ARRAY_SIZE(writable); w++) {
				one_of_each_kind();
				fake_writable(fake_at(fake, kinds[k].bdf), PCI_COMMAND, 2, writable[w]);
				live(&startup_disable_msi, shutdown_policies[p]);
				assert_int_equal(enumerate(FAKE_FNS_MAX), OK);
				for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
					assert_int_equal(found(kinds[i].bdf)->inherited.command & PCI_COMMAND_MASTER,
							 i == k ? PCI_COMMAND_MASTER : 0);
			}
		}
	}
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(every_list_of_two_pointers_ends),
		T(a_loop_of_every_length_ends),
		T(a_walk_that_stops_early_is_caught),
		T(each_capability_is_used_where_it_fits_and_only_there),
		T(of_two_capabilities_of_a_kind_the_first_counts),
		T(capabilities_over_each_other_do_no_harm_elsewhere),
		T(every_extended_pointer_is_followed_within_the_space),
		T(an_extended_loop_of_every_length_ends),
		T(the_longest_extended_list_is_walked_to_its_end),
		T(each_extended_capability_is_used_where_it_fits_and_only_there),
		T(whichever_function_is_removed_the_others_are_handled),
		T(a_neighbour_that_was_left_out_is_caught),
		T(a_policy_writes_nothing_to_a_removed_function),
		T(bridges_may_claim_any_bus),
		T(a_function_that_is_missing_or_there_twice_is_caught),
		T(bridges_nest_as_deep_as_there_are_buses),
		T(pfs_may_name_any_vfs),
		T(ari_lists_may_name_any_function),
		T(any_header_type_is_a_function_and_only_1_is_a_bridge),
		T(a_bus_master_that_cannot_be_cleared_is_what_the_next_kernel_inherits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
