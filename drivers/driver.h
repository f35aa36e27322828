/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DRIVERS_DRIVER_H
#define DRIVERS_DRIVER_H

#include "irq/vector.h"
#include "lib/arena.h"
#include "pci/dev.h"

/* What drivers are given at probe. Both arenas outlive the drivers. */
struct driver_env {
	struct arena *heap;
	struct arena *dma; /* devices may access it; it stays reserved under the next kernel until the devices have been reset */
};

/*
 * A pci_driver, and what this project requires of a device in addition: real work that shows that it functions, and work that is
 * left in flight at the handoff. reset and probe return ERR_ABSENT, after one line, for a device that they cannot drive: that is a
 * result, not a failure.
 */
struct driver {
	struct pci_driver pci;
	u64 dma; /* bytes that each of its devices allocates from driver_env.dma, at most */
	/* Real I/O with completion by interrupt, each counted and compared; logs one line. write: may change a disk. */
	enum status (*work)(struct pci_dev *dev, bool write);
	/* Waits for what work began, then logs the line, so that other devices need not wait; NULL where work is all. */
	enum status (*finish)(struct pci_dev *dev);
	/* Starts requests and does not wait for them. The same under every policy. NULL where nothing can be left in flight. */
	enum status (*arm)(struct pci_dev *dev);
	/* Requests that have not completed: started by arm, or waiting as empty receive buffers do. Required if arm is set. */
	unsigned int (*in_flight)(const struct pci_dev *dev);
};

/* Every driver, in the order in which a kernel brings devices up; NULL at the end. */
extern const struct driver *const drivers[];

static inline const struct driver *driver_of(const struct pci_dev *dev)
{
	return (const struct driver *)dev->driver; /* pci is its first member */
}

/* A line about a device, in its driver's name: 0000:00:03.0 edu: <text> */
void driver_line(const struct pci_dev *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What a driver's reset returns for a device whose registers read all ones: ERR_ABSENT, after one line. */
enum status driver_gone(const struct pci_dev *dev);

/* A register, and what to wait for. */
struct driver_poll {
	u32 (*read)(const struct pci_dev *dev, u64 address); /* such as pci_mem_read32 */
	u64 address;
	u32 mask;
	u32 want;   /* of the bits in mask */
	u32 failed; /* bits that mean failure */
	u64 bound_us;
};

/*
 * Reads a register until the bits in mask are as wanted, and none in failed is set. ERR_TIMEOUT when the bound has passed, or at
 * once where one in failed is set or the device does not respond (all ones). One line then, whose text is expired, with the bound
 * in ms (%lu) and the value that was read last (%x).
 */
enum status driver_poll(const struct pci_dev *dev, const char *expired, const struct driver_poll *poll);
/* The same for the usual case: 32 bits in a BAR, none of which means failure. */
enum status driver_poll32(const struct pci_dev *dev, const char *expired, u64 address, u32 mask, u32 want, u64 bound_us);

/* Waits for *count to reach want, by interrupt. ERR_TIMEOUT after one line with what was awaited and the count. */
enum status driver_await(const struct pci_dev *dev, const char *what, const volatile u32 *count, u32 want, u64 bound_us);

/* How a function interrupts. */
struct driver_irq {
	const char *kind; /* MSI-X, MSI or INTx */
	bool message;	  /* MSI or MSI-X; else a line, which may be shared */
	u8 number;	  /* of the first vector, or of the 8259's line */
};

/* For the log: "MSI-X vector 0x40" or "INTx irq 0x0b". */
#define DRIVER_IRQ_FMT	     "%s %s 0x%02x"
#define DRIVER_IRQ_ARGS(irq) (irq)->kind, (irq)->message ? "vector" : "irq", (irq)->number

/* Routes INTx of a function to a handler. ERR_ABSENT, after one line, where firmware routed it to no line. */
enum status driver_request_intx(const struct pci_dev *dev, irq_handler handler, void *context, struct driver_irq *irq);

/* The most vectors that driver_request_messages uses of a function. */
#define DRIVER_VECTORS_MAX 2

/*
 * Routes the first count messages of a function, a power of two, to a handler each, by MSI-X where it has that, else by MSI; their
 * vectors are consecutive. All of irq but its number is valid before the first can come. Errors are those of vector_alloc,
 * lapic_msi_message, pci_enable_msix and pci_enable_msi.
 */
enum status driver_request_messages(struct pci_dev *dev, const irq_handler *handlers, unsigned int count, void *context,
				    struct driver_irq *irq);

/*
 * Whatever a function has, to one handler: a message by MSI-X, else by MSI; else INTx, enabled. Errors are those of the two above.
 */
enum status driver_connect(struct pci_dev *dev, irq_handler handler, void *context, struct driver_irq *irq);

#endif
