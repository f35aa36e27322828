/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_DRIVER_BENCH_H
#define TESTS_UNIT_DRIVER_BENCH_H

#include "drivers/driver.h"
#include "tests/unit/fake_pci.h"

/* Where the tests' device is. */
#define BENCH_BDF PCI_BDF(0, 5, 0)

/* What a driver's test stands on: a segment for its device, a CPU with interrupt controllers and a clock, and a kernel's calls. */
struct driver_bench {
	struct fake_pci *fake;
	struct fake_devs devs;
	struct pci_dev *dev; /* under test: the first function of the segment */
	struct arena heap;
	struct arena dma; /* as much as the driver says that it takes */
	struct driver_env env;
	void *memory[2]; /* behind the arenas, where a test has them point elsewhere, too */
};

/* A segment to which the caller adds its device. */
void driver_bench_begin(struct driver_bench *b);
/* The device is enumerated and has this driver; interrupts are on. */
void driver_bench_attach(struct driver_bench *b, const struct driver *driver);
void driver_bench_end(struct driver_bench *b);

/* Gives the device a line that no test before had: the 8259's driver keeps its handlers. */
u8 driver_bench_line(struct driver_bench *b);
/* INTx instead of messages, on such a line. */
u8 driver_bench_intx(struct driver_bench *b);

/*
 * The driver's calls, as a kernel makes them: reset, bus master, probe, after which the log is empty; work to its end; and the
 * others.
 */
enum status driver_bench_reset(struct driver_bench *b);
enum status driver_bench_bring_up(struct driver_bench *b);
enum status driver_bench_work(struct driver_bench *b, bool write);
enum status driver_bench_arm(struct driver_bench *b);
unsigned int driver_bench_in_flight(const struct driver_bench *b);

/* For the next kernel on the same bench: the memory is all there again. */
void driver_bench_renew(struct driver_bench *b);

#endif
