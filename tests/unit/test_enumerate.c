/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the enumeration finds every function that responds, each bridge before what is below it, by reads alone. Could be false:
 * functions on an extra root bus, beyond function 0, of an ARI device or virtual ones are easy to miss; function 1 of a
 * single-function device must not be read, since devices that decode no function number respond there as well; a bridge with a
 * wrong bus may close a loop; a capacity that is too small may be written past. Provoked: a tree for each of these. Failure:
 * another list of functions, a wrong order, or a write.
 */
#include "tests/unit/fake_pci.h"
#include "tests/unit/unit.h"

static struct fake_pci *fake;
static struct pci_dev room[FAKE_FNS_MAX];
static struct pci pci;

static int begin(void **state)
{
	(void)state;
	fake_log_start();
	fake = fake_pci_new();
	return 0;
}

static int end(void **state)
{
	(void)state;
	fake_pci_free(fake);
	return 0;
}

static enum status enumerate(unsigned int capacity)
{
	pci = (struct pci){ .dev = room, .capacity = capacity };
	return pci_enumerate(&pci, &fake->access);
}

/* The functions found are these, in this order. */
static bool found_are(const u16 *bdfs, unsigned int n)
{
	if (pci.count != n)
		return false;
	for (unsigned int i = 0; i < n; i++)
		if (pci.dev[i].bdf != bdfs[i])
			return false;
	return true;
}

static void fail_with_list(void)
{
	for (unsigned int i = 0; i < pci.count; i++)
		print_message("found %02x:%02x.%x\n", PCI_BUS(room[i].bdf), PCI_DEV(room[i].bdf), PCI_FN(room[i].bdf));
	fail_msg("other functions than wanted, or in another order");
}

#define assert_found(...)                                                                                                          \
	do {                                                                                                                       \
		const u16 bdfs[] = { __VA_ARGS__ };                                                                                \
		assert_int_equal(enumerate(FAKE_FNS_MAX), OK);                                                                     \
		if (!found_are(bdfs, ARRAY_SIZE(bdfs)))                                                                            \
			fail_with_list();                                                                                          \
	} while (0)

/* What the backward walk relies on. */
static bool bridges_come_first(const struct pci *p)
{
	for (unsigned int i = 0; i < p->count; i++)
		if (p->dev[i].bridge && p->dev[i].bridge >= &p->dev[i])
			return false;
	return true;
}

static bool was_read(u16 bdf)
{
	for (unsigned int i = 0; i < fake->logged; i++)
		if (fake->log[i].bdf == bdf)
			return true;
	return false;
}

static struct fake_fn *multifunction(u16 bdf)
{
	struct fake_fn *fn = fake_add(fake, bdf, 0x8086, 0x1000);

	fake_set(fn, PCI_HEADER_TYPE, 1, 0x80);
	return fn;
}

static void a_bridge_is_before_what_is_below_it(void **state)
{
	(void)state;
	fake_add(fake, PCI_BDF(0, 1, 0), 1, 1);
	fake_bridge(fake, PCI_BDF(0, 2, 0), 1, 2);
	fake_bridge(fake, PCI_BDF(1, 0, 0), 2, 2);
	fake_add(fake, PCI_BDF(2, 3, 0), 1, 2);
	fake_add(fake, PCI_BDF(1, 1, 0), 1, 3);
	fake_add(fake, PCI_BDF(0, 3, 0), 1, 4);
	assert_found(PCI_BDF(0, 1, 0), PCI_BDF(0, 2, 0), PCI_BDF(1, 0, 0), PCI_BDF(2, 3, 0), PCI_BDF(1, 1, 0), PCI_BDF(0, 3, 0));
	assert_true(bridges_come_first(&pci));
	assert_null(pci.dev[0].bridge);
	assert_ptr_equal(pci.dev[3].bridge, &pci.dev[2]);
	assert_ptr_equal(pci.dev[4].bridge, &pci.dev[1]);
	assert_null(pci.dev[5].bridge);
}

static void the_order_check_rejects_a_child_before_its_bridge(void **state)
{
	struct pci_dev devs[2] = { { .bridge = &devs[1] }, { .bridge = NULL } };
	const struct pci wrong = { .dev = devs, .count = 2 };

	(void)state;
	assert_false(bridges_come_first(&wrong));
}

static void what_is_stored_is_what_the_registers_hold(void **state)
{
	struct fake_fn *fn = fake_edu(fake, PCI_BDF(0, 4, 0));
	const struct pci_dev *dev = room;

	(void)state;
	fake_set(fn, PCI_CLASS_REVISION, 4, 0x00ff0010);
	fake_set(fn, PCI_COMMAND, 2, 0x0507);
	fake_set(fn, FAKE_EDU_MSI + 2, 2, 0x0081);
	assert_int_equal(enumerate(4), OK);
	assert_int_equal(dev->vendor, 0x1234);
	assert_int_equal(dev->device, 0x11e8);
	assert_int_equal(dev->class, 0x00ff00);
	assert_int_equal(dev->header_type, 0);
	assert_false(dev->multifunction);
	assert_false(dev->is_vf);
	assert_int_equal(dev->msi, FAKE_EDU_MSI);
	assert_int_equal(dev->msix, 0);
	assert_int_equal(dev->pcie, 0);
	assert_int_equal(dev->inherited.command, 0x0507);
	assert_int_equal(dev->inherited.status, 0x3010);
	assert_int_equal(dev->inherited.msi_flags, 0x0081);
}

static void msix_is_stored_as_inherited(void **state)
{
	struct fake_fn *fn = fake_virtio_blk(fake, PCI_BDF(0, 4, 0));

	(void)state;
	fake_set(fn, FAKE_BLK_MSIX + 2, 2, 0xc001);
	assert_int_equal(enumerate(4), OK);
	assert_int_equal(room[0].msix, FAKE_BLK_MSIX);
	assert_int_equal(room[0].inherited.msix_flags, 0xc001);
	assert_int_equal(room[0].msi, 0);
}

static void nothing_is_written(void **state)
{
	(void)state;
	fake_bridge(fake, PCI_BDF(0, 2, 0), 1, 1);
	fake_edu(fake, PCI_BDF(1, 0, 0));
	fake_virtio_blk(fake, PCI_BDF(1, 1, 0));
	assert_int_equal(enumerate(8), OK);
	assert_true(fake->logged > 0);
	assert_no_writes(fake);
	/* The twin: one write, and the check sees it. */
	pci_write_config_byte(&room[0], PCI_INTERRUPT_LINE, 1);
	assert_int_equal(fake_writes(fake), 1);
}

static void a_root_bus_under_no_bridge_is_scanned(void **state)
{
	(void)state;
	fake_add(fake, PCI_BDF(0, 1, 0), 1, 1);
	fake_bridge(fake, PCI_BDF(0x80, 0, 0), 0x81, 0x81);
	fake_add(fake, PCI_BDF(0x81, 0, 0), 1, 2);
	fake_add(fake, PCI_BDF(255, 31, 0), 1, 3);
	assert_found(PCI_BDF(0, 1, 0), PCI_BDF(0x80, 0, 0), PCI_BDF(0x81, 0, 0), PCI_BDF(255, 31, 0));
	assert_null(pci.dev[1].bridge);
	assert_ptr_equal(pci.dev[2].bridge, &pci.dev[1]);
}

static void only_the_buses_of_the_access_are_scanned(void **state)
{
	(void)state;
	fake->access.first_bus = 0x40;
	fake->access.last_bus = 0x41;
	fake_add(fake, PCI_BDF(0, 1, 0), 1, 1);
	fake_add(fake, PCI_BDF(0x40, 1, 0), 1, 2);
	fake_bridge(fake, PCI_BDF(0x40, 2, 0), 0x42, 0x42);
	fake_add(fake, PCI_BDF(0x42, 0, 0), 1, 3);
	fake_bridge(fake, PCI_BDF(0x40, 3, 0), 0x10, 0x10);
	assert_found(PCI_BDF(0x40, 1, 0), PCI_BDF(0x40, 2, 0), PCI_BDF(0x40, 3, 0));
	for (unsigned int i = 0; i < fake->logged; i++)
		assert_uint_in_range(PCI_BUS(fake->log[i].bdf), 0x40, 0x41);
}

static void every_function_of_a_multifunction_device_is_found(void **state)
{
	(void)state;
	multifunction(PCI_BDF(0, 5, 0));
	fake_add(fake, PCI_BDF(0, 5, 2), 1, 2);
	fake_add(fake, PCI_BDF(0, 5, 7), 1, 3);
	assert_found(PCI_BDF(0, 5, 0), PCI_BDF(0, 5, 2), PCI_BDF(0, 5, 7));
	assert_true(pci.dev[0].multifunction);
}

static void function_1_of_a_single_function_device_is_not_read(void **state)
{
	(void)state;
	fake_add(fake, PCI_BDF(0, 5, 0), 1, 1);
	fake_add(fake, PCI_BDF(0, 5, 1), 1, 1); /* a device that decodes no function number responds there, too */
	assert_found(PCI_BDF(0, 5, 0));
	assert_false(was_read(PCI_BDF(0, 5, 1)));
	/* The twin: with the multifunction bit it is read and found. */
	fake_set(fake_at(fake, PCI_BDF(0, 5, 0)), PCI_HEADER_TYPE, 1, 0x80);
	assert_found(PCI_BDF(0, 5, 0), PCI_BDF(0, 5, 1));
	assert_true(was_read(PCI_BDF(0, 5, 1)));
}

static void a_device_without_function_0_is_not_there(void **state)
{
	(void)state;
	multifunction(PCI_BDF(0, 6, 1));
	assert_int_equal(enumerate(4), OK);
	assert_int_equal(pci.count, 0);
	assert_false(was_read(PCI_BDF(0, 6, 1)));
}

/* Below the port is one device whose functions 0, 9 and 0x21 name each other; 9 and 0x21 look like devices 1 and 4. */
static void ari_device(u8 after_9)
{
	struct fake_fn *fn;

	fake_bridge(fake, PCI_BDF(0, 1, 0), 1, 1);
	fn = fake_add(fake, PCI_BDF(1, 0, 0), 1, 1);
	fake_cap(fn, 0x40, PCI_CAP_ID_EXP);
	fake_ext_cap(fn, 0x100, 0x0001); /* AER before it: the list is walked */
	fake_ari(fn, 0x140, 9);
	fn = fake_add(fake, PCI_BDF(1, 1, 1), 1, 2);
	fake_cap(fn, 0x40, PCI_CAP_ID_EXP);
	fake_ari(fn, 0x100, after_9);
	fn = fake_add(fake, PCI_BDF(1, 4, 1), 1, 3);
	fake_cap(fn, 0x40, PCI_CAP_ID_EXP);
	fake_ari(fn, 0x100, 0);
}

static void functions_of_an_ari_device_are_followed(void **state)
{
	(void)state;
	ari_device(0x21);
	assert_found(PCI_BDF(0, 1, 0), PCI_BDF(1, 0, 0), PCI_BDF(1, 1, 1), PCI_BDF(1, 4, 1));
	assert_ptr_equal(pci.dev[3].bridge, &pci.dev[0]);
}

/*
 * PCIe 6.13: only a port below which there is one device uses the device number's bits for functions; elsewhere they are other
 * devices.
 */
static void elsewhere_ari_is_not_followed(void **state)
{
	struct fake_fn *fn;

	(void)state;
	fn = fake_bridge(fake, PCI_BDF(0, 1, 0), 1, 1);
	fake_set(fn, PCI_STATUS, 2, 0); /* a conventional bridge: no PCIe capability, nor any */
	for (u8 bus = 0; bus < 2; bus++) {
		fn = fake_add(fake, PCI_BDF(bus, 2, 0), 1, 1);
		fake_cap(fn, 0x40, PCI_CAP_ID_EXP);
		fake_ari(fn, 0x100, 9);
		fake_add(fake, PCI_BDF(bus, 1, 1), 1, 2); /* what would be function 9; without function 0 on bus 1 */
		fake_add(fake, PCI_BDF(bus, 3, 0), 1, 3);
	}
	assert_found(PCI_BDF(0, 1, 0), PCI_BDF(1, 2, 0), PCI_BDF(1, 3, 0), PCI_BDF(0, 2, 0), PCI_BDF(0, 3, 0));
	assert_false(was_read(PCI_BDF(1, 1, 1)));
}

/* PCI 6.2.1: ones where no function is; no vendor has 0. Whatever the device ID then says. */
static void without_a_vendor_there_is_no_function(void **state)
{
	(void)state;
	fake_add(fake, PCI_BDF(0, 1, 0), 0xffff, 0x1234);
	fake_add(fake, PCI_BDF(0, 2, 0), 0xfffe, 0xffff);
	fake_add(fake, PCI_BDF(0, 3, 0), 0x0000, 0x1234);
	fake_add(fake, PCI_BDF(0, 4, 0), 0x0001, 0x0000);
	fake_add(fake, PCI_BDF(0, 5, 0), 0x0000, 0x0000);
	assert_found(PCI_BDF(0, 2, 0), PCI_BDF(0, 4, 0));
}

static void an_ari_list_that_does_not_rise_ends(void **state)
{
	(void)state;
	ari_device(9); /* names itself; 5, say, would be a loop */
	assert_found(PCI_BDF(0, 1, 0), PCI_BDF(1, 0, 0), PCI_BDF(1, 1, 1));
}

static struct fake_fn *pf_at(u16 bdf, u16 count)
{
	struct fake_fn *fn = fake_add(fake, bdf, 0x8086, 0x10c9);

	fake_cap(fn, 0xa0, PCI_CAP_ID_EXP);
	fake_ext_cap(fn, 0x100, 0x0001);
	fake_sriov(fn, 0x160, count, 0x80, 2, 0x10ca);
	return fn;
}

static struct fake_fn *pf(u16 count)
{
	return pf_at(PCI_BDF(0, 7, 0), count);
}

/* PCIe 9.3.4.1.1: a VF's vendor and device ID read all ones. */
static void vf(u16 bdf)
{
	fake_cap_msix(fake_add(fake, bdf, 0xffff, 0xffff), 0x70, 3, 0, 0);
}

static void vfs_are_found_through_their_pf(void **state)
{
	(void)state;
	pf(2);
	vf(PCI_BDF(0, 0x17, 0)); /* 00:07.0 + 0x80, and 2 further */
	vf(PCI_BDF(0, 0x17, 2));
	vf(PCI_BDF(0, 0x17, 4)); /* one more than are enabled */
	assert_found(PCI_BDF(0, 7, 0), PCI_BDF(0, 0x17, 0), PCI_BDF(0, 0x17, 2));
	assert_true(pci.dev[1].is_vf);
	assert_int_equal(pci.dev[1].vendor, 0x8086);
	assert_int_equal(pci.dev[1].device, 0x10ca);
	assert_int_equal(pci.dev[2].msix, 0x70);
	assert_false(pci.dev[0].is_vf);
}

/* Bus master above a VF is set where it is set above its PF; the PF itself is no bridge. */
static void above_a_vf_is_what_is_above_its_pf(void **state)
{
	(void)state;
	fake_bridge(fake, PCI_BDF(0, 1, 0), 1, 1);
	pf_at(PCI_BDF(1, 0, 0), 2);
	vf(PCI_BDF(1, 0x10, 0));
	vf(PCI_BDF(1, 0x10, 2));
	assert_found(PCI_BDF(0, 1, 0), PCI_BDF(1, 0, 0), PCI_BDF(1, 0x10, 0), PCI_BDF(1, 0x10, 2));
	for (unsigned int i = 1; i < pci.count; i++)
		assert_ptr_equal(pci.dev[i].bridge, &pci.dev[0]);
	/* The twin: a PF on a root bus. */
	fake_pci_free(fake);
	fake = fake_pci_new();
	pf(1);
	vf(PCI_BDF(0, 0x17, 0));
	assert_found(PCI_BDF(0, 7, 0), PCI_BDF(0, 0x17, 0));
	assert_null(pci.dev[1].bridge);
}

static void vfs_that_are_not_enabled_are_not_read(void **state)
{
	struct fake_fn *fn = pf(2);

	(void)state;
	fake_set(fn, 0x160 + 0x08, 2, 0);
	vf(PCI_BDF(0, 0x17, 0));
	assert_found(PCI_BDF(0, 7, 0));
	/* The twin: once they are. */
	fake_set(fn, 0x160 + 0x08, 2, PCI_SRIOV_CTRL_VFE);
	assert_found(PCI_BDF(0, 7, 0), PCI_BDF(0, 0x17, 0));
}

static void vfs_that_do_not_respond_are_not_there(void **state)
{
	(void)state;
	pf(3);
	vf(PCI_BDF(0, 0x17, 0));
	assert_found(PCI_BDF(0, 7, 0), PCI_BDF(0, 0x17, 0));
}

static void vfs_on_the_last_bus_are_found(void **state)
{
	struct fake_fn *fn = pf(2);

	(void)state;
	fake->access.last_bus = 1;
	fake_set(fn, 0x160 + 0x14, 2, 0x1c0); /* from 00:07.0 to the last routing IDs of bus 1 */
	fake_set(fn, 0x160 + 0x16, 2, 0x100);
	vf(0x38 + 0x1c0);
	assert_found(PCI_BDF(0, 7, 0), 0x38 + 0x1c0);
}

static void vfs_beyond_the_last_bus_are_not_read(void **state)
{
	struct fake_fn *fn = pf(0xffff);

	(void)state;
	fake->access.last_bus = 0;
	fake_set(fn, 0x160 + 0x14, 2, 0xfff0); /* bus 255, and with the stride past the last routing ID */
	assert_found(PCI_BDF(0, 7, 0));
	for (unsigned int i = 0; i < fake->logged; i++)
		assert_int_equal(PCI_BUS(fake->log[i].bdf), 0);
}

static void a_bridge_with_a_bus_already_scanned_is_not_followed(void **state)
{
	(void)state;
	fake_bridge(fake, PCI_BDF(0, 2, 0), 1, 1);
	fake_bridge(fake, PCI_BDF(0, 3, 0), 1, 1); /* the bus of its neighbour */
	fake_bridge(fake, PCI_BDF(0, 4, 0), 0, 0); /* left unnumbered by firmware: its own bus */
	fake_bridge(fake, PCI_BDF(1, 0, 0), 0, 1); /* back to the root: a loop */
	assert_found(PCI_BDF(0, 2, 0), PCI_BDF(1, 0, 0), PCI_BDF(0, 3, 0), PCI_BDF(0, 4, 0));
}

static void what_does_not_fit_is_reported_and_the_rest_is_there(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 5; i++)
		fake_add(fake, PCI_BDF(0, i, 0), 1, (u16)i);
	memset(&room[3], 0x5a, sizeof(room[3]));
	assert_int_equal(enumerate(3), ERR_RANGE);
	assert_int_equal(pci.count, 3);
	assert_int_equal(pci.dev[2].device, 2);
	assert_int_equal(*(u8 *)&room[3], 0x5a);
	assert_one_line("more than 3 functions");
	/* The twin: exactly enough room is no error. */
	fake_log_start();
	assert_int_equal(enumerate(5), OK);
	assert_int_equal(fake_log_lines(), 0);
}

static void vfs_that_do_not_fit_are_reported_as_well(void **state)
{
	(void)state;
	pf(2);
	vf(PCI_BDF(0, 0x17, 0));
	vf(PCI_BDF(0, 0x17, 2));
	assert_int_equal(enumerate(2), ERR_RANGE);
	assert_int_equal(pci.count, 2);
}

static void a_function_that_is_removed_while_it_is_read_ends_no_scan(void **state)
{
	(void)state;
	/* At every access in turn; each must end, and its neighbour must be found. */
	for (int answers = 0; answers < 40; answers++) {
		fake_pci_free(fake);
		fake = fake_pci_new();
		fake_virtio_blk(fake, PCI_BDF(0, 1, 0))->answers = answers;
		fake_add(fake, PCI_BDF(0, 2, 0), 1, 1);
		assert_int_equal(enumerate(8), OK);
		assert_int_equal(pci.dev[pci.count - 1].bdf, PCI_BDF(0, 2, 0));
	}
}

/* PCIe 9.3.3: SR-IOV takes 64 bytes. Where it does not fit, what follows is another function's configuration space. */
static void an_extended_capability_that_does_not_fit_is_not_read(void **state)
{
	struct fake_fn *fn = fake_add(fake, PCI_BDF(0, 7, 0), 1, 1);

	(void)state;
	fake_cap(fn, 0x40, PCI_CAP_ID_EXP);
	fake_ext_cap(fn, 0x100, 0x0001);
	fake_ext_cap(fn, 0xffc, PCI_EXT_CAP_ID_SRIOV);
	assert_found(PCI_BDF(0, 7, 0));
}

static void enumerating_a_second_access_adds_to_the_first(void **state)
{
	(void)state;
	fake_add(fake, PCI_BDF(0, 1, 0), 1, 1);
	assert_int_equal(enumerate(4), OK);
	fake->access.segment = 1;
	assert_int_equal(pci_enumerate(&pci, &fake->access), OK);
	assert_int_equal(pci.count, 2);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(a_bridge_is_before_what_is_below_it),
		T(the_order_check_rejects_a_child_before_its_bridge),
		T(what_is_stored_is_what_the_registers_hold),
		T(msix_is_stored_as_inherited),
		T(nothing_is_written),
		T(a_root_bus_under_no_bridge_is_scanned),
		T(only_the_buses_of_the_access_are_scanned),
		T(every_function_of_a_multifunction_device_is_found),
		T(function_1_of_a_single_function_device_is_not_read),
		T(a_device_without_function_0_is_not_there),
		T(functions_of_an_ari_device_are_followed),
		T(elsewhere_ari_is_not_followed),
		T(without_a_vendor_there_is_no_function),
		T(an_ari_list_that_does_not_rise_ends),
		T(vfs_are_found_through_their_pf),
		T(above_a_vf_is_what_is_above_its_pf),
		T(vfs_that_are_not_enabled_are_not_read),
		T(vfs_that_do_not_respond_are_not_there),
		T(vfs_on_the_last_bus_are_found),
		T(vfs_beyond_the_last_bus_are_not_read),
		T(a_bridge_with_a_bus_already_scanned_is_not_followed),
		T(what_does_not_fit_is_reported_and_the_rest_is_there),
		T(vfs_that_do_not_fit_are_reported_as_well),
		T(a_function_that_is_removed_while_it_is_read_ends_no_scan),
		T(an_extended_capability_that_does_not_fit_is_not_read),
		T(enumerating_a_second_access_adds_to_the_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
