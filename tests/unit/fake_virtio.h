/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_FAKE_VIRTIO_H
#define TESTS_UNIT_FAKE_VIRTIO_H

#include "tests/unit/fake_pci.h"

/*
 * A virtio device in BAR 4 of fake_virtio_blk: the registers of virtio 1.2, 4.1.4, and on its queues a disk, a network or a source
 * of entropy. It checks the driver against the standard: exact widths (4.1.3.1), the order of initialisation (3.1.1), configuration
 * that the negotiated features have (5.1.4), descriptors that point the right way (2.7.5, 5.1.6, 5.2.6, 5.4.6); what breaks them
 * fails the test.
 */
#define FAKE_DISK_SECTORS  2048 /* 1 MiB */
#define FAKE_VIRTIO_QUEUES 2
#define FAKE_NET_HEADER	   12 /* 5.1.6: struct virtio_net_hdr, num_buffers included */
#define FAKE_NET_FRAME_MAX 1514
#define FAKE_VIRTIO_STATUS (FAKE_BLK_BAR + 20) /* device_status */
#define FAKE_VIRTIO_ALL	   UINT32_MAX

enum fake_virtio_type { FAKE_NET = 1, FAKE_BLK = 2, FAKE_RNG = 4 }; /* virtio 1.2, 5 */

struct fake_virtio {
	struct fake_pci *fake;
	struct fake_fn *fn;
	struct fake_mem *msix;
	enum fake_virtio_type type;
	unsigned int queues;
	u64 features; /* offered */
	u16 queue_max;

	/* a disk */
	u64 sectors;
	u8 *disk;

	/* a network: queue 0 receives, queue 1 transmits */
	u8 mac[6];
	u16 link;			     /* the configuration's status */
	void (*peer)(struct fake_virtio *v); /* sees each frame, where set, when the driver has got it back */
	u8 sent[FAKE_NET_HEADER + FAKE_NET_FRAME_MAX];
	u32 sent_size; /* of the last frame, with its header */

	/* a source of entropy */
	u8 entropy[4]; /* over and over */
	u32 skips;     /* bytes at the buffer's begin that it leaves as they are */
	u32 brings;    /* bytes a request, at most */
	u32 reports;   /* in the used ring; FAKE_VIRTIO_ALL: as many as it brought */

	/* what the driver has written */
	u64 accepted;
	u32 select[2];
	u8 status;
	u16 queue_select;
	u16 config_vector;
	struct fake_queue {
		u16 size;
		u16 vector;
		u16 enable;
		u64 ring[3]; /* descriptors, driver area, device area */
		u16 seen;
		u16 taken; /* the head that was last */
		unsigned int notified;
	} queue[FAKE_VIRTIO_QUEUES];
	u8 isr;

	/* faults */
	u8 reset_reads;	      /* reads of Status after a reset until it is done; 0xff: never */
	bool refuse_features; /* FEATURES_OK does not stay */
	u8 refuse_vector;     /* a bit a queue: 0xffff is read back */
	bool hold;	      /* requests are left in the queue */
	bool silent;	      /* requests are done, without an interrupt */
	u8 request_status;    /* of all requests to a disk; 0 is OK */
	bool line_held;	      /* another device keeps the line asserted */
	bool corrupt;	      /* one bit of what is read is another */
	bool empty;	      /* read data is not written to memory */

	unsigned int reads, writes, flushes; /* requests done; a frame sent is a write, bytes of entropy are a read */
};

/* fake_virtio_blk at bdf, with this in its BAR; freed with the segment. */
struct fake_virtio *fake_virtio_new(struct fake_pci *fake, u16 bdf, enum fake_virtio_type type);

/* Does what is available; called by itself at each notification that is not held. */
void fake_virtio_run(struct fake_virtio *v);

/* An entry of the used ring, true or not, and the interrupt. */
void fake_virtio_used(struct fake_virtio *v, unsigned int queue, u32 id, u32 length);
/* The same of every chain that is not available, and of some that cannot be, one after the other; returns how many. */
unsigned int fake_virtio_ghosts(struct fake_virtio *v, unsigned int queue, u32 length);

/* The message of an entry of the MSI-X table; none where the entry or the function is masked, or MSI-X off. */
void fake_virtio_message(struct fake_virtio *v, unsigned int entry);

/* A frame arrives in the next buffer that is available. used_len: the length in the used ring, true or not. */
void fake_virtio_receive(struct fake_virtio *v, const u8 *frame, u32 size, u32 used_len);

/* What has been made available and not been taken. */
u16 fake_virtio_available(const struct fake_virtio *v, unsigned int queue);
/* The head that was made available so many places after the next. */
u16 fake_virtio_head(const struct fake_virtio *v, unsigned int queue, unsigned int place);
/* The address in a descriptor, and the bytes there. */
u64 fake_virtio_buffer(const struct fake_virtio *v, unsigned int queue, unsigned int descriptor);
u32 fake_virtio_length(const struct fake_virtio *v, unsigned int queue, unsigned int descriptor);

/* --- checks over the access log --- */

/* The values written to the device status, in order. */
bool fake_virtio_status_is(const struct fake_virtio *v, const u8 *want, size_t n);
#define assert_status_written(v, ...)                                                                                              \
	do {                                                                                                                       \
		const u8 want[] = { __VA_ARGS__ };                                                                                 \
		assert_true(fake_virtio_status_is(v, want, sizeof(want)));                                                         \
	} while (0)

/*
 * From reset to DRIVER_OK: each queue's MSI-X entry is unmasked, with MSI-X on, before the queue gets it, and read back before the
 * queue is enabled (4.1.5.1.2.2); all queues are enabled before DRIVER_OK; nothing of the common configuration is written after it,
 * and there is no notification before it (3.1.1).
 */
bool fake_virtio_in_order(const struct fake_virtio *v);

#endif
