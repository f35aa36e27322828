/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * C3: with MSI disabled at shutdown, a device that has work in flight asserts INTx, and the line storms until it is disabled. C4: a
 * device that shares the line loses its interrupt, and with it the last text of its shutdown callback.
 *
 * The image is a kernel that shuts down while a device has work in flight, and runs into the result before it hands over. On the
 * line that the device would use without messages is a serial port, which is shut down last and sends a line of text then; with
 * lab.line=free there is no handler on it. shutdown/disable_msi.c and shutdown/keep_msi.c are taken apart so that the harness can
 * let the work end before bus master is cleared, or after that.
 *
 * On purpose wrong: with lab.line=owner the device's own handler is on its line although the device has messages. With
 * lab.noirqdebug a handler claims what no handler served, as if the kernel did not count.
 *
 * C3 fails if the line does not rise, if it falls by itself, or if the interrupts end before irq/spurious.c has disabled the line;
 * C4 fails if the serial port's text arrives after a storm. c03_nobody_cared.py and c04_innocent.py judge.
 */
#include "boot/start.h"
#include "drivers/edu/registers.h"
#include "irq/i8259.h"
#include "irq/spurious.h"
#include "lib/time.h"
#include "shutdown/policies.h"
#include "tests/claims/lab.h"

/* Longer than edu's transfer takes. A line that still storms after ten seconds is never disabled. */
#define IDLE_US	     150000
#define STORM_MAX_US 10000000

static struct kernel kernel;
static struct pci_dev *device;
static u8 line;

/* edu's transfer continues while the image waits; a disk's request that the harness holds does not. */
static void point(const char *name)
{
	if (lab_has(&kernel, "lab.edu"))
		lab_mark(name, 0);
	else
		lab_point(name, 0);
}

/* Until the line does not interrupt any more: it never did, or it was served, or the line was disabled. */
static void await_idle_line(void)
{
	struct deadline deadline = deadline_after_us(STORM_MAX_US);
	u64 count;

	do {
		if (deadline_passed(&deadline))
			lab_fail("the storm does not end");
		count = vector_count(VECTOR_8259 + line);
		lab_wait_us(IDLE_US);
	} while (vector_count(VECTOR_8259 + line) != count);
}

/* shutdown/disable_msi.c or shutdown/keep_msi.c, with the harness between the steps. */
static void shut_down(struct pci_dev *dev)
{
	pci_driver_shutdown(dev);
	if (kernel.shutdown == &shutdown_disable_msi) {
		pci_msi_shutdown(dev);
		pci_msix_shutdown(dev);
	}
	if (dev == device)
		point("before-clear");
	pci_clear_master(dev);
}

static void apply(struct pci_dev *dev)
{
	shut_down(dev);
	if (dev != device)
		return;
	point("after-clear");
	await_idle_line();
	lab_point("walk-on", 0);
}

static bool serve(void *context)
{
	struct lab_edu *edu = context;
	u32 status = lab_edu_read(edu, EDU_IRQ_STATUS);

	lab_edu_write(edu, EDU_IRQ_ACK, status);
	return status;
}

/* What it interrupts never continues, so the run ends here: where the line would have been disabled for the second time. */
static bool swallow(void *context)
{
	static u32 count;

	(void)context;
	if (++count == 2 * SPURIOUS_WINDOW)
		kernel_exit(&kernel);
	return true;
}

static void share_line(irq_handler handler, void *context)
{
	if (i8259_request(line, handler, context) != OK)
		lab_fail("no line");
}

_Noreturn void image_main(const struct boot_params *params)
{
	static const struct pci_policy policy = { "in steps", apply, .clears_master = true };
	static struct lab_edu edu;

	lab_start(&kernel, "c03", "", params);
	device = lab_chosen(&kernel);
	line = pci_read_config_byte(device, PCI_INTERRUPT_LINE);
	if (!lab_has(&kernel, "lab.line=free"))
		lab_work(&kernel, lab_device(&kernel, "serial", 0));
	lab_work(&kernel, device);
	if (lab_has(&kernel, "lab.line=owner")) {
		lab_edu_open(&edu, device);
		share_line(serve, &edu);
	}
	if (lab_has(&kernel, "lab.noirqdebug"))
		share_line(swallow, NULL);
	lab_point("driven", 0);
	if (driver_of(device)->arm(device) != OK)
		lab_fail("nothing in flight");
	point("armed");
	pci_apply_backward(&kernel.pci, &policy);
	lab_point("walked", 0);
	await_idle_line();
	lab_mark("end", 0);
	kernel_exit(&kernel);
}
