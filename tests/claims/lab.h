/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_CLAIMS_LAB_H
#define TESTS_CLAIMS_LAB_H

#include "images/kernel.h"

/*
 * What the images of the experiments share. Each is a composition root as images/first.c is, and may misbehave on purpose: the
 * rooms never do.
 *
 * An experiment does not depend on timing. The image reports where it is, and continues when the harness has done its part there.
 * What an image reports is never evidence: the trace and RAM are.
 */

/* A kernel with its devices found and none of them touched: kernel_start and kernel_find_devices, and the link to the harness. */
void lab_start(struct kernel *kernel, const char *name, const char *default_next, const struct boot_params *params);

/* Whether the command line has this option, such as "lab.master=off". They select the variant of an experiment. */
bool lab_has(const struct kernel *kernel, const char *option);

/*
 * Sends "<name> <value in hex>\n" to the harness by COM2, and waits for one byte from it. The machine runs meanwhile, so that QEMU
 * does not drain block I/O, as it does whenever it stops. value: what the harness needs there, such as an address; else 0.
 */
void lab_point(const char *name, u64 value);

/*
 * The same without waiting: a name for a place in the trace. The machine's clock runs on while an image waits at a point.
 */
void lab_mark(const char *name, u64 value);

/* The n-th function, from 0, that this driver matches. Ends the run as an error where there is none. */
struct pci_dev *lab_device(struct kernel *kernel, const char *driver, unsigned int n);

/*
 * The one that the command line names, by its driver: "lab.edu", and of several the second "lab.virtio-blk.1". Errors end the run.
 */
struct pci_dev *lab_chosen(struct kernel *kernel);

/*
 * Reset, bus master, probe: a device with its driver. _work: and its work, so that its interrupts are set up. Errors end the run.
 */
void lab_probe(struct kernel *kernel, struct pci_dev *dev);
void lab_work(struct kernel *kernel, struct pci_dev *dev);

/* DMA memory below 4 GiB, aligned to a page, apart from that of the drivers. Errors end the run. */
void *lab_dma(struct kernel *kernel, u64 size);

/* Waits in the machine's own time. */
void lab_wait_us(u64 us);

/* Ends the run as an error: the experiment could not be set up. */
_Noreturn void lab_fail(const char *what);

/* A vector of its own for one message. Errors end the run. */
u8 lab_vector(irq_handler handler, void *context);

/* edu, register by register: it does what its registers say, whatever its configuration space holds. */
struct lab_edu {
	struct pci_dev *dev;
	u64 bar;
	u8 vector;
};
void lab_edu_open(struct lab_edu *edu, struct pci_dev *dev); /* mapped, idle; bus master as it was */
u32 lab_edu_read(const struct lab_edu *edu, u32 reg);
void lab_edu_write(const struct lab_edu *edu, u32 reg, u32 value);
void lab_edu_enable_msi(struct lab_edu *edu, irq_handler handler, void *context); /* a vector of its own, to this CPU */
void lab_edu_start_dma(const struct lab_edu *edu, const void *target, u32 size);  /* from its buffer into RAM, with an interrupt */

#endif
