/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: MSI is programmed in Linux's order (msi_capability_init: off, masked, message, INTx off, on, unmasked), at the offsets that
 * the function's own features demand; shutdown turns it off and INTx on again, init clears the enable bit and nothing else.
 * Could be false: Data and Mask move when the address has 64 bits; an enabled function whose message is half written sends it to
 * anywhere; several vectors that the previous kernel was granted stay granted.
 * Provoked: a function of each kind, as reset leaves it and as a previous kernel leaves it. Failure: another list of writes.
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
	fn = fake_add(fake, BDF, 0x1111, 0x2222);
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
	assert_int_equal(pci_enable_msi(dev, message), OK);
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
	assert_int_equal(pci_enable_msi(dev, (struct msi_message){ 0x1fee01000, 0x4045 }), OK);
	assert_writes(fake, want);
}

static void mask_bits_are_set_before_the_message_and_one_is_cleared_at_the_end(void **state)
{
	static const struct fake_access want_32[] = {
		CFG_W32(BDF, MSI + 12, 0xffffffff), CFG_W32(BDF, MSI + 4, 0xfee01000), CFG_W16(BDF, MSI + 8, 0x4045),
		CFG_W16(BDF, PCI_COMMAND, 0x0407),  CFG_W16(BDF, CTRL, 0x0101),	       CFG_W32(BDF, MSI + 12, 0xfffffffe),
	};
	static const struct fake_access want_64[] = {
		CFG_W32(BDF, MSI + 16, 0xffffffff), CFG_W32(BDF, MSI + 4, 0xfee01000), CFG_W32(BDF, MSI + 8, 0),
		CFG_W16(BDF, MSI + 12, 0x4045),	    CFG_W16(BDF, PCI_COMMAND, 0x0407), CFG_W16(BDF, CTRL, 0x0181),
		CFG_W32(BDF, MSI + 16, 0xfffffffe),
	};

	(void)state;
	make(MSI, 0x100, 0);
	assert_int_equal(pci_enable_msi(dev, message), OK);
	assert_writes(fake, want_32);
	fake_pci_free(fake);
	make(MSI, 0x180, 0);
	assert_int_equal(pci_enable_msi(dev, message), OK);
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
			assert_int_equal(pci_enable_msi(dev, message), OK);
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

static void what_the_previous_kernel_had_on_goes_off_first_and_its_vectors_are_returned(void **state)
{
	static const struct fake_access want[] = {
		CFG_W16(BDF, CTRL, 0x01a6), CFG_W32(BDF, MSI + 16, 0xffffffff), CFG_W32(BDF, MSI + 4, 0xfee01000),
		CFG_W32(BDF, MSI + 8, 0),   CFG_W16(BDF, MSI + 12, 0x4045),	CFG_W16(BDF, PCI_COMMAND, 0x0407),
		CFG_W16(BDF, CTRL, 0x0187), CFG_W32(BDF, MSI + 16, 0xfffffffe),
	};

	(void)state;
	make(MSI, 0x186, 0x21); /* 8 vectors possible, 4 granted, on */
	assert_int_equal(pci_enable_msi(dev, message), OK);
	assert_writes(fake, want);
}

/* Changes are logged old -> new, and the host compares them with QEMU's trace. */
static void the_log_says_what_the_register_held(void **state)
{
	(void)state;
	make(MSI, 0x186, 0x21);
	assert_int_equal(pci_enable_msi(dev, message), OK);
	assert_true(fake_log_has("msi control 0x01a7 -> 0x01a6 (disable MSI)"));
	assert_true(fake_log_has("msi control 0x01a6 -> 0x0187 (enable MSI)"));
}

static void a_message_that_does_not_fit_is_refused_with_nothing_written(void **state)
{
	(void)state;
	make(MSI, 0x100, 0x01);
	assert_int_equal(pci_enable_msi(dev, (struct msi_message){ 0x1fee01000, 0x45 }), ERR_RANGE);
	assert_no_writes(fake);
	assert_one_line("msi address 0x1fee01000 does not fit 32 bits");
}

static void a_function_without_msi_or_gone_is_absent(void **state)
{
	(void)state;
	make(MSI, 0x80, 0);
	fn->answers = 0;
	assert_int_equal(pci_enable_msi(dev, message), ERR_ABSENT);
	dev->msi = 0;
	assert_int_equal(pci_enable_msi(dev, message), ERR_ABSENT);
	assert_no_writes(fake);
	assert_int_equal(fake_log_lines(), 0);
}

/* PCIe 7.7.1: 10 to 24 bytes. A list that puts it where it does not fit is nonsense, and what follows is another function's. */
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
		assert_int_not_equal(pci_enable_msi(dev, message), OK);
		for (unsigned int j = 0; j < fake->logged; j++)
			assert_true(fake->log[j].where + fake->log[j].size <= 256);
	}
}

static void the_last_place_where_it_fits_is_taken(void **state)
{
	(void)state;
	make(0xe8, 0x180, 0);
	assert_int_equal(pci_enable_msi(dev, message), OK);
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
	fake_forget(fake);
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
		T(what_the_previous_kernel_had_on_goes_off_first_and_its_vectors_are_returned),
		T(the_log_says_what_the_register_held),
		T(a_message_that_does_not_fit_is_refused_with_nothing_written),
		T(a_function_without_msi_or_gone_is_absent),
		T(a_capability_that_does_not_fit_below_0x100_is_not_written),
		T(the_last_place_where_it_fits_is_taken),
		T(shutdown_turns_it_off_and_intx_on),
		T(init_clears_the_enable_bit_and_nothing_else),
		T(what_is_off_stays_untouched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
