/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/e1000e/e1000e.h"

#include "drivers/arp.h"
#include "lib/time.h"

/* 82574 datasheet, chapter 10, spelled as in Linux; registers have 32 bits. */
/* clang-format off */
#define E1000_CTRL			0x0000
#define  E1000_CTRL_GIO_MASTER_DISABLE	0x00000004
#define  E1000_CTRL_SLU			0x00000040	/* set link up */
#define  E1000_CTRL_RST			0x04000000
#define E1000_STATUS			0x0008
#define  E1000_STATUS_LU		0x00000002	/* link up */
#define  E1000_STATUS_GIO_MASTER_ENABLE	0x00080000	/* requests of its own are, or may be, pending */
#define E1000_EECD			0x0010
#define  E1000_EECD_AUTO_RD		0x00000200	/* what a reset reads from the NVM has been read */
#define E1000_ICR			0x00c0		/* writing 1 clears */
#define  E1000_ICR_TXDW			0x00000001
#define  E1000_ICR_RXT0			0x00000080
#define  E1000_ICR_RXQ0			0x00100000	/* instead of RXT0 and TXDW while MSI-X is on */
#define  E1000_ICR_TXQ0			0x00400000
#define E1000_IMS			0x00d0
#define E1000_IMC			0x00d8
#define E1000_EIAC			0x00dc
#define E1000_IAM			0x00e0
#define E1000_IVAR			0x00e4
#define  E1000_IVAR_ALL_0		0x00088888	/* every cause has the MSI-X table's entry 0 */
#define E1000_RCTL			0x0100
#define  E1000_RCTL_EN			0x00000002
#define  E1000_RCTL_BAM			0x00008000	/* broadcasts; buffers have 2048 bytes */
#define  E1000_RCTL_SECRC		0x04000000	/* without the checksum */
#define E1000_TCTL			0x0400
#define  E1000_TCTL_EN			0x00000002
#define  E1000_TCTL_PSP			0x00000008	/* pad short frames */
#define  E1000_TCTL_CT			0x000000f0
#define  E1000_TCTL_COLD		0x0003f000
#define E1000_RDBAL			0x2800
#define E1000_TDBAL			0x3800
#define  E1000_RING_LEN			0x08		/* from RDBAL or TDBAL on */
#define  E1000_RING_HEAD		0x10
#define  E1000_RING_TAIL		0x18
#define E1000_RDTR			0x2820
#define E1000_RADV			0x282c
#define E1000_TXDCTL			0x3828
#define  E1000_TXDCTL_COUNT_DESC	0x00400000	/* has to be set on the 82571 to 82583 */
#define E1000_RFCTL			0x5008
#define E1000_RAL			0x5400
#define E1000_RAH			0x5404
#define E1000_MRQC			0x5818
#define E1000_REGISTERS			0x20000

#define E1000_TXD_CMD_EOP		0x01
#define E1000_TXD_CMD_IFCS		0x02		/* with a checksum */
#define E1000_TXD_CMD_RS		0x08		/* report status: set DD at the end */
#define E1000_TXD_STAT_DD		0x01
#define E1000_RXD_STAT_DD		0x01
#define E1000_RXD_STAT_EOP		0x02
/* clang-format on */

#define OURS	       (E1000_ICR_TXDW | E1000_ICR_RXT0 | E1000_ICR_RXQ0 | E1000_ICR_TXQ0)

#define RING_SIZE      8    /* descriptors: 128 bytes, the least */
#define BUFFER_SIZE    2048 /* the longest frame has 1518 bytes */

#define MASTER_WAIT_US 80000 /* as Linux */
#define RESET_US       1     /* until the registers may be read again (10.2.2.1) */
#define RESET_WAIT_US  10000
#define TX_WAIT_US     1000000
#define ANSWER_WAIT_US 1000000

/* Chapter 7, the legacy formats. */
struct rx_desc {
	u64 address;
	u16 length;
	u16 checksum;
	u8 status;
	u8 errors;
	u16 special;
};
struct tx_desc {
	u64 address;
	u16 length;
	u8 checksum_offset;
	u8 command;
	u8 status;
	u8 checksum_start;
	u16 special;
};
_Static_assert(sizeof(struct rx_desc) == 16 && sizeof(struct tx_desc) == 16, "82574 datasheet, chapter 7");

/* What the device reads and writes; frames are received into the buffers that follow. */
struct rings {
	volatile struct rx_desc rx[RING_SIZE];
	volatile struct tx_desc tx[RING_SIZE];
	u8 probe[FRAME_MIN];
};

struct e1000e {
	struct pci_dev *dev;
	u64 bar;
	struct rings *rings;
	u8 *buffers; /* one to each receive descriptor */
	u16 rx_next; /* the descriptor that is written back next */
	u16 tx_next; /* the one that is used next; only one is in flight at a time */
	struct driver_irq irq;
	u8 mac[MAC_SIZE];
	u8 answer[MAC_SIZE]; /* of 10.0.2.2, from its reply; valid when answers is not 0 */
	volatile bool sending;
	volatile u32 answers;
	volatile u32 frames; /* in */
	volatile u32 sent;
	volatile u32 interrupts;
};

static bool match(const struct pci_dev *dev)
{
	return dev->vendor == 0x8086 && dev->device == 0x10d3;
}

static enum status map_registers(struct pci_dev *dev, u64 *bar)
{
	return pci_map_bar(dev, "e1000e", 0, 0, E1000_REGISTERS, bar);
}

static void mask_all(const struct pci_dev *dev, u64 bar)
{
	pci_mem_write32(dev, bar + E1000_IMC, 0xffffffff);
	pci_mem_read32(dev, bar + E1000_ICR); /* clears it while all are masked (10.2.4.1) */
}

/*
 * Interrupts, rings and requests end in this order before the reset itself, at which no request may be pending. QEMU 7.2's CTRL.RST
 * restores the MAC address and nothing else, so there only this ends them.
 */
static enum status reset(struct pci_dev *dev)
{
	struct deadline settled;
	enum status s;
	u32 ctrl;
	u64 bar;

	s = map_registers(dev, &bar);
	if (s != OK)
		return s;
	ctrl = pci_mem_read32(dev, bar + E1000_CTRL);
	if (ctrl == 0xffffffff)
		return driver_gone(dev);
	ctrl &= ~(u32)E1000_CTRL_GIO_MASTER_DISABLE;
	mask_all(dev, bar);
	pci_mem_write32(dev, bar + E1000_RCTL, 0);
	pci_mem_write32(dev, bar + E1000_TCTL, 0);
	pci_mem_write32(dev, bar + E1000_CTRL, ctrl | E1000_CTRL_GIO_MASTER_DISABLE);
	s = driver_poll32(dev, "requests do not end within %lu ms, 0x%08x", bar + E1000_STATUS, E1000_STATUS_GIO_MASTER_ENABLE, 0,
			  MASTER_WAIT_US);
	if (s != OK)
		return s;
	pci_mem_write32(dev, bar + E1000_CTRL, ctrl | E1000_CTRL_RST);
	settled = deadline_after_us(RESET_US);
	while (!deadline_passed(&settled))
		;
	s = driver_poll32(dev, "not reset within %lu ms, 0x%08x", bar + E1000_CTRL, E1000_CTRL_RST, 0, RESET_WAIT_US);
	if (s == OK)
		s = driver_poll32(dev, "NVM not read within %lu ms, 0x%08x", bar + E1000_EECD, E1000_EECD_AUTO_RD,
				  E1000_EECD_AUTO_RD, RESET_WAIT_US);
	if (s == OK)
		mask_all(dev, bar);
	return s;
}

static u16 after(u16 descriptor)
{
	return (descriptor + 1) % RING_SIZE;
}

static void receive(struct e1000e *nic)
{
	u16 tail = nic->rx_next;

	for (unsigned int n = 0; n < RING_SIZE; n++) {
		volatile struct rx_desc *d = &nic->rings->rx[nic->rx_next];
		u32 length;

		if (!(d->status & E1000_RXD_STAT_DD))
			break;
		length = d->length; /* read after DD: else it may be that of the previous frame */
		if (d->status & E1000_RXD_STAT_EOP && !d->errors && length <= BUFFER_SIZE) {
			nic->frames++;
			if (arp_answers(nic->buffers + nic->rx_next * BUFFER_SIZE, length, nic->answer))
				nic->answers++;
		}
		d->status = 0;
		tail = nic->rx_next;
		nic->rx_next = after(nic->rx_next);
	}
	if (tail != nic->rx_next)
		pci_mem_write32(nic->dev, nic->bar + E1000_RDBAL + E1000_RING_TAIL, tail);
}

static void transmitted(struct e1000e *nic)
{
	if (!nic->sending || !(nic->rings->tx[nic->tx_next].status & E1000_TXD_STAT_DD))
		return;
	nic->tx_next = after(nic->tx_next);
	nic->sending = false;
	nic->sent++;
}

static bool interrupt(void *context)
{
	struct e1000e *nic = context;
	u32 cause = pci_mem_read32(nic->dev, nic->bar + E1000_ICR);

	if (cause == 0xffffffff || !(cause & OURS))
		return nic->irq.message; /* delayed by EITR, its cause was handled before; a line is shared, and it was another */
	/* Before the rings are read: what comes later raises it again. */
	pci_mem_write32(nic->dev, nic->bar + E1000_ICR, cause);
	nic->interrupts++;
	receive(nic);
	transmitted(nic);
	return true;
}

static void write_ring(const struct e1000e *nic, u32 reg, const volatile void *ring, u32 size)
{
	pci_mem_write64_lo_hi(nic->dev, nic->bar + reg, (uintptr_t)ring);
	pci_mem_write32(nic->dev, nic->bar + reg + E1000_RING_LEN, size);
	pci_mem_write32(nic->dev, nic->bar + reg + E1000_RING_HEAD, 0);
	pci_mem_write32(nic->dev, nic->bar + reg + E1000_RING_TAIL, 0);
}

/* Rings, then what uses them, then interrupts. The ring is full with one descriptor unused: head equal to tail means empty. */
static void enable(const struct e1000e *nic)
{
	/*
	 * 0 after a reset; under QEMU 7.2 as the previous kernel left them: other formats and queues, causes that clear themselves.
	 */
	static const u16 plain[] = { E1000_RFCTL, E1000_MRQC, E1000_RDTR, E1000_RADV, E1000_EIAC, E1000_IAM };
	struct pci_dev *dev = nic->dev;
	u64 bar = nic->bar;

	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		pci_mem_write32(dev, bar + plain[i], 0);
	write_ring(nic, E1000_RDBAL, nic->rings->rx, sizeof(nic->rings->rx));
	write_ring(nic, E1000_TDBAL, nic->rings->tx, sizeof(nic->rings->tx));
	pci_mem_write32(dev, bar + E1000_TXDCTL, pci_mem_read32(dev, bar + E1000_TXDCTL) | E1000_TXDCTL_COUNT_DESC);
	pci_mem_write32(dev, bar + E1000_IVAR, E1000_IVAR_ALL_0);
	pci_mem_write32(dev, bar + E1000_IMS, OURS);
	pci_mem_write32(dev, bar + E1000_CTRL, pci_mem_read32(dev, bar + E1000_CTRL) | E1000_CTRL_SLU);
	pci_mem_write32(dev, bar + E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_BAM | E1000_RCTL_SECRC);
	pci_mem_write32(dev, bar + E1000_TCTL, E1000_TCTL_EN | E1000_TCTL_PSP | E1000_TCTL_CT | E1000_TCTL_COLD);
	pci_mem_write32(dev, bar + E1000_RDBAL + E1000_RING_TAIL, RING_SIZE - 1);
}

static enum status probe(struct pci_dev *dev, void *context)
{
	struct driver_env *env = context;
	struct e1000e *nic = arena_alloc(env->heap, sizeof(*nic), 8);
	enum status s;

	if (!nic)
		return ERR_RANGE;
	dev->driver_data = nic;
	nic->dev = dev;
	s = map_registers(dev, &nic->bar);
	if (s != OK)
		return s;
	nic->rings = arena_alloc(env->dma, sizeof(*nic->rings), PAGE_SIZE);
	nic->buffers = arena_alloc(env->dma, RING_SIZE * BUFFER_SIZE, PAGE_SIZE);
	if (!nic->rings || !nic->buffers)
		return ERR_RANGE;
	for (unsigned int i = 0; i < RING_SIZE; i++)
		nic->rings->rx[i].address = (uintptr_t)nic->buffers + (u64)i * BUFFER_SIZE;
	for (unsigned int i = 0; i < MAC_SIZE; i++)
		nic->mac[i] = (u8)(pci_mem_read32(dev, nic->bar + (i < 4 ? E1000_RAL : E1000_RAH)) >> i % 4 * 8);
	arp_ask(nic->rings->probe, nic->mac);
	s = driver_connect(dev, interrupt, nic, &nic->irq);
	if (s == OK)
		enable(nic);
	return s;
}

static void send_probe(struct e1000e *nic)
{
	volatile struct tx_desc *d = &nic->rings->tx[nic->tx_next];

	d->address = (uintptr_t)nic->rings->probe;
	d->length = FRAME_MIN;
	d->command = E1000_TXD_CMD_EOP | E1000_TXD_CMD_IFCS | E1000_TXD_CMD_RS;
	d->status = 0;
	nic->sending = true;
	pci_mem_write32(nic->dev, nic->bar + E1000_TDBAL + E1000_RING_TAIL, after(nic->tx_next));
}

static bool link_is_up(const struct e1000e *nic)
{
	u32 status = pci_mem_read32(nic->dev, nic->bar + E1000_STATUS);

	return status != 0xffffffff && status & E1000_STATUS_LU;
}

static enum status work(struct pci_dev *dev, bool write)
{
	struct e1000e *nic = dev->driver_data;
	u32 want = nic->sent + 1;
	enum status s;

	(void)write;
	if (!link_is_up(nic)) {
		driver_line(dev, MAC_FMT " link down", MAC_ARGS(nic->mac));
		return OK;
	}
	send_probe(nic);
	s = driver_await(dev, "transmitted frame", &nic->sent, want, TX_WAIT_US);
	if (s != OK)
		return s;
	/* The line that it logs is enough: a reply is not required. */
	driver_await(dev, "answer to ARP", &nic->answers, 1, ANSWER_WAIT_US);
	driver_line(dev, MAC_FMT " link up, " DRIVER_IRQ_FMT ": %u frames out, %u in, %u interrupts", MAC_ARGS(nic->mac),
		    DRIVER_IRQ_ARGS(&nic->irq), nic->sent, nic->frames, nic->interrupts);
	if (nic->answers)
		driver_line(dev, "10.0.2.2 is at " MAC_FMT, MAC_ARGS(nic->answer));
	return OK;
}

/* The receive buffers are in flight already; one more frame is sent, and its reply may come at any time. */
static enum status arm(struct pci_dev *dev)
{
	struct e1000e *nic = dev->driver_data;

	if (link_is_up(nic) && !nic->sending)
		send_probe(nic);
	return OK;
}

static unsigned int in_flight(const struct pci_dev *dev)
{
	const struct e1000e *nic = dev->driver_data;

	return RING_SIZE - 1 + nic->sending;
}

const struct driver e1000e_driver = {
	.pci = { .name = "e1000e", .match = match, .reset = reset, .probe = probe },
	.dma = PAGE_SIZE + RING_SIZE * BUFFER_SIZE,
	.work = work,
	.arm = arm,
	.in_flight = in_flight,
};
