/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IMAGES_KERNEL_H
#define IMAGES_KERNEL_H

#include "boot/acpi.h"
#include "boot/chain.h"
#include "boot/memmap.h"
#include "boot/options.h"
#include "drivers/driver.h"
#include "pci/dev.h"

/*
 * What first and second have in common: a kernel that is entered by the boot protocol, drives PCI devices, and hands them over.
 * images/first.c and images/second.c call these functions in order; each logs what it found and did.
 */
struct kernel {
	const char *name;
	const struct boot_params *params;
	bool in_qemu;
	bool interrupts;		/* there is a local APIC to deliver them */
	const struct predecessor *from; /* what handed over to us; NULL: firmware, or an image whose policy keeps bus master */
	bool failed;			/* a device or an image failed: so does the run */

	struct options {
		char shutdown[OPTIONS_VALUE_MAX + 1];
		char startup[OPTIONS_VALUE_MAX + 1];
		char next[OPTIONS_VALUE_MAX + 1];
		char scope[OPTIONS_VALUE_MAX + 1];
		char allow[OPTIONS_VALUE_MAX + 1];
	} options;
	const char *cmdline;
	const struct pci_policy *shutdown;
	const struct pci_policy *startup;

	struct memmap memmap;
	struct acpi acpi;
	struct arena heap;
	struct arena dma;

	struct pci_access access[ACPI_ECAM_MAX];
	unsigned int accesses;
	struct pci pci;

	struct chain chain;
};

/*
 * Console, IDT, options, memory map, ACPI, time, local APIC and 8259. default_next: handoff.next where the command line has none.
 * Does not return when it cannot continue, such as for an unknown option.
 */
void kernel_start(struct kernel *kernel, const char *name, const char *default_next, const struct boot_params *params);

/* Enumerates, binds drivers, and logs the state that was inherited: bus master, MSI, MSI-X, INTx. Writes nothing to any of them. */
void kernel_find_devices(struct kernel *kernel);

/* The policy on the way in, on every function, before any driver. */
void kernel_startup(struct kernel *kernel);

/* Per device: reset, bus master (upstream first), probe, real work. write: disks may be written where that is safe. */
void kernel_drive(struct kernel *kernel, bool write);

/*
 * Takes the head of handoff.next, checks that image completely and makes it ready to be placed; no device is touched. False when
 * the list is empty, or when the image is refused: the kernel continues.
 */
bool kernel_prepare_next(struct kernel *kernel);

/* Leaves work in flight on every device that can: the same load under every policy. */
void kernel_arm(struct kernel *kernel);

/* The point of no return: the policy on the way out, children first; then interrupts, local APIC and 8259 are off. */
void kernel_shutdown(struct kernel *kernel);

/* Places the image, verifies what was placed, and enters it. */
_Noreturn void kernel_jump(struct kernel *kernel);

/* The end of the chain: the verdict as the log's last line, then exit. */
_Noreturn void kernel_exit(struct kernel *kernel);

#endif
