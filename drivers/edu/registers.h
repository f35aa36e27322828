/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_EDU_REGISTERS_H
#define DRIVERS_EDU_REGISTERS_H

/* docs/specs/edu.txt of QEMU. Below 0x80 accesses have 4 bytes. */
/* clang-format off */
#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8
#define EDU_ID		0x00
#define  EDU_ID_MASK	0xffff	/* the upper half is the version */
#define   EDU_ID_VALUE	0x00ed
#define EDU_IRQ_STATUS	0x24
#define EDU_IRQ_RAISE	0x60
#define EDU_IRQ_ACK	0x64
#define  EDU_IRQ_OURS	0x001	/* any value; it is what EDU_IRQ_STATUS then shows */
#define  EDU_IRQ_DMA	0x100	/* raised by a finished DMA */
#define EDU_DMA_SOURCE	0x80
#define EDU_DMA_TARGET	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_COMMAND	0x98
#define  EDU_DMA_RUN	0x1	/* reads as 1 while a transfer is in flight */
#define  EDU_DMA_TO_RAM	0x2
#define  EDU_DMA_IRQ	0x4
#define EDU_BUFFER	0x40000	/* inside the device, 4096 bytes; QEMU 7.2 aborts if a transfer includes the last */
#define EDU_DMA_MASK	((1UL << 28) - 1) /* the default; the device silently masks higher bits */
#define EDU_BAR_SIZE	MIB
/* clang-format on */

#endif
