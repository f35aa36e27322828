/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/nvme/nvme.h"

#include "lib/string.h"

/* NVMe 2.0, 3.1.3; registers have 32 bits but where noted. */
/* clang-format off */
#define NVME_CAP		0x00		/* 64 bits */
#define  NVME_CAP_TO(lo)	((lo) >> 24 & 0xff) /* in the lower half: how long READY may take, in 500 ms */
#define  NVME_CAP_MPSMIN(hi)	((hi) >> 16 & 0xf) /* in the upper half: the least page, 4 KiB << MPSMIN */
#define  NVME_CAP_DSTRD(hi)	((hi) & 0xf)	/* in the upper half: doorbells are 4 << DSTRD bytes apart */
#define NVME_CC			0x14
#define  NVME_CC_EN		0x000001
#define  NVME_CC_SIZES		0x460000	/* entries of I/O queues: 2^6 and 2^4 bytes, the least, and what we use */
#define NVME_CSTS		0x1c
#define  NVME_CSTS_RDY		0x1
#define  NVME_CSTS_CFS		0x2		/* fatal: only a reset helps */
#define NVME_AQA		0x24		/* entries of the admin queues less one: completion 27..16, submission 11..0 */
#define NVME_ASQ		0x28		/* 64 bits */
#define NVME_ACQ		0x30		/* 64 bits */
#define NVME_DOORBELLS		0x1000
#define NVME_REGISTERS		0x2000

#define NVME_IDENTIFY		0x06
#define  NVME_IDENTIFY_CTRL	0x01		/* in dword 10: the controller itself */
#define  NVME_IDENTIFY_MODEL	24		/* 40 characters, padded with spaces */
#define NVME_SET_FEATURES	0x09
#define  NVME_FEAT_ASYNC	0x0b		/* in dword 10; which events, in dword 11 */
#define   NVME_SMART_CRITICAL	0xff		/* every warning */
#define NVME_ASYNC_EVENT	0x0c
#define NVME_STATUS(s)		((s) >> 1)	/* bit 0 is the phase */
/* clang-format on */

#define QUEUE_SIZE	8 /* entries */
#define COMMAND_WAIT_US 5000000
#define READY_UNIT_US	500000
#define MODEL_SIZE	40

struct command {
	u8 opcode;
	u8 flags;
	u16 id;
	u32 namespace;
	u64 reserved[2];
	u64 data[2]; /* PRP entries: physical addresses */
	u32 dword[6];
};
struct completion {
	u32 result;
	u32 reserved;
	u16 head;
	u16 queue;
	u16 id;
	u16 status;
};
_Static_assert(sizeof(struct command) == 64 && sizeof(struct completion) == 16, "NVMe 2.0, 3.3.3");

/* Command IDs: one of each can be in flight. */
enum { ID_IDENTIFY = 1, ID_EVENT, ID_FEATURES, IDS };

struct nvme {
	struct pci_dev *dev;
	u64 bar;
	u64 doorbell; /* of the submission queue; the completion queue's follows */
	u32 stride;
	struct command *submission;
	volatile struct completion *completion;
	u8 *page;
	u16 tail;
	u16 head;
	u8 phase;
	struct driver_irq irq; /* of the admin queue, which has entry 0 of the MSI-X table */
	volatile bool busy[IDS];
	volatile u32 completed;
	volatile u32 interrupts;
	volatile u16 status; /* of the last completed command; 0: success */
};

/* Mass storage, non-volatile memory, NVM Express. A VF has its BARs in its PF's SR-IOV capability. */
static bool match(const struct pci_dev *dev)
{
	return dev->class == 0x010802 && !dev->is_vf;
}

static enum status map_registers(struct pci_dev *dev, u64 *bar)
{
	return pci_map_bar(dev, "nvme", 0, 0, NVME_REGISTERS, bar);
}

/* How long READY may take to follow ENABLE, as CAP.TO reports. */
static u64 ready_bound_us(const struct pci_dev *dev, u64 bar)
{
	return (NVME_CAP_TO(pci_mem_read32(dev, bar + NVME_CAP)) + 1UL) * READY_UNIT_US;
}

/* It may fail instead. */
static enum status await_ready(const struct pci_dev *dev, u64 bar)
{
	return driver_poll(dev, "not ready within %lu ms, status 0x%x",
			   &(struct driver_poll){ .read = pci_mem_read32,
						  .address = bar + NVME_CSTS,
						  .mask = NVME_CSTS_RDY,
						  .want = NVME_CSTS_RDY,
						  .failed = NVME_CSTS_CFS,
						  .bound_us = ready_bound_us(dev, bar) });
}

/* ENABLE off (3.7.2): queues, commands and interrupts of the previous kernel have ended once READY is 0. */
static enum status reset(struct pci_dev *dev)
{
	enum status s;
	u64 bar;
	u32 cc;

	s = map_registers(dev, &bar);
	if (s != OK)
		return s;
	cc = pci_mem_read32(dev, bar + NVME_CC);
	if (cc == 0xffffffff)
		return driver_gone(dev);
	/*
	 * It has to be on before it can be switched off (3.1.3.5): a kernel may have handed over in between. After a failure it
	 * never will be.
	 */
	if (cc & NVME_CC_EN && !(pci_mem_read32(dev, bar + NVME_CSTS) & (NVME_CSTS_RDY | NVME_CSTS_CFS)))
		await_ready(dev, bar);
	pci_mem_write32(dev, bar + NVME_CC, cc & ~(u32)NVME_CC_EN);
	return driver_poll32(dev, "not reset within %lu ms, status 0x%x", bar + NVME_CSTS, NVME_CSTS_RDY, 0,
			     ready_bound_us(dev, bar));
}

static bool complete(void *context)
{
	struct nvme *nvme = context;
	u16 before = nvme->head;

	/* The device inverts the phase bit on each pass through the queue (4.2.4). */
	while ((nvme->completion[nvme->head].status & 1) == nvme->phase) {
		volatile struct completion *c = &nvme->completion[nvme->head];

		if (c->id < IDS && nvme->busy[c->id]) {
			nvme->status = NVME_STATUS(c->status);
			nvme->busy[c->id] = false;
			nvme->completed++;
		}
		nvme->head = (u16)((nvme->head + 1) % QUEUE_SIZE);
		if (!nvme->head)
			nvme->phase ^= 1;
		if (nvme->head == before)
			break; /* a whole pass: no more than the queue holds */
	}
	if (nvme->head == before)
		return nvme->irq.message; /* a message is not shared, even one from a pending bit that a previous kernel left */
	nvme->interrupts++;
	pci_mem_write32(nvme->dev, nvme->doorbell + nvme->stride, nvme->head);
	return true;
}

static enum status enable(struct nvme *nvme)
{
	pci_mem_write32(nvme->dev, nvme->bar + NVME_AQA, (QUEUE_SIZE - 1) << 16 | (QUEUE_SIZE - 1));
	pci_mem_write64_lo_hi(nvme->dev, nvme->bar + NVME_ASQ, (uintptr_t)nvme->submission);
	pci_mem_write64_lo_hi(nvme->dev, nvme->bar + NVME_ACQ, (uintptr_t)nvme->completion);
	pci_mem_write32(nvme->dev, nvme->bar + NVME_CC, NVME_CC_SIZES | NVME_CC_EN);
	return await_ready(nvme->dev, nvme->bar);
}

static enum status probe(struct pci_dev *dev, void *context)
{
	struct driver_env *env = context;
	struct nvme *nvme = arena_alloc(env->heap, sizeof(*nvme), 8);
	enum status s;
	u32 high;

	if (!nvme)
		return ERR_RANGE;
	dev->driver_data = nvme;
	nvme->dev = dev;
	nvme->phase = 1;
	s = map_registers(dev, &nvme->bar);
	if (s != OK)
		return s;
	high = pci_mem_read32(dev, nvme->bar + NVME_CAP + 4);
	nvme->stride = 4U << NVME_CAP_DSTRD(high);
	nvme->doorbell = nvme->bar + NVME_DOORBELLS;
	if (nvme->stride + NVME_DOORBELLS + 4 > NVME_REGISTERS || NVME_CAP_MPSMIN(high)) {
		driver_line(dev, "doorbells %u bytes apart, pages of %lu KiB", nvme->stride,
			    PAGE_SIZE / KIB << NVME_CAP_MPSMIN(high));
		return ERR_ABSENT;
	}
	nvme->submission = arena_alloc(env->dma, QUEUE_SIZE * sizeof(struct command), PAGE_SIZE);
	nvme->completion = arena_alloc(env->dma, QUEUE_SIZE * sizeof(struct completion), PAGE_SIZE);
	nvme->page = arena_alloc(env->dma, PAGE_SIZE, PAGE_SIZE);
	if (!nvme->submission || !nvme->completion || !nvme->page)
		return ERR_RANGE;
	s = driver_connect(dev, complete, nvme, &nvme->irq);
	return s == OK ? enable(nvme) : s;
}

static void submit(struct nvme *nvme, struct command command)
{
	nvme->busy[command.id] = true;
	*(volatile struct command *)&nvme->submission[nvme->tail] = command;
	nvme->tail = (u16)((nvme->tail + 1) % QUEUE_SIZE);
	pci_mem_write32(nvme->dev, nvme->doorbell, nvme->tail);
}

static enum status work(struct pci_dev *dev, bool write)
{
	struct nvme *nvme = dev->driver_data;
	char model[MODEL_SIZE + 1];
	u32 want = nvme->completed + 1;
	enum status s;
	size_t n;

	(void)write;
	submit(nvme, (struct command){ .opcode = NVME_IDENTIFY,
				       .id = ID_IDENTIFY,
				       .data = { (uintptr_t)nvme->page },
				       .dword = { NVME_IDENTIFY_CTRL } });
	s = driver_await(dev, "completed command", &nvme->completed, want, COMMAND_WAIT_US);
	if (s != OK)
		return s;
	/* The first word is the PCI vendor ID (5.17.2.1): known beforehand, and only the device writes it there. */
	if (nvme->status || nvme->page[0] != (u8)dev->vendor || nvme->page[1] != dev->vendor >> 8) {
		driver_line(dev, "Identify: status 0x%x, vendor 0x%02x%02x", nvme->status, nvme->page[1], nvme->page[0]);
		return ERR_IO;
	}
	memcpy(model, nvme->page + NVME_IDENTIFY_MODEL, MODEL_SIZE);
	for (n = MODEL_SIZE; n && model[n - 1] == ' ';)
		n--;
	for (size_t i = 0; i < n; i++)
		if (model[i] < ' ' || model[i] > '~')
			model[i] = '?'; /* it should be ASCII (5.17.2.1), and must not end the log's line */
	driver_line(dev, "%.*s, " DRIVER_IRQ_FMT ": %u commands, %u interrupts", (int)n, model, DRIVER_IRQ_ARGS(&nvme->irq),
		    nvme->completed, nvme->interrupts);
	return OK;
}

/* It reports only events that are enabled (5.27.1.8). */
static enum status arm(struct pci_dev *dev)
{
	struct nvme *nvme = dev->driver_data;
	struct command features = {
		.opcode = NVME_SET_FEATURES,
		.id = ID_FEATURES,
		.dword = { NVME_FEAT_ASYNC, NVME_SMART_CRITICAL },
	};
	u32 want = nvme->completed + 1;
	enum status s;

	submit(nvme, features);
	s = driver_await(dev, "completed command", &nvme->completed, want, COMMAND_WAIT_US);
	if (s == OK)
		submit(nvme, (struct command){ .opcode = NVME_ASYNC_EVENT, .id = ID_EVENT });
	return s;
}

static unsigned int in_flight(const struct pci_dev *dev)
{
	const struct nvme *nvme = dev->driver_data;

	return nvme->busy[ID_EVENT];
}

const struct driver nvme_driver = {
	.pci = { .name = "nvme", .match = match, .reset = reset, .probe = probe },
	.dma = 3 * PAGE_SIZE,
	.work = work,
	.arm = arm,
	.in_flight = in_flight,
};
