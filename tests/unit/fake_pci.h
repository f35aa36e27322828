/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_FAKE_PCI_H
#define TESTS_UNIT_FAKE_PCI_H

#include "pci/dev.h"

/*
 * A PCI segment in the host's memory, through struct pci_access_ops: functions whose registers have bits that are read-only,
 * read-write or write-1-to-clear, memory in their BARs, and an ordered log of every access. What the contract forbids (a size other
 * than 1, 2 or 4, an unaligned address, a register beyond the configuration space, memory that was not mapped or that the function
 * does not decode) fails the test.
 */
#define FAKE_CFG_SIZE 4096
#define FAKE_FNS_MAX  320
#define FAKE_MEMS_MAX 16

enum fake_kind { FAKE_CFG_READ, FAKE_CFG_WRITE, FAKE_MEM_READ, FAKE_MEM_WRITE };

struct fake_access {
	enum fake_kind kind;
	u16 bdf;   /* of configuration accesses */
	u64 where; /* register or address */
	u8 size;
	u32 value;
	bool lost; /* no function responded */
};

struct fake_fn {
	u16 bdf;
	u8 cfg[FAKE_CFG_SIZE];
	u8 rw[FAKE_CFG_SIZE];  /* a bit a bit: 1 is writable, the rest ignores writes */
	u8 w1c[FAKE_CFG_SIZE]; /* 1: writing 1 clears */
	u8 *next;	       /* where the next capability's position is stored */
	u16 ext_last;	       /* the last extended capability, 0 before the first */
	int answers;	       /* accesses until it is removed (all ones, writes lost); negative: it stays */
};

struct fake_pci;

/* Memory in a BAR: bytes, or a device model where read and write are set. It responds where the BAR was when it was made. */
struct fake_mem {
	u64 base;
	u64 size;
	struct fake_fn *fn;
	unsigned int bar;
	u8 *bytes;
	u32 (*read)(void *model, u64 offset, unsigned int size);
	void (*write)(void *model, u64 offset, unsigned int size, u32 value);
	void *model;
	void (*free)(void *model); /* with the segment, where set */
};

struct fake_pci {
	struct pci_access access; /* first: the ops find the rest by it */
	struct fake_fn *fn[FAKE_FNS_MAX];
	unsigned int fns;
	struct fake_mem mem[FAKE_MEMS_MAX];
	unsigned int mems;
	struct {
		u64 start;
		u64 end;
	} mapped[64];
	unsigned int maps;
	bool map_fails;
	void (*watch)(struct fake_pci *fake, const struct fake_access *access); /* after every access, where set */
	struct fake_access *log;
	unsigned int logged;
	unsigned int log_room;
};

/* A segment without functions: buses 0 to 255, 4096 bytes of configuration space a function. */
struct fake_pci *fake_pci_new(void);
void fake_pci_free(struct fake_pci *fake);

/* --- functions --- */

/* A type 0 function: command bits as QEMU's, some error bits of Status set (they are write-1-to-clear), no BAR, no capability. */
struct fake_fn *fake_add(struct fake_pci *fake, u16 bdf, u16 vendor, u16 device);
struct fake_fn *fake_bridge(struct fake_pci *fake, u16 bdf, u8 secondary, u8 subordinate);
struct fake_fn *fake_at(struct fake_pci *fake, u16 bdf);

/* The register's value, without the ops and the log. */
u32 fake_get(const struct fake_fn *fn, u16 reg, unsigned int size);
void fake_set(struct fake_fn *fn, u16 reg, unsigned int size, u32 value);
void fake_writable(struct fake_fn *fn, u16 reg, unsigned int size, u32 mask);

/* Capabilities: appended to the list at a position of the caller's. */
void fake_cap(struct fake_fn *fn, u8 pos, u8 id);
void fake_cap_msi(struct fake_fn *fn, u8 pos, u16 features); /* of PCI_MSI_FLAGS_64BIT, _MASKBIT and the log2 in QMASK */
void fake_cap_msix(struct fake_fn *fn, u8 pos, unsigned int entries, unsigned int bar, u32 offset);
void fake_ext_cap(struct fake_fn *fn, u16 pos, u16 id);
void fake_ari(struct fake_fn *fn, u16 pos, u8 next_function);
void fake_sriov(struct fake_fn *fn, u16 pos, u16 count, u16 offset, u16 stride, u16 vf_device);

/*
 * A BAR's register: flags and address of value, address bits down to size (a power of two from 16 on; 0: none) writable. A 64-bit
 * one takes the next BAR's register, too.
 */
void fake_bar_register(struct fake_fn *fn, unsigned int bar, u64 value, u64 size);
u64 fake_bar_value(const struct fake_fn *fn, unsigned int bar);
/* A memory BAR, assigned, with bytes in it. */
struct fake_mem *fake_bar(struct fake_pci *fake, struct fake_fn *fn, unsigned int bar, u64 base, u64 size, bool wide);
u32 fake_mem_get(const struct fake_mem *mem, u64 offset, unsigned int size);
void fake_mem_set(struct fake_mem *mem, u64 offset, unsigned int size, u32 value);

/* --- whole devices, as QEMU has them --- */
#define FAKE_EDU_MSI	  0x40
#define FAKE_EDU_BAR	  0xfe000000
#define FAKE_BLK_MSIX	  0x98
#define FAKE_BLK_MSIX_BAR 0xfd000000
#define FAKE_BLK_BAR	  0x800000000
#define FAKE_BLK_BAR_SIZE 0x4000
#define FAKE_BLK_VECTORS  2

struct fake_fn *fake_edu(struct fake_pci *fake, u16 bdf);	 /* MSI at 0x40, 64-bit, one vector; BAR 0 of 1 MiB */
struct fake_fn *fake_virtio_blk(struct fake_pci *fake, u16 bdf); /* MSI-X in BAR 1, virtio's structures in BAR 4 */

/*
 * The tree of the policies' tests, everything on as a running kernel has it: root bus with a bridge (00:02.0), a device without MSI
 * (00:03.0); below the bridge edu with MSI (01:00.0) and virtio-blk with MSI-X (01:01.0).
 */
#define TREE_BRIDGE PCI_BDF(0, 2, 0)
#define TREE_PLAIN  PCI_BDF(0, 3, 0)
#define TREE_EDU    PCI_BDF(1, 0, 0)
#define TREE_BLK    PCI_BDF(1, 1, 0)
struct fake_pci *fake_tree(void);

/* --- under test --- */

/* Enumerates into an array of its own, which lives as long as the fake's test; the access log is empty afterwards. */
#define FAKE_DEVS_MAX 16
struct fake_devs {
	struct pci pci;
	struct pci_dev dev[FAKE_DEVS_MAX];
};
void fake_enumerate(struct fake_pci *fake, struct fake_devs *devs);
struct pci_dev *fake_dev(struct fake_devs *devs, u16 bdf);
/* As if pci_map_bar had sized every BAR with memory before: test_bar.c shows how. */
void fake_sized(const struct fake_pci *fake, struct pci_dev *dev);

/* --- checks over the log: each returns whether it holds, so that a twin can show that it rejects the bad case --- */
#define CFG_W8(bdf, reg, value)                                                                                                    \
	{                                                                                                                          \
		FAKE_CFG_WRITE, bdf, reg, 1, value, false                                                                          \
	}
#define CFG_W16(bdf, reg, value)                                                                                                   \
	{                                                                                                                          \
		FAKE_CFG_WRITE, bdf, reg, 2, value, false                                                                          \
	}
#define CFG_W32(bdf, reg, value)                                                                                                   \
	{                                                                                                                          \
		FAKE_CFG_WRITE, bdf, reg, 4, value, false                                                                          \
	}
#define MEM_W32(address, value)                                                                                                    \
	{                                                                                                                          \
		FAKE_MEM_WRITE, 0, address, 4, value, false                                                                        \
	}

void fake_clear_log(struct fake_pci *fake);
bool fake_is_write(const struct fake_access *a);
unsigned int fake_writes(const struct fake_pci *fake);
/* The writes were these, in this order; reads are ignored. */
bool fake_writes_are(const struct fake_pci *fake, const struct fake_access *want, size_t n);
/* No write covers Status, whose bits are write-1-to-clear. */
bool fake_status_spared(const struct fake_pci *fake);
void fake_print(const struct fake_pci *fake);

#define assert_writes(fake, want)                                                                                                  \
	do {                                                                                                                       \
		if (!fake_writes_are(fake, want, ARRAY_SIZE(want))) {                                                              \
			fake_print(fake);                                                                                          \
			fail_msg("other writes than wanted");                                                                      \
		}                                                                                                                  \
	} while (0)
#define assert_no_writes(fake) assert_int_equal(fake_writes(fake), 0)

#endif
