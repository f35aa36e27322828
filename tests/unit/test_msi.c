/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: MSI is programmed in Linux's order (msi_capability_init: off, masked, message, INTx off, on, unmasked), at the offsets of
 * the function's own features, with as many vectors as are requested; shutdown disables it and enables INTx again, init clears the
 * enable bit and nothing else. Could be false: Data and Mask move when the address has 64 bits; an enabled function whose message
 * is half written sends it to any address; several vectors that the previous kernel was granted stay granted; the number of vectors
 * is a power of two, is in the low bits of Data, and two of its codes are reserved; mask bits beyond the vectors that exist are
 * reserved, too. Provoked: a function of each kind, as reset leaves it and as a previous kernel leaves it, with every number of
 * vectors requested; a model of it that has a message to send at every moment. Failure: another list of writes, or an unexpected
 * message.
 */
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

#define BDF  PCI_BDF(0, 4, 0)
#define MSI  0x50
#define CTRL (MSI + 2)

static const struct msi_message message = { 0xfee01000, 0x4045 };

static struct fake_pci *fake;
static struct fake_fn *fn;
static struct fake_devs devs;
static struct pci_dev *dev;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	return 0;
}

static int end(void **state)
{
	(void)state;
	assert_true(fake_status_spared(fake));
	fake_pci_free(fake);
	return 0;
}

/* A function with these features whose Message Control holds flags; INTx enabled. */
static void make(u8 pos, u16 features, u16 flags)
{
	fake = fake_pci_new();
	fake->access.last_bus = 0;
	fn = fake_add(fake, BDF, 0x1111, 0x8001); /* at offset 0 Message Control would show both on */
	fake_cap_msi(fn, pos, features);
	fake_set(fn, pos + 2, 2, features | flags);
	fake_enumerate(fake, &devs);
	dev = devs.dev;
}

static void a_32_bit_function_gets_data_at_8(void **state)
{
	static const struct fake_access want[] = {
		CFG_W32(BDF, MSI + 4, 0xfee01000),
		CFG_W16(BDF, MSI + 8, 0x4045),
		CFG_W16(BDF, PCI_COMMAND, 0x0407),
		CFG_W16(BDF, CTRL, 0x0001),
	};

	(void)state;
	make(MSI, 0, 0);
	assert_int_equal(pci_enable_msi(dev, message, 1), OK);
	assert_writes(fake, want);
	assert_true(fake_log_has("pci 0000:00:04.0 msi control 0x0000 -> 0x0001 (enable MSI)"));
}

static void a_64_bit_function_gets_data_at_12(void **state)
{
	static const struct fake_access want[] = {
		CFG_W32(BDF, MSI + 4, 0xfee01000), CFG_W32(BDF, MSI + 8, 0x00000001), CFG_W16(BDF, MSI + 12, 0x4045),
		CFG_W16(BDF, PCI_COMMAND, 0x0407), CFG_W16(BDF, CTRL, 0x0081),
	};

	(void)state;
	make(MSI, 0x80, 0);
	assert_int_equal(pci_enable_msi(dev, (struct msi_message){ 0x1fee01000, 0x4045 }, 1), OK);
	assert_writes(fake, want);
}

static void mask_bits_are_set_before_the_message_and_one_is_cleared_at_the_end(void **state)
{
	static const struct fake_access want_32[] = {
		CFG_W32(BDF, MSI + 12, 1),	   CFG_W32(BDF, MSI + 4, 0xfee01000), CFG_W16(BDF, MSI + 8, 0x4045),
		CFG_W16(BDF, PCI_COMMAND, 0x0407), CFG_W16(BDF, CTRL, 0x0101),	      CFG_W32(BDF, MSI + 12, 0),
	};
	static const struct fake_access want_64[] = {
		CFG_W32(BDF, MSI + 16, 1),	CFG_W32(BDF, MSI + 4, 0xfee01000), CFG_W32(BDF, MSI + 8, 0),
		CFG_W16(BDF, MSI + 12, 0x4045), CFG_W16(BDF, PCI_COMMAND, 0x0407), CFG_W16(BDF, CTRL, 0x0181),
		CFG_W32(BDF, MSI + 16, 0),
	};

	(void)state;
	make(MSI, 0x100, 0);
	assert_int_equal(pci_enable_msi(dev, message, 1), OK);
	assert_writes(fake, want_32);
	fake_pci_free(fake);
	make(MSI, 0x180, 0);
	assert_int_equal(pci_enable_msi(dev, message, 1), OK);
	assert_writes(fake, want_64);
	assert_false(fake_writes_are(fake, want_32, ARRAY_SIZE(want_32)));
}

/*
 * The order itself, over any log: at no moment is MSI on while the message is not the new one, nor while INTx may be asserted, too.
 * Replays the writes over what the previous kernel left.
 */
static bool never_on_half_way(u16 flags_before)
{
	bool on = flags_before & 1, address = false, data = false, intx = true;

	for (unsigned int i = 0; i < fake->logged; i++) {
		const struct fake_access *a = &fake->log[i];

		if (!fake_is_write(a))
			continue;
		if (on && a->where != CTRL && a->where != MSI + 12 && a->where != MSI + 16)
			return false;
		address |= a->where == MSI + 4;
		data |= a->where == MSI + 8 || a->where == MSI + 12;
		if (a->where == PCI_COMMAND)
			intx = !(a->value & PCI_COMMAND_INTX_DISABLE);
		if (a->where == CTRL)
			on = a->value & 1;
		if (on && (!address || !data || intx))
			return false;
	}
	return on;
}

static void it_is_never_on_half_way(void **state)
{
	static const u16 features[] = { 0, 0x80, 0x100, 0x180, 0x18a };
	static const u16 before[] = { 0, 0x01, 0x21 };

	(void)state;
	fake = fake_pci_new();
	for (size_t f = 0; f < ARRAY_SIZE(features); f++) {
		for (size_t b = 0; b < ARRAY_SIZE(before); b++) {
			fake_pci_free(fake);
			make(MSI, features[f], before[b]);
			assert_int_equal(pci_enable_msi(dev, message, 1), OK);
			assert_true(never_on_half_way(before[b]));
		}
	}
}

static void the_order_check_rejects_enabling_first(void **state)
{
	(void)state;
	make(MSI, 0x80, 0);
	pci_write_config_word(dev, CTRL, 0x81);
	pci_write_config_dword(dev, MSI + 4, 0xfee01000);
	pci_write_config_word(dev, MSI + 12, 0x4045);
	pci_intx(dev, false);
	assert_false(never_on_half_way(0));
}

static void what_the_previous_kernel_enabled_is_disabled_first_and_its_vectors_are_returned(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(BDF, CTRL, 0x01a6), CFG_W32(BDF, MSI + 16, 0xff),   CFG_W32(BDF, MSI + 4, 0xfee01000),
		CFG_W32(BDF, MSI + 8, 0),   CFG_W16(BDF, MSI + 12, 0x4045), CFG_W16(BDF, PCI_COMMAND, 0x0407),
		CFG_W16(BDF, CTRL, 0x0187), CFG_W32(BDF, MSI + 16, 0xfe),
	};

	(void)state;
	make(MSI, 0x186, 0x21); /* 8 vectors possible, 4 granted, on */
	assert_int_equal(pci_enable_msi(dev, message, 1), OK);
	assert_writes(fake, want);
}

/* Changes are logged old -> new, and the host compares them with QEMU's trace. */
static void the_log_has_the_registers_old_value(void **state)
{
	(void)state;
	make(MSI, 0x186, 0x21);
	assert_int_equal(pci_enable_msi(dev, message, 1), OK);
	assert_true(fake_log_has("msi control 0x01a7 -> 0x01a6 (disable MSI)"));
	assert_true(fake_log_has("msi control 0x01a6 -> 0x0187 (enable MSI)"));
}

static void a_message_that_does_not_fit_is_refused_with_nothing_written(void **state)
{
	(void)state;
	make(MSI, 0x100, 0x01);
	assert_int_equal(pci_enable_msi(dev, (struct msi_message){ 0x1fee01000, 0x45 }, 1), ERR_RANGE);
	assert_no_writes(fake);
	assert_one_line("msi address 0x1fee01000 does not fit 32 bits");
	fake_log_start();
	assert_int_equal(pci_enable_msi(dev, (struct msi_message){ 0xfee01000, 0x10045 }, 1), ERR_RANGE);
	assert_no_writes(fake);
	assert_one_line("data 0x10045");
}

static void a_function_without_msi_or_removed_is_absent(void **state)
{
	(void)state;
	make(MSI, 0x80, 0);
	fn->answers = 0;
	assert_int_equal(pci_enable_msi(dev, message, 1), ERR_ABSENT);
	dev->msi = 0;
	assert_int_equal(pci_enable_msi(dev, message, 1), ERR_ABSENT);
	assert_int_equal(pci_msi_vec_count(dev), 0);
	assert_no_writes(fake);
	assert_int_equal(fake_log_lines(), 0);
}

/* The layout is read-only, and was checked to fit: another one may not. */
static void a_layout_that_has_changed_is_not_used(void **state)
{
	static const u16 changed[] = { 0x080, 0x100, 0x180 };

	(void)state;
	for (u16 was = 0; was < 4; was++) {
		for (size_t i = 0; i < ARRAY_SIZE(changed); i++) {
			if (was || i)
				fake_pci_free(fake);
			make(MSI, (u16)(was * 0x80), 0);
			fake_set(fn, CTRL, 2, (u32)(was * 0x80) ^ changed[i]);
			assert_int_equal(pci_enable_msi(dev, message, 1), ERR_ABSENT);
			assert_no_writes(fake);
		}
	}
	fake_set(fn, CTRL, 2, 0x180); /* the twin: as it was */
	assert_int_equal(pci_enable_msi(dev, message, 1), OK);
}

/* PCIe 7.7.1: 10 to 24 bytes. A list that puts it where it does not fit is invalid, and what follows is another function's. */
static void a_capability_that_does_not_fit_below_0x100_is_not_written(void **state)
{
	static const struct {
		u8 pos;
		u16 features;
	} rows[] = { { 0xfc, 0 }, { 0xf8, 0x80 }, { 0xf4, 0x80 }, { 0xf0, 0x180 } };

	(void)state;
	fake = fake_pci_new();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		fake_pci_free(fake);
		make(rows[i].pos, rows[i].features, 0);
		fake->access.cfg_size = 256;
		assert_int_not_equal(pci_enable_msi(dev, message, 1), OK);
		for (unsigned int j = 0; j < fake->logged; j++)
			assert_true(fake->log[j].where + fake->log[j].size <= 256);
	}
}

static void the_last_place_where_it_fits_is_taken(void **state)
{
	(void)state;
	make(0xe8, 0x180, 0);
	assert_int_equal(pci_enable_msi(dev, message, 1), OK);
}

/* --- every kind, every number of vectors --- */

/* PCIe 7.7.1: the four layouts. */
static const struct layout {
	u16 features;
	bool wide;
	u16 data;
	u16 mask; /* 0: none */
} layouts[] = {
	{ 0x000, false, MSI + 8, 0 },
	{ 0x080, true, MSI + 12, 0 },
	{ 0x100, false, MSI + 8, MSI + 12 },
	{ 0x180, true, MSI + 12, MSI + 16 },
};

struct request {
	const struct layout *layout;
	u16 qmask;  /* log2 of the function's vectors, as in its register */
	u16 before; /* what the previous kernel left on: enable and QSIZE */
	struct msi_message message;
	unsigned int count;
};

static void make_request(const struct request *r)
{
	fake_log_start();
	make(MSI, r->layout->features | (u16)(r->qmask << 1), r->before);
	fake_set(fn, MSI + 4, 4, 0xfee0f000); /* stale, all vectors unmasked */
	fake_set(fn, r->layout->data, 2, 0x0020);
}

/* Of each QMASK; the last two codes are reserved. */
static const u8 vectors[] = { 1, 2, 4, 8, 16, 32, 32, 32 };
static const u32 all_masked[] = { 0x1, 0x3, 0xf, 0xff, 0xffff, 0xffffffff, 0xffffffff, 0xffffffff };

static bool possible(const struct request *r)
{
	unsigned int n = r->count;

	return (n == 1 || n == 2 || n == 4 || n == 8 || n == 16 || n == 32) && n <= vectors[r->qmask] && r->message.data % n == 0;
}

static bool wrote_what_it_takes(const struct request *r)
{
	const u16 features = r->layout->features | (u16)(r->qmask << 1);
	struct fake_access want[8];
	u16 granted = 0;
	size_t n = 0;

	while (1U << granted < r->count)
		granted++;
	if (r->before & 1)
		want[n++] = (struct fake_access)CFG_W16(BDF, CTRL, (features | r->before) & 0xfffeU);
	if (r->layout->mask)
		want[n++] = (struct fake_access)CFG_W32(BDF, r->layout->mask, all_masked[r->qmask]);
	want[n++] = (struct fake_access)CFG_W32(BDF, MSI + 4, (u32)r->message.address);
	if (r->layout->wide)
		want[n++] = (struct fake_access)CFG_W32(BDF, MSI + 8, (u32)(r->message.address >> 32));
	want[n++] = (struct fake_access)CFG_W16(BDF, r->layout->data, r->message.data);
	want[n++] = (struct fake_access)CFG_W16(BDF, PCI_COMMAND, 0x0407);
	want[n++] = (struct fake_access)CFG_W16(BDF, CTRL, features | (u32)granted << 4 | 1);
	if (r->layout->mask) {
		u32 masked = all_masked[r->qmask];

		for (unsigned int v = 0; v < r->count; v++)
			masked &= ~(1U << v);
		want[n++] = (struct fake_access)CFG_W32(BDF, r->layout->mask, masked);
	}
	return fake_writes_are(fake, want, n);
}

/* A function that has a message to send on every vector at every moment from the first write on (PCIe 6.1.4). */
static struct {
	const struct request *request;
	bool begun;
	bool stray;  /* a message that is not one of the new ones */
	u32 arrived; /* a bit a vector */
} sender;

static void watch_messages(struct fake_pci *f, const struct fake_access *a)
{
	const struct request *r = sender.request;
	u32 flags = fake_get(fn, CTRL, 2), mask = r->layout->mask ? fake_get(fn, r->layout->mask, 4) : 0;
	u64 address = fake_get(fn, MSI + 4, 4) | (r->layout->wide ? (u64)fake_get(fn, MSI + 8, 4) << 32 : 0);
	unsigned int granted = 1U << (flags >> 4 & 7);

	(void)f;
	sender.begun |= fake_is_write(a);
	if (!sender.begun || !(flags & 1))
		return;
	for (unsigned int v = 0; v < granted; v++) {
		u32 data = (fake_get(fn, r->layout->data, 2) & ~(granted - 1)) | v;

		if (v < 32 && mask >> v & 1)
			continue;
		if (address != r->message.address || data < r->message.data || data >= r->message.data + r->count)
			sender.stray = true;
		else
			sender.arrived |= 1U << (data - r->message.data);
	}
}

static void listen(const struct request *r)
{
	sender.request = r;
	sender.begun = sender.stray = false;
	sender.arrived = 0;
	fake->watch = watch_messages;
}

/* Each of the vectors can arrive, and nothing else does. */
static bool only_what_was_asked_for(const struct request *r)
{
	return !sender.stray && sender.arrived == (u32)((1ULL << r->count) - 1);
}

static void every_kind_gets_what_it_can_and_is_refused_what_it_cannot(void **state)
{
	static const u16 before[] = { 0, 0x21, 0x51 };
	static const u32 data[] = { 0x4040, 0x4050, 0x4041, 0 };
	static const unsigned int many[] = { 48, 64, 128, 65536, 0x80000000 };
	struct request r = { .message.address = 0xfee01000 };
	unsigned int taken = 0;

	(void)state;
	fake = fake_pci_new();
	for (size_t l = 0; l < ARRAY_SIZE(layouts); l++) {
		for (r.qmask = 0; r.qmask < 8; r.qmask++) {
			for (size_t i = 0; i < ARRAY_SIZE(before) * ARRAY_SIZE(data) * (34 + ARRAY_SIZE(many)); i++) {
				size_t n = i / (ARRAY_SIZE(before) * ARRAY_SIZE(data));

				r.layout = &layouts[l];
				r.before = before[i % ARRAY_SIZE(before)];
				r.message.data = data[i / ARRAY_SIZE(before) % ARRAY_SIZE(data)];
				r.count = n < 34 ? (unsigned int)n : many[n - 34];
				fake_pci_free(fake);
				make_request(&r);
				listen(&r);
				assert_int_equal(pci_msi_vec_count(dev), vectors[r.qmask]);
				if (!possible(&r)) {
					assert_int_equal(pci_enable_msi(dev, r.message, r.count), ERR_RANGE);
					assert_no_writes(fake);
					assert_one_line("are needed");
				} else if (pci_enable_msi(dev, r.message, r.count) != OK || !wrote_what_it_takes(&r) ||
					   !only_what_was_asked_for(&r)) {
					fake_print(fake);
					fail_msg("features 0x%03x, QMASK %u, before 0x%02x: %u vectors from 0x%x on",
						 r.layout->features, r.qmask, r.before, r.count, r.message.data);
				} else {
					taken++;
				}
			}
		}
	}
	assert_true(taken > 1000);
}

/* PCIe 7.7.1.6: a mask bit for each vector that the function has, granted or not; the others are reserved, and written as 0. */
static void mask_bits_of_vectors_that_do_not_exist_are_not_set(void **state)
{
	static const u32 masks[][2] = { { 0x1, 0x0 },
					{ 0x3, 0x2 },
					{ 0xf, 0xe },
					{ 0xff, 0xfe },
					{ 0xffff, 0xfffe },
					{ 0xffffffff, 0xfffffffe },
					{ 0xffffffff, 0xfffffffe },
					{ 0xffffffff, 0xfffffffe } };
	struct request r = { .message = { 0xfee01000, 0x4040 } };

	(void)state;
	fake = fake_pci_new();
	for (r.layout = &layouts[2]; r.layout < layouts + ARRAY_SIZE(layouts); r.layout++) {
		for (r.qmask = 0; r.qmask < 8; r.qmask++) {
			for (unsigned int all = 0; all < 2; all++) { /* one vector, and the twin: each that there is */
				const struct fake_access want[] = { CFG_W32(BDF, r.layout->mask, masks[r.qmask][0]),
								    CFG_W32(BDF, r.layout->mask, all ? 0 : masks[r.qmask][1]) };
				unsigned int n = 0;

				fake_pci_free(fake);
				make_request(&r);
				assert_int_equal(pci_enable_msi(dev, r.message, all ? vectors[r.qmask] : 1), OK);
				for (unsigned int i = 0; i < fake->logged; i++)
					if (fake_is_write(&fake->log[i]) && fake->log[i].where == r.layout->mask)
						fake->log[n++] = fake->log[i];
				fake->logged = n;
				assert_writes(fake, want);
			}
		}
	}
}

/* What the model must reject, each in a function that was left on with four vectors and is to have two. */
static void write_message(const struct request *r)
{
	pci_write_config_dword(dev, MSI + 4, (u32)r->message.address);
	pci_write_config_word(dev, r->layout->data, (u16)r->message.data);
}

static void keeps_it_on(const struct request *r)
{
	write_message(r);
	pci_write_config_word(dev, CTRL, 0x0115);
}

static void enables_first(const struct request *r)
{
	pci_write_config_word(dev, CTRL, 0x0114);
	pci_write_config_word(dev, CTRL, 0x0115);
	write_message(r);
}

static void keeps_its_vectors(const struct request *r)
{
	pci_write_config_word(dev, CTRL, 0x0124);
	write_message(r);
	pci_write_config_word(dev, CTRL, 0x0125);
}

static void forgets_a_mask_bit(const struct request *r)
{
	pci_write_config_word(dev, CTRL, 0x0124);
	write_message(r);
	pci_write_config_dword(dev, r->layout->mask, 0xfffffffe);
	pci_write_config_word(dev, CTRL, 0x0115);
}

static void does_it_right(const struct request *r)
{
	pci_write_config_word(dev, CTRL, 0x0124);
	write_message(r);
	pci_write_config_word(dev, CTRL, 0x0115);
}

static void the_model_catches_a_message_that_is_not_suppressed(void **state)
{
	static const struct request r = { &layouts[2], 2, 0x21, { 0xfee01000, 0x4040 }, 2 };
	static void (*const mistakes[])(const struct request *r) = { keeps_it_on, enables_first, keeps_its_vectors,
								     forgets_a_mask_bit };

	(void)state;
	make_request(&r);
	listen(&r);
	does_it_right(&r);
	assert_true(only_what_was_asked_for(&r));
	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		fake_pci_free(fake);
		make_request(&r);
		listen(&r);
		mistakes[i](&r);
		assert_false(only_what_was_asked_for(&r));
	}
}

static void shutdown_turns_it_off_and_intx_on(void **state)
{
	static const struct fake_access want[] = { CFG_W16(BDF, CTRL, 0x0080), CFG_W16(BDF, PCI_COMMAND, 0x0007) };
	static const struct fake_access intx_first[] = { CFG_W16(BDF, PCI_COMMAND, 0x0007), CFG_W16(BDF, CTRL, 0x0080) };

	(void)state;
	make(MSI, 0x80, 0x01);
	fake_set(fn, PCI_COMMAND, 2, 0x0407);
	pci_msi_shutdown(dev);
	assert_writes(fake, want);
	assert_false(fake_writes_are(fake, intx_first, 2));
}

static void init_clears_the_enable_bit_and_nothing_else(void **state)
{
	static const struct fake_access want[] = { CFG_W16(BDF, CTRL, 0x01a6) };

	(void)state;
	make(MSI, 0x186, 0x21);
	fake_set(fn, PCI_COMMAND, 2, 0x0407);
	pci_msi_init(dev);
	assert_writes(fake, want);
	/* The twin: shutdown writes more, and the same comparison says so. */
	fake_set(fn, CTRL, 2, 0x01a7);
	fake_clear_log(fake);
	pci_msi_shutdown(dev);
	assert_false(fake_writes_are(fake, want, 1));
}

static void what_is_off_stays_untouched(void **state)
{
	(void)state;
	make(MSI, 0x80, 0);
	pci_msi_shutdown(dev);
	pci_msi_init(dev);
	dev->msi = 0;
	pci_msi_shutdown(dev);
	pci_msi_init(dev);
	dev->msi = MSI;
	fn->answers = 0;
	pci_msi_shutdown(dev);
	pci_msi_init(dev);
	assert_no_writes(fake);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(a_32_bit_function_gets_data_at_8),
		T(a_64_bit_function_gets_data_at_12),
		T(mask_bits_are_set_before_the_message_and_one_is_cleared_at_the_end),
		T(it_is_never_on_half_way),
		T(the_order_check_rejects_enabling_first),
		T(what_the_previous_kernel_enabled_is_disabled_first_and_its_vectors_are_returned),
		T(the_log_has_the_registers_old_value),
		T(a_message_that_does_not_fit_is_refused_with_nothing_written),
		T(a_function_without_msi_or_removed_is_absent),
		T(a_layout_that_has_changed_is_not_used),
		T(a_capability_that_does_not_fit_below_0x100_is_not_written),
		T(the_last_place_where_it_fits_is_taken),
		T(every_kind_gets_what_it_can_and_is_refused_what_it_cannot),
		T(mask_bits_of_vectors_that_do_not_exist_are_not_set),
		T(the_model_catches_a_message_that_is_not_suppressed),
		T(shutdown_turns_it_off_and_intx_on),
		T(init_clears_the_enable_bit_and_nothing_else),
		T(what_is_off_stays_untouched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
