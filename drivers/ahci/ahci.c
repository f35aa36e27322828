/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/ahci/ahci.h"

#include "lib/string.h"
#include "lib/time.h"

/* AHCI 1.3.1, 3: generic host control, then the ports. Registers have 32 bits. */
/* clang-format off */
#define AHCI_BAR		5
#define AHCI_CAP		0x00
#define  AHCI_CAP_NCS(c)	(((c) >> 8 & 0x1f) + 1) /* command slots of each */
#define  AHCI_CAP_S64A		0x80000000
#define AHCI_GHC		0x04
#define  AHCI_GHC_HR		0x00000001	/* reset; reads as 1 while it lasts */
#define  AHCI_GHC_IE		0x00000002
#define  AHCI_GHC_AE		0x80000000	/* AHCI mode; without it the registers are not AHCI's */
#define AHCI_IS			0x08		/* a bit for each port; write-1-to-clear */
#define AHCI_PI			0x0c		/* a bit for each implemented port; CAP.NP only has their number */
#define AHCI_PORTS_MAX		32
#define AHCI_PORT(n)		(0x100 + 0x80 * (n))
#define AHCI_PxCLB		0x00		/* command list; 64 bits */
#define AHCI_PxFB		0x08		/* received FIS; 64 bits */
#define AHCI_PxIS		0x10		/* write-1-to-clear */
#define AHCI_PxIE		0x14
#define  AHCI_PxI_DONE		0x00000003	/* DHR, PS: a command has ended, or its data has arrived */
#define  AHCI_PxI_ERRORS	0x78000000	/* TFE, HBF, HBD, IF: the port has stopped (6.2.2) */
#define AHCI_PxCMD		0x18
#define  AHCI_PxCMD_ST		0x00000001
#define  AHCI_PxCMD_SUD		0x00000002
#define  AHCI_PxCMD_POD		0x00000004
#define  AHCI_PxCMD_FRE		0x00000010
#define AHCI_PxTFD		0x20
#define  AHCI_PxTFD_BSY		0x80
#define  AHCI_PxTFD_DRQ		0x08
#define AHCI_PxSIG		0x24
#define  AHCI_PxSIG_ATA		0x00000101
#define AHCI_PxSSTS		0x28
#define  AHCI_PxSSTS_DET	0x0f
#define   AHCI_PxSSTS_DET_3	0x03		/* a device, and a link to it */
#define AHCI_PxSERR		0x30		/* write-1-to-clear */
#define AHCI_PxCI		0x38		/* a bit for each slot; cleared when its command has ended */

/* ACS-3. */
#define ATA_READ_DMA_EXT	0x25
#define ATA_IDENTIFY		0xec
#define ATA_DEVICE_LBA		0x40
#define ATA_ID_COMMANDS		83		/* which command sets are supported; bits 15 and 14: the word is valid */
#define  ATA_ID_LBA48		0x0400
#define  ATA_ID_VALID		0x4000
#define  ATA_ID_VALID_MASK	0xc000
#define ATA_ID_SECTORS		100		/* 64 bits */
/* clang-format on */

#define SLOTS		8 /* used; each has a buffer of its own */
#define TRANSFER	(64 * KIB)
#define SECTOR_SIZE	512UL
#define FIS_WORDS	5      /* of a register FIS, host to device */
#define FIS_COMMAND	0x8027 /* its type, and that it carries a command */

#define RESET_WAIT_US	1000000 /* 10.4.3 */
#define LINK_WAIT_US	10000	/* SATA 3.0, 8.4.1: a device answers COMRESET within 10 ms */
#define READY_WAIT_US	10000000
#define COMMAND_WAIT_US 5000000

/* What a buffer holds before a read: bytes that a disk is unlikely to hold, so that data that arrives is seen. */
#define CANARY 0x5c

/* 4.2: what the port and its driver share, in a page; the data buffers follow. */
struct shared {
	struct header {
		u32 flags; /* words of the FIS, and PRDT entries from bit 16 on */
		u32 count; /* PRDBC: bytes transferred */
		u64 table;
		u64 reserved[2];
	} list[32];
	u8 received[256];
	u8 unused[768];
	struct table {
		u32 fis[32]; /* FIS_WORDS of them are used */
		u64 data;    /* the one PRDT entry */
		u32 reserved;
		u32 size; /* in bytes, less one */
		u64 unused[14];
	} table[SLOTS];
	u8 data[SLOTS][TRANSFER];
};
_Static_assert(offsetof(struct shared, table) % 128 == 0 && offsetof(struct shared, data) == PAGE_SIZE, "AHCI 4.2.2, 4.2.3");

struct ahci {
	struct pci_dev *dev;
	u64 bar;
	u64 port; /* its registers */
	struct shared *shared;
	u32 port_bit;
	u32 slots;
	u64 sectors;
	struct driver_irq irq;
	volatile u32 busy;     /* a bit for each slot */
	volatile u32 commands; /* that have ended */
	volatile u32 interrupts;
	volatile u32 error; /* PxTFD, where a command ended in one */
};

/* Mass storage, SATA, AHCI. */
static bool match(const struct pci_dev *dev)
{
	return dev->class == 0x010601;
}

/* The last implemented port gives the size of the registers. */
static enum status map_registers(struct pci_dev *dev, u64 *bar, u32 *present)
{
	enum status s = pci_map_bar(dev, "ahci", AHCI_BAR, 0, AHCI_PORT(0), bar);
	u32 end = AHCI_PORTS_MAX;

	if (s != OK)
		return s;
	if (!(pci_mem_read32(dev, *bar + AHCI_GHC) & AHCI_GHC_AE))
		pci_mem_write32(dev, *bar + AHCI_GHC, AHCI_GHC_AE); /* before any other register is accessed (3.1.2) */
	*present = pci_mem_read32(dev, *bar + AHCI_PI);
	while (end && !(*present >> (end - 1)))
		end--;
	return pci_map_bar(dev, "ahci", AHCI_BAR, 0, AHCI_PORT(end), bar);
}

/* HBA reset (10.4.3): no port runs after it. */
static enum status reset(struct pci_dev *dev)
{
	enum status s;
	u64 bar;
	u32 present;

	s = map_registers(dev, &bar, &present);
	if (s != OK)
		return s;
	pci_mem_write32(dev, bar + AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_HR);
	s = driver_poll32(dev, "not reset within %lu ms, 0x%x", bar + AHCI_GHC, AHCI_GHC_HR, 0, RESET_WAIT_US);
	if (s == OK)
		pci_mem_write32(dev, bar + AHCI_GHC, AHCI_GHC_AE); /* cleared by the reset; QEMU 7.2 deasserts INTx only here */
	return s;
}

static bool complete(void *context)
{
	struct ahci *ahci = context;
	u32 pending = pci_mem_read32(ahci->dev, ahci->bar + AHCI_IS), status, stays, ended;

	if (!(pending & ahci->port_bit))
		return ahci->irq.message; /* a shared line: it was another device; a message: its cause is already handled */
	status = pci_mem_read32(ahci->dev, ahci->port + AHCI_PxIS);
	if (status == 0xffffffff)
		return false; /* it was removed */
	/* PxIS first: what is pending there sets IS again (5.6.2). */
	pci_mem_write32(ahci->dev, ahci->port + AHCI_PxIS, status);
	pci_mem_write32(ahci->dev, ahci->bar + AHCI_IS, ahci->port_bit);
	/* Before PxCI: a command whose interrupt comes in between has ended by then. */
	stays = pci_mem_read32(ahci->dev, ahci->port + AHCI_PxIS) & status;
	ended = ahci->busy & ~pci_mem_read32(ahci->dev, ahci->port + AHCI_PxCI);
	if (status & AHCI_PxI_ERRORS) {
		ahci->error = pci_mem_read32(ahci->dev, ahci->port + AHCI_PxTFD);
		ended = ahci->busy; /* the port has stopped */
	}
	ahci->busy &= ~ended;
	for (u32 left = ended; left; left &= left - 1)
		ahci->commands++;
	if (!ended && (!status || stays))
		return false; /* its cause cannot be cleared: unhandled, or its line would never be disabled */
	ahci->interrupts++;
	return true;
}

/* The first port that has a device. A port without one does not respond; only the bound ends the wait. */
static enum status find_port(const struct pci_dev *dev, struct ahci *ahci, u32 present)
{
	struct deadline deadline;

	for (u32 n = 0; n < AHCI_PORTS_MAX; n++)
		if (present >> n & 1)
			pci_mem_write32(dev, ahci->bar + AHCI_PORT(n) + AHCI_PxCMD, AHCI_PxCMD_SUD | AHCI_PxCMD_POD);
	deadline = deadline_after_us(LINK_WAIT_US);
	do {
		for (u32 n = 0; n < AHCI_PORTS_MAX; n++) {
			ahci->port = ahci->bar + AHCI_PORT(n);
			ahci->port_bit = 1U << n;
			if (present & ahci->port_bit &&
			    (pci_mem_read32(dev, ahci->port + AHCI_PxSSTS) & AHCI_PxSSTS_DET) == AHCI_PxSSTS_DET_3)
				return OK;
		}
	} while (!deadline_passed(&deadline));
	driver_line(dev, "no drive");
	return ERR_ABSENT;
}

/* 10.1.2, 10.3: the device's first FIS has its signature, and is received before commands are. */
static enum status start_port(const struct pci_dev *dev, const struct ahci *ahci)
{
	enum status s;
	u32 signature;

	pci_mem_write64_lo_hi(dev, ahci->port + AHCI_PxCLB, (uintptr_t)ahci->shared->list);
	pci_mem_write64_lo_hi(dev, ahci->port + AHCI_PxFB, (uintptr_t)ahci->shared->received);
	/* DIAG.X: as long as it is set, PxTFD stays as the reset left it. */
	pci_mem_write32(dev, ahci->port + AHCI_PxSERR, 0xffffffff);
	pci_mem_write32(dev, ahci->port + AHCI_PxCMD, AHCI_PxCMD_SUD | AHCI_PxCMD_POD | AHCI_PxCMD_FRE);
	s = driver_poll32(dev, "not ready within %lu ms, 0x%x", ahci->port + AHCI_PxTFD, AHCI_PxTFD_BSY | AHCI_PxTFD_DRQ, 0,
			  READY_WAIT_US);
	if (s != OK)
		return s;
	signature = pci_mem_read32(dev, ahci->port + AHCI_PxSIG);
	if (signature != AHCI_PxSIG_ATA) {
		driver_line(dev, "no disk, signature 0x%08x", signature);
		return ERR_ABSENT;
	}
	pci_mem_write32(dev, ahci->port + AHCI_PxIS, 0xffffffff);
	pci_mem_write32(dev, ahci->bar + AHCI_IS, ahci->port_bit);
	pci_mem_write32(dev, ahci->port + AHCI_PxIE, AHCI_PxI_DONE | AHCI_PxI_ERRORS);
	pci_mem_write32(dev, ahci->port + AHCI_PxCMD, AHCI_PxCMD_SUD | AHCI_PxCMD_POD | AHCI_PxCMD_FRE | AHCI_PxCMD_ST);
	pci_mem_write32(dev, ahci->bar + AHCI_GHC, AHCI_GHC_AE | AHCI_GHC_IE);
	return OK;
}

static enum status probe(struct pci_dev *dev, void *context)
{
	struct driver_env *env = context;
	struct ahci *ahci = arena_alloc(env->heap, sizeof(*ahci), 8);
	enum status s;
	u32 cap, present;

	if (!ahci)
		return ERR_RANGE;
	dev->driver_data = ahci;
	ahci->dev = dev;
	s = map_registers(dev, &ahci->bar, &present);
	if (s != OK)
		return s;
	cap = pci_mem_read32(dev, ahci->bar + AHCI_CAP);
	ahci->slots = MIN(SLOTS, AHCI_CAP_NCS(cap));
	s = find_port(dev, ahci, present);
	if (s != OK)
		return s;
	ahci->shared = arena_alloc(env->dma, sizeof(*ahci->shared), PAGE_SIZE);
	if (!ahci->shared)
		return ERR_RANGE;
	if (!(cap & AHCI_CAP_S64A) && (u64)(uintptr_t)(ahci->shared + 1) > 4 * GIB) {
		driver_line(dev, "no DMA memory below 4 GiB, the device has 32 address bits");
		return ERR_ABSENT;
	}
	s = driver_connect(dev, complete, ahci, &ahci->irq);
	return s == OK ? start_port(dev, ahci) : s;
}

static void prepare(const struct ahci *ahci, u32 slot, u32 command, u32 sector, u32 sectors, u32 size)
{
	struct table *table = &ahci->shared->table[slot];

	ahci->shared->list[slot] = (struct header){ .flags = 1 << 16 | FIS_WORDS, .table = (uintptr_t)table };
	*table = (struct table){ .fis = { command << 16 | FIS_COMMAND, ATA_DEVICE_LBA << 24 | sector, 0, sectors },
				 .data = (uintptr_t)ahci->shared->data[slot],
				 .size = size - 1 };
}

/* None is in flight. */
static void start(struct ahci *ahci, u32 slots)
{
	ahci->busy = slots;
	pci_mem_write32(ahci->dev, ahci->port + AHCI_PxCI, slots);
}

static enum status work(struct pci_dev *dev, bool write)
{
	struct ahci *ahci = dev->driver_data;
	const u16 *words = (const u16 *)ahci->shared->data[0];
	u32 want = ahci->commands + 1;
	enum status s;

	(void)write;
	memset(ahci->shared->data[0], 0, SECTOR_SIZE);
	prepare(ahci, 0, ATA_IDENTIFY, 0, 0, SECTOR_SIZE);
	start(ahci, 1);
	s = driver_await(dev, "completed command", &ahci->commands, want, COMMAND_WAIT_US);
	if (s != OK)
		return s;
	if (ahci->error || (words[ATA_ID_COMMANDS] & (ATA_ID_VALID_MASK | ATA_ID_LBA48)) != (ATA_ID_VALID | ATA_ID_LBA48)) {
		driver_line(dev, "IDENTIFY DEVICE: task file 0x%x, word 83 0x%04x", ahci->error, words[ATA_ID_COMMANDS]);
		return ERR_IO;
	}
	ahci->sectors = *(const u64 *)(words + ATA_ID_SECTORS);
	driver_line(dev, "%lu KiB, " DRIVER_IRQ_FMT ": %u commands, %u interrupts", ahci->sectors * SECTOR_SIZE / KIB,
		    DRIVER_IRQ_ARGS(&ahci->irq), ahci->commands, ahci->interrupts);
	return OK;
}

/* Reads, because data that arrives then differs from what was in the buffer. */
static enum status arm(struct pci_dev *dev)
{
	struct ahci *ahci = dev->driver_data;
	u32 slot;

	for (slot = 0; slot < ahci->slots && (slot + 1) * TRANSFER / SECTOR_SIZE <= ahci->sectors; slot++) {
		memset(ahci->shared->data[slot], CANARY, TRANSFER);
		prepare(ahci, slot, ATA_READ_DMA_EXT, slot * (TRANSFER / SECTOR_SIZE), TRANSFER / SECTOR_SIZE, TRANSFER);
	}
	start(ahci, (1U << slot) - 1);
	return OK;
}

static unsigned int in_flight(const struct pci_dev *dev)
{
	const struct ahci *ahci = dev->driver_data;
	unsigned int n = 0;

	for (u32 busy = ahci->busy; busy; busy &= busy - 1)
		n++;
	return n;
}

const struct driver ahci_driver = {
	.pci = { .name = "ahci", .match = match, .reset = reset, .probe = probe },
	.dma = sizeof(struct shared),
	.work = work,
	.arm = arm,
	.in_flight = in_flight,
};
