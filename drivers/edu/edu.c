/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/edu/edu.h"

#include "drivers/edu/registers.h"
#include "irq/i8259.h"
#include "lib/string.h"
#include "lib/time.h"

#define EDU_TRANSFER 2048
/* A transfer takes 100 ms of the machine's time; after ten times that the engine is stuck. */
#define EDU_DMA_WAIT_US 1000000
#define EDU_IRQ_WAIT_US 1000000

struct edu {
	u64 bar;
	u8 *buffer; /* 2 * EDU_TRANSFER for DMA: written to the device, and read back */
	struct driver_irq line;
	struct driver_irq msi;
	bool intx;		 /* the line can be used */
	volatile bool returns;	 /* the transfer in flight goes to the device, and is to be read back */
	volatile u32 interrupts; /* that were ours */
	volatile u32 transfers;	 /* of those, for a DMA that was finished */
};

static bool match(const struct pci_dev *dev)
{
	return dev->vendor == EDU_VENDOR && dev->device == EDU_DEVICE;
}

static enum status map(struct pci_dev *dev, u64 *bar)
{
	enum status s = pci_map_bar(dev, "edu", 0, 0, EDU_BAR_SIZE, bar);

	if (s != OK)
		return s;
	if ((pci_mem_read32(dev, *bar + EDU_ID) & EDU_ID_MASK) != EDU_ID_VALUE) {
		driver_line(dev, "identification 0x%08x", pci_mem_read32(dev, *bar + EDU_ID));
		return ERR_IO;
	}
	return OK;
}

/*
 * edu has no reset: a transfer that was started survives secondary-bus reset and command writes, and is done once bus master is on.
 * All that is left is to wait, with bus master off as the previous kernel left it, until the engine is idle.
 */
static enum status reset(struct pci_dev *dev)
{
	enum status s;
	u32 status;
	u64 bar;

	s = map(dev, &bar);
	if (s != OK)
		return s;
	s = driver_poll32(dev, "DMA still runs after %lu ms, command 0x%x", bar + EDU_DMA_COMMAND, EDU_DMA_RUN, 0, EDU_DMA_WAIT_US);
	if (s != OK)
		return s;
	/* An unhandled interrupt keeps INTx asserted until it is acknowledged. */
	status = pci_mem_read32(dev, bar + EDU_IRQ_STATUS);
	pci_mem_write32(dev, bar + EDU_IRQ_ACK, status);
	status = pci_mem_read32(dev, bar + EDU_IRQ_STATUS);
	if (!status)
		return OK;
	driver_line(dev, "interrupt status 0x%x stays set after it was acknowledged", status);
	return ERR_IO;
}

static void start_dma(struct pci_dev *dev, u32 source, u32 target, u32 direction)
{
	struct edu *edu = dev->driver_data;

	pci_mem_write32(dev, edu->bar + EDU_DMA_SOURCE, source);
	pci_mem_write32(dev, edu->bar + EDU_DMA_TARGET, target);
	pci_mem_write32(dev, edu->bar + EDU_DMA_COUNT, EDU_TRANSFER);
	pci_mem_write32(dev, edu->bar + EDU_DMA_COMMAND, EDU_DMA_RUN | EDU_DMA_IRQ | direction);
}

static bool interrupt(void *context)
{
	struct pci_dev *dev = context;
	struct edu *edu = dev->driver_data;
	u32 status = pci_mem_read32(dev, edu->bar + EDU_IRQ_STATUS);

	if (!status || status == 0xffffffff)
		return false; /* the line is shared, and it was another device; or this one was removed */
	pci_mem_write32(dev, edu->bar + EDU_IRQ_ACK, status);
	if (pci_mem_read32(dev, edu->bar + EDU_IRQ_STATUS) & status)
		return false; /* its cause cannot be cleared: unhandled, or its line would never be disabled */
	if (status & EDU_IRQ_DMA) {
		edu->transfers++;
		if (edu->returns)
			start_dma(dev, EDU_BUFFER, (u32)(uintptr_t)(edu->buffer + EDU_TRANSFER), EDU_DMA_TO_RAM);
		edu->returns = false;
	}
	edu->interrupts++;
	return true;
}

static enum status probe(struct pci_dev *dev, void *context)
{
	struct driver_env *env = context;
	struct edu *edu = arena_alloc(env->heap, sizeof(*edu), 8);
	enum status s;

	if (!edu)
		return ERR_RANGE;
	dev->driver_data = edu;
	s = map(dev, &edu->bar);
	if (s != OK)
		return s;
	edu->buffer = arena_alloc(env->dma, 2UL * EDU_TRANSFER, PAGE_SIZE);
	if (!edu->buffer)
		return ERR_RANGE;
	if ((uintptr_t)edu->buffer + 2UL * EDU_TRANSFER - 1 > EDU_DMA_MASK) {
		driver_line(dev, "no DMA memory below 256 MiB, the device has 28 address bits");
		return ERR_ABSENT;
	}
	s = driver_request_intx(dev, interrupt, dev, &edu->line);
	edu->intx = s == OK;
	return s == ERR_ABSENT ? OK : s;
}

static enum status raise(struct pci_dev *dev, const char *kind)
{
	struct edu *edu = dev->driver_data;
	u32 want = edu->interrupts + 1;

	pci_mem_write32(dev, edu->bar + EDU_IRQ_RAISE, EDU_IRQ_OURS);
	return driver_await(dev, kind, &edu->interrupts, want, EDU_IRQ_WAIT_US);
}

/* INTx, then MSI; then DMA to the device is started, and from there to another address once the first is done. */
static enum status work(struct pci_dev *dev, bool write)
{
	struct edu *edu = dev->driver_data;
	u8 *out = edu->buffer;
	enum status intx = OK, s;
	u32 now;

	(void)write;
	if (edu->intx) {
		pci_intx(dev, true);
		intx = raise(dev, "INTx interrupt"); /* a line that was disabled for another device is no failure of this one */
		i8259_release(edu->line.number, interrupt, dev);
	}
	s = driver_request_messages(dev, &(irq_handler){ interrupt }, 1, dev, &edu->msi);
	if (s == OK)
		s = raise(dev, "MSI");
	if (s != OK || intx != OK)
		return s != OK ? s : intx;

	/* Other data each time: that of an earlier transfer must not pass for it. */
	now = (u32)time_us();
	for (u32 i = 0; i < EDU_TRANSFER; i += sizeof(u32))
		*(u32 *)(out + i) = now + i;
	memset(out + EDU_TRANSFER, 0, EDU_TRANSFER);
	edu->returns = true;
	start_dma(dev, (u32)(uintptr_t)out, EDU_BUFFER, 0);
	return OK;
}

static enum status finish(struct pci_dev *dev)
{
	struct edu *edu = dev->driver_data;
	const u8 *out = edu->buffer, *back = out + EDU_TRANSFER;
	enum status s = driver_await(dev, "interrupts of the DMA out and back", &edu->transfers, 2, 2UL * EDU_DMA_WAIT_US);

	if (s != OK)
		return s;
	for (u32 i = 0; i < EDU_TRANSFER; i++) {
		if (out[i] != back[i]) {
			driver_line(dev, "DMA returned 0x%02x for 0x%02x at byte %u", back[i], out[i], i);
			return ERR_IO;
		}
	}
	driver_line(dev, "INTx on irq %u %s, MSI vector 0x%02x taken %lu times, DMA out and back %u bytes equal", edu->line.number,
		    edu->intx ? "taken" : "unavailable", edu->msi.number, vector_count(edu->msi.number), EDU_TRANSFER);
	return OK;
}

static enum status arm(struct pci_dev *dev)
{
	struct edu *edu = dev->driver_data;

	/* The transfer's data differs from what is in the buffer, so that it is seen if it arrives. */
	memset(edu->buffer + EDU_TRANSFER, 0xa5, EDU_TRANSFER);
	edu->transfers = 0;
	start_dma(dev, EDU_BUFFER, (u32)(uintptr_t)(edu->buffer + EDU_TRANSFER), EDU_DMA_TO_RAM);
	return OK;
}

static unsigned int in_flight(const struct pci_dev *dev)
{
	const struct edu *edu = dev->driver_data;

	return edu->transfers ? 0 : 1;
}

const struct driver edu_driver = {
	.pci = { .name = "edu", .match = match, .reset = reset, .probe = probe },
	.dma = PAGE_SIZE,
	.work = work,
	.finish = finish,
	.arm = arm,
	.in_flight = in_flight,
};
