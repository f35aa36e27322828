/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BOOT_ACPI_H
#define BOOT_ACPI_H

#include "lib/status.h"
#include "lib/types.h"

/* What is read from ACPI: where ECAM is, and where the PM timer is; each table only after its checksum. */

/* An entry of MCFG (PCI Firmware Specification 3.2, 4.1.2): configuration space of a range of buses, 1 MiB a bus. */
struct acpi_ecam {
	u64 base; /* of bus 0, also where first_bus is not 0 */
	u16 segment;
	u8 first_bus;
	u8 last_bus;
};
#define ACPI_ECAM_MAX 8

struct acpi {
	struct acpi_ecam ecam[ACPI_ECAM_MAX];
	unsigned int ecam_count; /* 0: no MCFG, configuration goes through CF8/CFC */
	u16 pm_timer_port;	 /* 0: no FADT */
};

/* Makes physical memory readable at its own address before a table there is read. */
typedef enum status (*acpi_map)(u64 address, u64 size);

/*
 * Reads the tables that the RSDP points to. A missing or broken table counts as absent, with one line in the log for a broken one:
 * no table is required. rsdp 0: there is none.
 */
void acpi_read(struct acpi *acpi, u64 rsdp, acpi_map map);

#endif
