/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PCI_REGS_H
#define PCI_REGS_H

/*
 * Configuration space, in Linux's spelling so that both trees can be searched for the same name; a host test asserts every value
 * against <linux/pci_regs.h>. PCIe = PCI Express Base Specification 6.0; PCI = PCI Local Bus Specification 3.0.
 */
/* clang-format off */

#define PCI_VENDOR_ID			0x00		/* 16 bits; 0xffff: no function here */

/* Command, 16 bits (PCIe 7.5.1.1.3). Never as 32 bits: Status at 0x06 has write-1-to-clear bits. */
#define PCI_COMMAND			0x04
#define  PCI_COMMAND_IO			0x0001
#define  PCI_COMMAND_MEMORY		0x0002
#define  PCI_COMMAND_MASTER		0x0004		/* may issue requests: DMA, and MSI and MSI-X, which are memory writes */
#define  PCI_COMMAND_INTX_DISABLE	0x0400		/* may not assert INTx; has no effect on MSI */

/* Status, 16 bits (PCIe 7.5.1.1.4). */
#define PCI_STATUS			0x06
#define  PCI_STATUS_INTERRUPT		0x0008		/* an interrupt is pending inside, whatever INTX_DISABLE says */
#define  PCI_STATUS_CAP_LIST		0x0010

#define PCI_CLASS_REVISION		0x08		/* 32 bits: class 31..8, revision 7..0 */
#define PCI_HEADER_TYPE			0x0e		/* 8 bits */
#define  PCI_HEADER_TYPE_MASK		0x7f
#define   PCI_HEADER_TYPE_NORMAL	0
#define   PCI_HEADER_TYPE_BRIDGE	1
#define  PCI_HEADER_TYPE_MFD		0x80		/* multifunction */

/* Base Address Registers, 32 bits each (PCIe 7.5.1.2.1). */
#define PCI_BASE_ADDRESS_0		0x10
#define  PCI_BASE_ADDRESS_SPACE_IO	0x01
#define  PCI_BASE_ADDRESS_MEM_TYPE_MASK	0x06
#define   PCI_BASE_ADDRESS_MEM_TYPE_64	0x04
#define  PCI_BASE_ADDRESS_MEM_MASK	(~0x0fUL)
#define  PCI_BASE_ADDRESS_IO_MASK	(~0x03UL)
#define PCI_STD_NUM_BARS		6

#define PCI_SECONDARY_BUS		0x19		/* 8 bits, type 1 only */
#define PCI_CAPABILITY_LIST		0x34		/* 8 bits, the low two reserved */
#define PCI_INTERRUPT_LINE		0x3c		/* 8 bits, written by firmware for its own use: the 8259 input */
#define PCI_INTERRUPT_PIN		0x3d		/* 8 bits: 0 none, 1 INTA .. 4 INTD */

/* Capabilities (PCI 6.7): id, next, then the capability's own. */
#define PCI_CAP_ID_MSI			0x05
#define PCI_CAP_ID_VNDR			0x09
#define PCI_CAP_ID_EXP			0x10
#define PCI_CAP_ID_MSIX			0x11

/* MSI (PCIe 7.7.1). The offsets of Data and Mask depend on the address being 64 bits wide. */
#define PCI_MSI_FLAGS			0x02		/* Message Control, 16 bits */
#define  PCI_MSI_FLAGS_ENABLE		0x0001
#define  PCI_MSI_FLAGS_QMASK		0x000e		/* vectors requested, log2 */
#define  PCI_MSI_FLAGS_QSIZE		0x0070		/* vectors granted, log2 */
#define  PCI_MSI_FLAGS_64BIT		0x0080
#define  PCI_MSI_FLAGS_MASKBIT		0x0100
#define PCI_MSI_ADDRESS_LO		0x04
#define PCI_MSI_ADDRESS_HI		0x08		/* with 64BIT */
#define PCI_MSI_DATA_32			0x08
#define PCI_MSI_MASK_32			0x0c
#define PCI_MSI_DATA_64			0x0c
#define PCI_MSI_MASK_64			0x10

/* MSI-X (PCIe 7.7.2). */
#define PCI_MSIX_FLAGS			0x02		/* Message Control, 16 bits */
#define  PCI_MSIX_FLAGS_QSIZE		0x07ff		/* table size less one */
#define  PCI_MSIX_FLAGS_MASKALL		0x4000
#define  PCI_MSIX_FLAGS_ENABLE		0x8000
#define PCI_MSIX_TABLE			0x04		/* 32 bits: BAR index 2..0, offset 31..3 */
#define  PCI_MSIX_TABLE_BIR		0x00000007
#define  PCI_MSIX_TABLE_OFFSET		0xfffffff8
#define PCI_CAP_MSIX_SIZEOF		12		/* bytes of the capability */

/* An entry of its table. */
#define PCI_MSIX_ENTRY_SIZE		16
#define PCI_MSIX_ENTRY_LOWER_ADDR	0x0
#define PCI_MSIX_ENTRY_UPPER_ADDR	0x4
#define PCI_MSIX_ENTRY_DATA		0x8
#define PCI_MSIX_ENTRY_VECTOR_CTRL	0xc
#define  PCI_MSIX_ENTRY_CTRL_MASKBIT	0x1

/* PCI Express (PCIe 7.5.3): pending transactions, a port's type and its slot. */
#define PCI_EXP_FLAGS			0x02		/* 16 bits */
#define  PCI_EXP_FLAGS_TYPE		0x00f0
#define   PCI_EXP_TYPE_ROOT_PORT	0x4
#define   PCI_EXP_TYPE_DOWNSTREAM	0x6
#define  PCI_EXP_FLAGS_SLOT		0x0100		/* slot implemented: else its registers mean nothing */
#define  PCI_EXP_FLAGS_IRQ		0x3e00		/* the vector of hot-plug's messages */
#define PCI_EXP_DEVSTA			0x0a		/* 16 bits, errors are write-1-to-clear */
#define  PCI_EXP_DEVSTA_TRPND		0x0020		/* Transactions Pending: reads that it issued are not completed yet */
#define PCI_EXP_SLTCAP			0x14		/* 32 bits */
#define  PCI_EXP_SLTCAP_HPC		0x00000040	/* hot-plug capable */
#define  PCI_EXP_SLTCAP_NCCS		0x00040000	/* no Command Completed */
#define PCI_EXP_SLTCTL			0x18		/* 16 bits; each write is a command */
#define  PCI_EXP_SLTCTL_ABPE		0x0001
#define  PCI_EXP_SLTCTL_PFDE		0x0002
#define  PCI_EXP_SLTCTL_MRLSCE		0x0004
#define  PCI_EXP_SLTCTL_PDCE		0x0008
#define  PCI_EXP_SLTCTL_DLLSCE		0x1000
#define  PCI_EXP_SLTCTL_CCIE		0x0010		/* Command Completed interrupts */
#define  PCI_EXP_SLTCTL_HPIE		0x0020		/* hot-plug interrupts: enables those of the slot's events */
#define PCI_EXP_SLTSTA			0x1a		/* 16 bits, events are write-1-to-clear */
#define  PCI_EXP_SLTSTA_CC		0x0010		/* Command Completed */

/* Extended configuration space, PCIe functions only: id 15..0, version 19..16, next 31..20 (PCIe 7.6). */
#define PCI_EXT_CAP_START		0x100

/* Alternative Routing-ID Interpretation (PCIe 7.8.8). */
#define PCI_EXT_CAP_ID_ARI		0x0e
#define PCI_EXT_CAP_ARI_SIZEOF		8		/* bytes of the capability */
#define PCI_ARI_CAP			0x04		/* 16 bits: next function 15..8 */

/* Single Root I/O Virtualization (PCIe 9.3.3). */
#define PCI_EXT_CAP_ID_SRIOV		0x10
#define PCI_EXT_CAP_SRIOV_SIZEOF	0x40
#define PCI_SRIOV_CTRL			0x08		/* 16 bits */
#define  PCI_SRIOV_CTRL_VFE		0x01
#define PCI_SRIOV_NUM_VF		0x10		/* 16 bits */
#define PCI_SRIOV_VF_OFFSET		0x14		/* 16 bits, in routing IDs from the PF */
#define PCI_SRIOV_VF_STRIDE		0x16		/* 16 bits */
#define PCI_SRIOV_VF_DID		0x1a		/* 16 bits: device ID of every VF; its own registers read all ones */

/* Advanced Error Reporting, what a root port has of it (PCIe 7.8.4). */
#define PCI_EXT_CAP_ID_ERR		0x01
#define PCI_ERR_ROOT_COMMAND		0x2c		/* 32 bits: which errors interrupt */
#define  PCI_ERR_ROOT_CMD_COR_EN	0x1
#define  PCI_ERR_ROOT_CMD_NONFATAL_EN	0x2
#define  PCI_ERR_ROOT_CMD_FATAL_EN	0x4
#define PCI_ERR_ROOT_STATUS		0x30		/* 32 bits, events are write-1-to-clear */
#define  PCI_ERR_ROOT_COR_RCV		0x1
#define  PCI_ERR_ROOT_MULTI_COR_RCV	0x2
#define  PCI_ERR_ROOT_UNCOR_RCV		0x4
#define  PCI_ERR_ROOT_MULTI_UNCOR_RCV	0x8
#define  PCI_ERR_ROOT_AER_IRQ		0xf8000000	/* the vector of its messages */

#define PCI_CFG_SPACE_SIZE		256
#define PCI_CFG_SPACE_EXP_SIZE		4096
/* clang-format on */

#endif
