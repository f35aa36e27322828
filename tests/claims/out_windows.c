/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * first's steps, with the window that it opens: the outgoing kernel of C7 to C10 and L5. Policies and load are the production ones.
 *
 * A window is a part of the handoff in which a device has no driver (windows.h). All work in flight ends in the one that the
 * command line names. The next image is in its place before anything is in flight: to copy and to hash it takes longer than edu's
 * transfer, which could then end in no window but the first.
 *
 * On purpose with lab.intx=enabled: edu's INTx Disable is left clear while MSI is on, as by a kernel for a device on which the bit
 * does harm (Linux: PCI_DEV_FLAGS_MSI_INTX_DISABLE_BUG).
 *
 * A failure is different for each: c07_kexec_problem.py to c10_crash.py and l05_storm_moves.py say which messages, edges, requests
 * and bytes the window must have, and which it must not.
 */
#include "boot/start.h"
#include "lib/string.h"
#include "lib/time.h"
#include "tests/claims/windows.h"

/* QEMU's main loop handles a request in milliseconds of the host's time, and the machine's clock is up to ten times faster. */
#define SETTLE_US 60000000

/*
 * The work, in this order: edu is last, because its 100 ms count. left: how many requests of a device stay in flight. The frame is
 * sent at once, and QEMU fulfils the first request for entropy in its main loop: arm() waits for that.
 */
static const struct load {
	const char *driver;
	unsigned int left;
} loads[] = { { "virtio-blk", 8 }, { "virtio-net", 8 }, { "virtio-rng", 3 }, { "edu", 1 } };

static void arm(struct pci_dev *dev, unsigned int left)
{
	struct deadline deadline = deadline_after_us(SETTLE_US);

	if (driver_of(dev)->arm(dev) != OK)
		lab_fail("nothing in flight");
	while (driver_of(dev)->in_flight(dev) > left)
		if (deadline_passed(&deadline))
			lab_fail("more in flight than there should be");
}

static void arm_all(const struct kernel *kernel)
{
	for (const struct load *load = loads; load < loads + ARRAY_SIZE(loads); load++)
		for (unsigned int i = 0; i < kernel->pci.count; i++) {
			struct pci_dev *dev = &kernel->pci.dev[i];

			if (dev->working && !strcmp(dev->driver->name, load->driver))
				arm(dev, load->left);
		}
}

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel;
	const struct chain *chain = &kernel.chain;

	lab_start(&kernel, "out_windows", "in_windows", params);
	kernel_startup(&kernel);
	kernel_drive(&kernel, false);
	if (lab_has(&kernel, "lab.intx=enabled"))
		pci_intx(lab_device(&kernel, "edu", 0), true);
	if (!kernel_prepare_next(&kernel))
		lab_fail("no next image");
	chain_place(chain);
	if (chain_verify(chain) != OK)
		lab_fail("digest");
	lab_point("driven", 0);

	arm_all(&kernel);
	lab_mark("armed", 0);
	kernel_shutdown(&kernel);
	lab_mark("shutdown", 0);
	window(&kernel, "lab.window=shutdown", chain->params);
	lab_mark("jump", 0);
	image_enter(chain->load_address + SETUP_ENTRY64, chain->params);
}
