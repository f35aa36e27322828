/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: on a known router every PIRQ that firmware routed to a line and Linux disabled is enabled again, and no other byte is
 * written. Could be false: ICH9's registers are in two groups of four, and a PIRQ that is routed nowhere must stay off. Provoked:
 * registers as OVMF and as Linux leave them. Failure: another list of writes.
 */
#include "drivers/pirq/pirq.h"
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

#define BDF PCI_BDF(0, 31, 0)

static struct fake_pci *fake;
static struct fake_devs devs;

static int end(void **state)
{
	(void)state;
	fake_pci_free(fake);
	return 0;
}

static void make(u16 vendor, u16 device, const u8 *wires, unsigned int n)
{
	struct fake_fn *fn;

	fake_log_start();
	fake = fake_pci_new();
	fn = fake_add(fake, BDF, vendor, device);
	for (unsigned int i = 0; i < 16; i++) {
		u16 reg = (u16)(0x60 + i);

		fake_set(fn, reg, 1, 0x8a);
		fake_writable(fn, reg, 1, 0x8f);
		/* ICH9 data sheet 13.1.9 and 13.1.12: PIRQA to D at 0x60, E to H at 0x68. */
		if (i < 4 && i < n)
			fake_set(fn, reg, 1, wires[i]);
		else if (i >= 8 && i < 12 && i - 4 < n)
			fake_set(fn, reg, 1, wires[i - 4]);
	}
	fake_enumerate(fake, &devs);
}

static void ich9s_disabled_wires_are_enabled(void **state)
{
	static const u8 wires[] = { 0x8a, 0x0a, 0x8b, 0x0b, 0x80, 0x00, 0x8a, 0x8b };
	static const struct fake_access want[] = { CFG_W8(BDF, 0x60, 0x0a), CFG_W8(BDF, 0x62, 0x0b), CFG_W8(BDF, 0x6a, 0x0a),
						   CFG_W8(BDF, 0x6b, 0x0b) };

	(void)state;
	make(0x8086, 0x2918, wires, 8);
	assert_true(pirq_driver.pci.match(devs.dev));
	assert_int_equal(pirq_driver.pci.reset(devs.dev), OK);
	assert_writes(fake, want);
	assert_int_equal(fake_log_lines(), 4);
	assert_true(fake_log_has("pci 0000:00:1f.0 pirq 0x62 0x8b -> 0x0b (enable)"));
	/* A second time there is nothing left to do: the twin of a driver that writes regardless. */
	fake_clear_log(fake);
	assert_int_equal(pirq_driver.pci.reset(devs.dev), OK);
	assert_no_writes(fake);
	assert_false(fake_writes_are(fake, want, ARRAY_SIZE(want)));
}

static void piix3_has_four(void **state)
{
	static const u8 wires[] = { 0x8a, 0x8b, 0x0a, 0x8b };
	static const struct fake_access want[] = { CFG_W8(BDF, 0x60, 0x0a), CFG_W8(BDF, 0x61, 0x0b), CFG_W8(BDF, 0x63, 0x0b) };

	(void)state;
	make(0x8086, 0x7000, wires, 4);
	assert_true(pirq_driver.pci.match(devs.dev));
	assert_int_equal(pirq_driver.pci.reset(devs.dev), OK);
	assert_writes(fake, want);
}

static void no_other_bridge_is_touched(void **state)
{
	(void)state;
	make(0x8086, 0x7110, NULL, 0); /* PIIX4: known, and not here */
	assert_false(pirq_driver.pci.match(devs.dev));
}

static void a_removed_router_is_not_written(void **state)
{
	static const u8 wires[] = { 0x8a, 0x8b, 0x8a, 0x8b };

	(void)state;
	make(0x8086, 0x7000, wires, 4);
	fake_at(fake, BDF)->answers = 0;
	pirq_driver.pci.reset(devs.dev);
	assert_no_writes(fake);
}

int main(void)
{
#define T(test) cmocka_unit_test_teardown(test, end)
	const struct CMUnitTest tests[] = {
		T(ich9s_disabled_wires_are_enabled),
		T(piix3_has_four),
		T(no_other_bridge_is_touched),
		T(a_removed_router_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
