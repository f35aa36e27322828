/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_FAKE_VIRTIO_H
#define TESTS_UNIT_FAKE_VIRTIO_H

#include "tests/unit/fake_pci.h"

/*
 * A virtio-blk device behind BAR 4 of fake_virtio_blk: the registers of virtio 1.2, 4.1.4, one queue, a disk in memory. It holds the
 * driver to the standard: exact widths (4.1.3.1), the order of initialisation (3.1.1), descriptors that point the right way (2.7.5,
 * 5.2.6); what breaks them fails the test.
 */
#define FAKE_DISK_SECTORS 2048 /* 1 MiB */

struct fake_virtio {
	struct fake_pci *fake;
	struct fake_fn *fn;
	struct fake_mem *msix;
	u64 features; /* offered */
	u16 queue_size;
	u16 queue_max;
	u64 sectors;
	u8 *disk;

	/* what the driver has told */
	u64 accepted;
	u32 select[2];
	u8 status;
	u16 queue_select;
	u16 config_vector;
	u16 queue_vector;
	u16 queue_enable;
	u64 ring[3]; /* descriptors, driver area, device area */
	u16 seen;
	u8 isr;

	/* faults */
	u8 reset_reads;	      /* reads of Status after a reset until it is done; 0xff: never */
	bool refuse_features; /* FEATURES_OK does not stay */
	bool refuse_vector;   /* 0xffff is read back */
	bool hold;	      /* requests are left in the queue */
	bool silent;	      /* requests are done, without an interrupt */
	u8 request_status;    /* of all requests; 0 is OK */
	bool ghost;	      /* chains that were never made available are completed at each notification */
	bool corrupt;	      /* one bit of what is read is another */

	unsigned int notified;
	unsigned int reads, writes, flushes; /* requests done */
};

/* fake_virtio_blk at bdf, with this behind its BAR. */
struct fake_virtio *fake_virtio_new(struct fake_pci *fake, u16 bdf);
void fake_virtio_free(struct fake_virtio *v);

/* Does what is available; called by itself at each notification that is not held. */
void fake_virtio_run(struct fake_virtio *v);

#endif
