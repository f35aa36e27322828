/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PCI_DEV_H
#define PCI_DEV_H

#include "lib/msi_message.h"
#include "pci/access.h"
#include "pci/regs.h"

/*
 * A PCI function, what may be done to it, and the policy that a kernel applies to all of them on its way out or in. Functions of
 * this header are spelled as in Linux's drivers/pci where Linux has them.
 */

struct pci_dev;

struct pci_driver {
	const char *name;
	bool (*match)(const struct pci_dev *dev);
	/*
	 * Ends whatever the previous owner left running, and is called before this owner sets bus master: clearing bus master only
	 * paused the device, and pending requests would be issued once it is set again. Bounded.
	 */
	enum status (*reset)(struct pci_dev *dev);
	/* Brings the device up; NULL where reset is all. env is defined by drivers/; pci/ only passes it on. */
	enum status (*probe)(struct pci_dev *dev, void *env);
	/* On the way out, before the policy's own writes; NULL where the driver needs none. */
	void (*shutdown)(struct pci_dev *dev);
};

struct pci_dev {
	const struct pci_access *access;
	struct pci_dev *bridge; /* above it; NULL on a root bus */
	u16 bdf;
	u16 vendor;
	u16 device;
	u32 class;	/* base class 23..16, subclass 15..8, programming interface 7..0 */
	u8 header_type; /* without the multifunction bit */
	bool multifunction;
	bool is_vf;
	u8 msi; /* capability offsets, 0 where absent */
	u8 msix;
	u8 pcie;
	bool read_only; /* not in handoff.allow: see images/scope.h. Policies and drivers skip it. */
	bool working;	/* reset, probed, and it did its work */
	struct pci_inherited {
		u16 command;
		u16 status;
		u16 msi_flags;
		u16 msix_flags;
	} inherited;			/* as handed over: read by the enumeration, before anything was written */
	u64 bar_size[PCI_STD_NUM_BARS]; /* of the BARs that pci_map_bar or pci_map_io_bar was asked for; 0 before */
	u64 msix_table;			/* where pci_enable_msix mapped it; 0 before */
	u16 msix_used;			/* entries that this kernel programmed */
	const struct pci_driver *driver;
	void *driver_data;
};

struct pci {
	struct pci_dev *dev; /* each bridge before what is below it */
	unsigned int count;
	unsigned int capacity;
};

/* How a function is written in every line of the log: 0000:00:03.0 */
#define PCI_FMT	      "%04x:%02x:%02x.%x"
#define PCI_ARGS(dev) (dev)->access->segment, PCI_BUS((dev)->bdf), PCI_DEV((dev)->bdf), PCI_FN((dev)->bdf)

/* --- log.c --- */

/* A line about a function and what was done to its registers: pci 0000:00:03.0 <text> */
void pci_line(const struct pci_dev *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- enumerate.c --- */

/*
 * Adds every function that this access reaches: all its buses, since extra root buses are below no bridge; multifunction devices,
 * ARI, and the VFs of every PF that has them enabled. Reads only. ERR_RANGE, after one line, when capacity is too small: the
 * functions that fit are there.
 */
enum status pci_enumerate(struct pci *pci, const struct pci_access *access);

/* --- config.c: exact widths, see access.h --- */
u8 pci_read_config_byte(const struct pci_dev *dev, u16 reg);
u16 pci_read_config_word(const struct pci_dev *dev, u16 reg);
u32 pci_read_config_dword(const struct pci_dev *dev, u16 reg);
void pci_write_config_byte(const struct pci_dev *dev, u16 reg, u8 value);
void pci_write_config_word(const struct pci_dev *dev, u16 reg, u16 value);
void pci_write_config_dword(const struct pci_dev *dev, u16 reg, u32 value);

/* --- capability.c: bounded, whatever the list holds --- */

/*
 * Steps through the list: for (struct pci_cap cap = { 0 }; pci_next_capability(dev, &cap);). Ends, after one line, where a list
 * loops.
 */
struct pci_cap {
	u8 id;
	u8 pos; /* of the capability */
	u8 next;
	u8 seen;
};
bool pci_next_capability(const struct pci_dev *dev, struct pci_cap *cap);

/*
 * PCIe functions through ECAM only. size: bytes that the caller will read; a capability that would reach past the space counts as
 * absent.
 */
enum status pci_find_ext_capability(const struct pci_dev *dev, u16 id, u16 size, u16 *pos);

/* --- bar.c --- */

/*
 * Maps what a device says to be at an offset of a BAR: size bytes, which have to be inside it. Logs one line and returns
 * ERR_ABSENT if there is no such memory BAR or it is not assigned, ERR_RANGE if the BAR is smaller. The first time it sizes
 * the BAR, as firmware does: memory decoding is off while the register holds ones. So the device must not be in use yet, nor what
 * is below it. On success the function decodes memory.
 */
enum status pci_map_bar(struct pci_dev *dev, const char *what, unsigned int number, u64 offset, u64 size, u64 *address);

/* The same for an I/O BAR, whose ports need no mapping: x86_inb and the like access them. The function decodes I/O then. */
enum status pci_map_io_bar(struct pci_dev *dev, const char *what, unsigned int number, u64 offset, u64 size, u16 *port);

/* --- mem.c: the memory of a BAR, at an address from pci_map_bar; exact widths, see access.h --- */
u32 pci_mem_read(const struct pci_dev *dev, u64 address, unsigned int size);
void pci_mem_write(const struct pci_dev *dev, u64 address, unsigned int size, u32 value);
u32 pci_mem_read32(const struct pci_dev *dev, u64 address);
void pci_mem_write32(const struct pci_dev *dev, u64 address, u32 value);
/*
 * A register of 64 bits as two of 32, the lower half first. For registers that a device reads only when another write starts it: in
 * between they hold half an address.
 */
void pci_mem_write64_lo_hi(const struct pci_dev *dev, u64 address, u64 value);

/* --- command.c: the only writer of the command register. 16 bits; no write when nothing changes or the function was removed --- */
void pci_set_master(struct pci_dev *dev); /* upstream bridges first: a bridge without it forwards no requests */
const struct pci_dev *pci_blocking_bridge(const struct pci_dev *dev); /* upstream, read-only, with bus master off; NULL: none */
void pci_clear_master(struct pci_dev *dev);
void pci_enable_memory(struct pci_dev *dev);
bool pci_disable_memory(struct pci_dev *dev); /* whether it was on */
void pci_enable_io(struct pci_dev *dev);
bool pci_disable_io(struct pci_dev *dev);
void pci_intx(struct pci_dev *dev, bool enable);

/* --- pending.c: what a function had begun before its bus master was cleared --- */

/* Its posted writes, DMA and messages, have arrived when this returns: the completion of a read does not pass them (PCIe 2.4.1). */
void pci_flush_posted(const struct pci_dev *dev);

/*
 * Waits until every read that it issued was completed (Transactions Pending is off). Bounded; one line on expiry. PCIe functions
 * only.
 */
void pci_wait_for_pending_transaction(const struct pci_dev *dev);

/* --- msi.c, msix.c --- */

/*
 * Programs and enables message-signalled interrupts in Linux's order (msi_capability_init, msix_capability_init), INTx disabled.
 * Unlike there the handlers are in place already, so that the vectors in use are unmasked when this returns. ERR_ABSENT without the
 * capability; ERR_RANGE when the function has fewer vectors, or the message does not fit its address width.
 *
 * MSI has one message; a function that was granted count vectors, a power of two, puts the vector's number in the low bits of Data
 * (PCIe 7.7.1.4), which have to be 0 in message.
 */
enum status pci_enable_msi(struct pci_dev *dev, struct msi_message message, unsigned int count);

/* How many vectors a function has; 0 without the capability. */
unsigned int pci_msi_vec_count(const struct pci_dev *dev);
unsigned int pci_msix_vec_count(const struct pci_dev *dev);
enum status pci_enable_msix(struct pci_dev *dev, const struct msi_message *messages, unsigned int count);

/*
 * What d52877c7b1af called at shutdown: off, and INTx enabled again. Nothing when it is not on. pci_msix_shutdown masks the entries
 * that this kernel programmed first. MSI's per-vector mask bits stay as they are, which Linux clears; with MSI off they have no
 * effect.
 */
void pci_msi_shutdown(struct pci_dev *dev);
void pci_msix_shutdown(struct pci_dev *dev);

/* What d5dea7d95c48 does when a kernel meets a function: the enable bit off, and nothing else. */
void pci_msi_init(struct pci_dev *dev);
void pci_msix_init(struct pci_dev *dev);

/*
 * Off, and masked as far as the function can be: each vector of MSI where the capability has mask bits, MSI-X as a whole. So what
 * the previous kernel programmed is not sent either when a driver sets the enable bit alone.
 */
void pci_msi_mask(struct pci_dev *dev);
void pci_msix_mask(struct pci_dev *dev);

/* --- policy.c --- */

/* A policy: what a kernel does to one function, going out or coming in. */
struct pci_policy {
	const char *name;
	void (*apply)(struct pci_dev *dev);
	bool clears_master; /* of every function that it is applied to; else the next kernel may inherit it on */
};

/*
 * The policies of a room are the rows of one list, `#define ROOM_POLICIES(row) row(...) row(...)`: it declares each, counts them,
 * and fills their table, which ends with NULL.
 */
#define PCI_POLICY_DECLARE(policy) extern const struct pci_policy policy;
#define PCI_POLICY_NUMBER(policy)  policy##_number,
#define PCI_POLICY_ADDRESS(policy) &(policy),

const struct pci_policy *pci_policy_named(const struct pci_policy *const *table, const char *name); /* NULL where there is none */

void pci_driver_shutdown(struct pci_dev *dev); /* the driver's callback, where it has one */
void pci_driver_reset(struct pci_dev *dev);    /* the driver's reset; the driver logs a failure */

/* Enumeration stores each bridge before what is below it, so forward is parents first and backward children first. */
void pci_apply_forward(struct pci *pci, const struct pci_policy *policy);
void pci_apply_backward(struct pci *pci, const struct pci_policy *policy);

#endif
