/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L1: a cleared bus master does not end a virtual disk's DMA that has begun; it lands later, at its old target.
 *
 * The image is a kernel that hands over while one device has work in flight: lab.edu, lab.ahci, lab.virtio-blk, lab.nvme. It has
 * touched no other. Policies are the production ones. The harness holds a disk's reads from the point "ready" until the next kernel
 * has been entered.
 *
 * On purpose wrong with lab.reserved=no: the next kernel is not told which memory the device may still write to, as by Linux's
 * kexec.
 *
 * The limit does not exist if no byte of RAM changes after bus master was cleared. l01_in_flight.py judges, by RAM before and after
 * the reads end under the next kernel.
 */
#include "boot/start.h"
#include "lib/string.h"
#include "lib/time.h"
#include "tests/claims/lab.h"

static struct kernel kernel;

/* --- NVMe: the driver has no I/O queue, so its reads are made here, register by register --- */

/* NVMe 2.0, 3.1.3. */
#define NVME_CAP_HIGH	   0x04
#define NVME_CAP_DSTRD(hi) ((hi)&0xf) /* doorbells are 4 << DSTRD bytes apart */
#define NVME_CC		   0x14
#define NVME_CC_EN	   0x000001
#define NVME_CC_SIZES	   0x460000 /* entries of I/O queues: 2^6 and 2^4 bytes */
#define NVME_CSTS	   0x1c
#define NVME_CSTS_RDY	   0x1
#define NVME_AQA	   0x24
#define NVME_ASQ	   0x28
#define NVME_ACQ	   0x30
#define NVME_DOORBELLS	   0x1000
#define NVME_REGISTERS	   0x2000
/* 5.4, 5.5: in dword 10 the queue and its entries less one; in dword 11 that it is contiguous, and the completion queue */
#define NVME_CREATE_SQ	    0x01
#define NVME_CREATE_CQ	    0x05
#define NVME_CONTIGUOUS	    0x00001
#define NVME_COMPLETIONS(n) ((u32)(n) << 16)
/* NVM Command Set 1.0, 3.2.4: in dwords 10 and 12 the first block and how many less one */
#define NVME_READ    0x02
#define NVME_BLOCKS  (PAGE_SIZE / 512)

#define NVME_ENTRIES 16
#define NVME_READS   8
#define NVME_WAIT_US 5000000
#define CANARY	     0x5c

enum { ADMIN, IO, QUEUES };

struct nvme_command {
	u8 opcode;
	u8 flags;
	u16 id;
	u32 namespace;
	u64 reserved[2];
	u64 data[2];
	u32 dword[6]; /* from 10 on */
};
struct nvme_completion {
	u32 result;
	u32 reserved;
	u16 head;
	u16 queue;
	u16 id;
	u16 status; /* bit 0 is the phase */
};

/* Each queue begins with a page. */
struct nvme_memory {
	struct nvme_command submission[QUEUES][PAGE_SIZE / sizeof(struct nvme_command)];
	struct nvme_completion completion[QUEUES][PAGE_SIZE / sizeof(struct nvme_completion)];
	u8 data[NVME_READS][PAGE_SIZE];
};

static struct {
	struct pci_dev *dev;
	u64 bar;
	u32 stride; /* of the doorbells */
	u32 tail[QUEUES];
	volatile struct nvme_memory *memory; /* below 4 GiB */
} nvme;

static u32 nvme_read(u32 reg)
{
	return pci_mem_read32(nvme.dev, nvme.bar + reg);
}

static void nvme_write(u32 reg, u32 value)
{
	pci_mem_write32(nvme.dev, nvme.bar + reg, value);
}

/* Into a queue; nvme_ring tells the device. */
static void nvme_submit(unsigned int queue, struct nvme_command command)
{
	command.id = (u16)nvme.tail[queue];
	nvme.memory->submission[queue][nvme.tail[queue]++] = command;
}

static void nvme_ring(unsigned int queue)
{
	nvme_write(NVME_DOORBELLS + 2 * queue * nvme.stride, nvme.tail[queue]);
}

static void nvme_admin(struct nvme_command command)
{
	const volatile struct nvme_completion *completion = &nvme.memory->completion[ADMIN][nvme.tail[ADMIN]];
	struct deadline deadline = deadline_after_us(NVME_WAIT_US);

	nvme_submit(ADMIN, command);
	nvme_ring(ADMIN);
	while (!completion->status)
		if (deadline_passed(&deadline))
			lab_fail("no answer from nvme");
	if (completion->status >> 1)
		lab_fail("refused by nvme");
}

/* Reset, bus master, and a pair of queues next to the admin queues. No interrupts are used. */
static void nvme_start(struct pci_dev *dev)
{
	struct deadline deadline = deadline_after_us(NVME_WAIT_US);

	nvme.dev = dev;
	nvme.memory = lab_dma(&kernel, sizeof(*nvme.memory));
	memset((void *)nvme.memory, 0, sizeof(*nvme.memory));
	if (dev->driver->reset(dev) != OK || pci_map_bar(dev, "nvme", 0, 0, NVME_REGISTERS, &nvme.bar) != OK)
		lab_fail("no nvme");
	pci_intx(dev, false);
	pci_set_master(dev);
	nvme.stride = 4U << NVME_CAP_DSTRD(nvme_read(NVME_CAP_HIGH));
	nvme_write(NVME_AQA, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	nvme_write(NVME_ASQ, (u32)(uintptr_t)nvme.memory->submission[ADMIN]);
	nvme_write(NVME_ASQ + 4, 0);
	nvme_write(NVME_ACQ, (u32)(uintptr_t)nvme.memory->completion[ADMIN]);
	nvme_write(NVME_ACQ + 4, 0);
	nvme_write(NVME_CC, NVME_CC_SIZES | NVME_CC_EN);
	while (!(nvme_read(NVME_CSTS) & NVME_CSTS_RDY))
		if (deadline_passed(&deadline))
			lab_fail("nvme is not ready");
	nvme_admin((struct nvme_command){ .opcode = NVME_CREATE_CQ,
					  .data = { (uintptr_t)nvme.memory->completion[IO] },
					  .dword = { (NVME_ENTRIES - 1) << 16 | IO, NVME_CONTIGUOUS } });
	nvme_admin((struct nvme_command){ .opcode = NVME_CREATE_SQ,
					  .data = { (uintptr_t)nvme.memory->submission[IO] },
					  .dword = { (NVME_ENTRIES - 1) << 16 | IO, NVME_COMPLETIONS(IO) | NVME_CONTIGUOUS } });
}

static void nvme_arm(void)
{
	memset((void *)nvme.memory->data, CANARY, sizeof(nvme.memory->data));
	for (u32 i = 0; i < NVME_READS; i++)
		nvme_submit(IO, (struct nvme_command){ .opcode = NVME_READ,
						       .namespace = 1,
						       .data = { (uintptr_t)nvme.memory->data[i] },
						       .dword = { [0] = i * NVME_BLOCKS, [2] = NVME_BLOCKS - 1 } });
	nvme_ring(IO);
}

/* --- the others, by their drivers --- */

static void reserve(u64 start, u64 size)
{
	if (!lab_has(&kernel, "lab.reserved=no") && memmap_mark(&kernel.memmap, start, size, E820_DMA) != OK)
		lab_fail("memory map");
}

_Noreturn void image_main(const struct boot_params *params)
{
	bool raw;

	lab_start(&kernel, "l01", "in", params);
	kernel_startup(&kernel);
	raw = lab_has(&kernel, "lab.nvme");
	if (raw) {
		nvme_start(lab_device(&kernel, "nvme", 0));
		reserve((uintptr_t)nvme.memory, sizeof(*nvme.memory));
	} else {
		lab_work(&kernel, lab_chosen(&kernel));
		reserve(kernel.dma.base, kernel.dma.size);
	}
	if (!kernel_prepare_next(&kernel))
		lab_fail("no next image");
	lab_point("ready", 0);
	if (raw)
		nvme_arm();
	else
		kernel_arm(&kernel);
	/* A disk fetches its requests in QEMU's own time, and ends none; edu's transfer would end while the image waits. */
	if (lab_has(&kernel, "lab.edu"))
		lab_mark("armed", 0);
	else
		lab_point("armed", 0);
	kernel_shutdown(&kernel);
	lab_point("shutdown", 0);
	kernel_jump(&kernel);
}
