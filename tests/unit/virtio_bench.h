/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_VIRTIO_BENCH_H
#define TESTS_UNIT_VIRTIO_BENCH_H

#include "drivers/driver.h"
#include "tests/unit/fake_virtio.h"

/* A virtio driver, its device at 00:05.0, and the CPU, interrupt controllers, clock and memory that it needs. */
#define BENCH_BDF PCI_BDF(0, 5, 0)

struct virtio_bench {
	struct fake_pci *fake;
	struct fake_virtio *device;
	struct fake_devs devs;
	struct pci_dev *dev;
	struct arena heap;
	struct arena dma;
	struct driver_env env;
};

void virtio_bench_begin(struct virtio_bench *b, enum fake_virtio_type type, const struct driver *driver);
void virtio_bench_end(struct virtio_bench *b);

/* Gives the device a line that no test before had: the 8259's driver keeps its handlers. */
u8 virtio_bench_line(struct virtio_bench *b);
/* INTx instead of MSI-X, on such a line. */
u8 virtio_bench_intx(struct virtio_bench *b);

/* As a kernel does: reset and probe, after which the log is empty; work. */
enum status virtio_bench_bring_up(struct virtio_bench *b);
enum status virtio_bench_work(struct virtio_bench *b, bool write);

#endif
