/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_DRIVER_BENCH_H
#define TESTS_UNIT_DRIVER_BENCH_H

#include "drivers/driver.h"
#include "tests/unit/fake_pci.h"

/* Where the tests' device is. */
#define BENCH_BDF PCI_BDF(0, 5, 0)

/* What a driver's test needs: a segment for its device, a CPU with interrupt controllers and a clock, and a kernel's calls. */
extern struct driver_bench {
	struct fake_pci *fake;
	struct fake_devs devs;
	struct pci_dev *dev; /* under test: the first function of the segment */
	struct arena heap;
	struct arena dma; /* as much as the driver declares */
	struct driver_env env;
	void *memory[2]; /* of the arenas, where a test has them point elsewhere, too */
} bench;

/* A segment to which the caller adds its device; then the device is enumerated, has this driver, and interrupts are on. */
void bench_begin(void);
void bench_attach(const struct driver *driver);
int bench_end(void **state); /* as cmocka requires */

/* Gives the device a line that no earlier test had: the 8259's driver keeps its handlers. */
u8 bench_line(void);
/* INTx instead of messages, on such a line. */
u8 bench_intx(void);

/* The driver's calls, as a kernel makes them: reset, bus master, probe, after which the log is empty; work to its end. */
enum status bench_reset(void);
enum status bench_bring_up(void);
enum status bench_work(bool write);
enum status bench_arm(void);
unsigned int bench_in_flight(void);

/*
 * What holds for every device on a shared line. Another device's interrupt, which is unhandled: it is not taken for the device's
 * own, nor is the device written to, and the line is disabled. And the twin, the device's own, so many each time that it works:
 * each is taken, and the line is down afterwards.
 */
void bench_anothers_interrupts(u8 line);
void bench_own_interrupts(u8 line, unsigned int each);

/* For the next kernel on the same bench: all memory is free again. */
void bench_renew(void);

#endif
