/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/acpi.h"

#include "lib/log.h"
#include "lib/string.h"

/* ACPI 6.4: 5.2.5.3 RSDP, 5.2.6 table header, 5.2.8 XSDT, 5.2.9 FADT. */
struct rsdp {
	char signature[8];
	u8 checksum; /* of the first 20 bytes */
	char oem_id[6];
	u8 revision;
	u32 rsdt;
	u32 length;
	u64 xsdt;
	u8 extended_checksum;
	u8 reserved[3];
} __attribute__((packed));

struct header {
	char signature[4];
	u32 length;
	u8 revision;
	u8 checksum;
	char oem_id[6];
	char oem_table_id[8];
	u32 oem_revision;
	u32 creator_id;
	u32 creator_revision;
} __attribute__((packed));

#define RSDP_V1_SIZE 20

/* FADT: PM_TMR_BLK is an I/O port unless X_PM_TMR_BLK says otherwise; QEMU and PCs use ports. */
#define FADT_PM_TMR_BLK	  76
#define FADT_PM_TMR_LEN	  91
#define FADT_X_PM_TMR_BLK 208
#define GAS_SYSTEM_IO	  1

#define FADT_FLAGS	  112
#define FADT_HW_REDUCED	  (1U << 20) /* there is no fixed hardware */

/* A longer table is not plausible; to read it could reach device registers. */
#define TABLE_MAX    (16 * MIB)

#define MCFG_ENTRIES 44

_Static_assert(sizeof(struct rsdp) == 36, "ACPI 6.4, 5.2.5.3");
_Static_assert(sizeof(struct header) == 36, "ACPI 6.4, 5.2.6");

static bool sums_to_zero(const void *data, size_t size)
{
	const u8 *p = data;
	u8 sum = 0;

	while (size--)
		sum = (u8)(sum + *p++);
	return !sum;
}

static bool is_text(const char signature[4])
{
	for (int i = 0; i < 4; i++)
		if (signature[i] < ' ' || signature[i] > '~')
			return false;
	return true;
}

static const struct header *table_at(u64 address, acpi_map map)
{
	const struct header *t = (const void *)(uintptr_t)address;

	if (!address || map(address, sizeof(*t)) != OK)
		return NULL;
	if (t->length < sizeof(*t) || t->length > TABLE_MAX || map(address, t->length) != OK || !sums_to_zero(t, t->length)) {
		log_line("ACPI: table %.4s at 0x%lx: bad length or checksum, ignored",
			 is_text(t->signature) ? t->signature : "????", address);
		return NULL;
	}
	return t;
}

static void read_mcfg(struct acpi *acpi, const struct header *t)
{
	/* An entry: base address (8), segment group (2), first and last bus (1 + 1), reserved (4). */
	for (u32 at = MCFG_ENTRIES; at + 16 <= t->length; at += 16) {
		const u8 *p = (const u8 *)t + at;
		struct acpi_ecam e = { .first_bus = p[10], .last_bus = p[11] };

		memcpy(&e.base, p, sizeof(e.base));
		memcpy(&e.segment, p + 8, sizeof(e.segment));
		if (!e.base || e.base & (MIB - 1) || e.first_bus > e.last_bus || acpi->ecam_count == ACPI_ECAM_MAX) {
			log_line("ACPI: MCFG entry base 0x%lx buses %02x-%02x ignored", e.base, e.first_bus, e.last_bus);
			continue;
		}
		acpi->ecam[acpi->ecam_count++] = e;
	}
}

static void read_fadt(struct acpi *acpi, const struct header *t)
{
	const u8 *p = (const u8 *)t;
	u32 port = 0, flags = 0;
	u64 extended = 0;

	if (t->length >= FADT_FLAGS + 4)
		memcpy(&flags, p + FADT_FLAGS, sizeof(flags));
	if (flags & FADT_HW_REDUCED)
		return;
	if (t->length > FADT_PM_TMR_LEN && p[FADT_PM_TMR_LEN] == 4)
		memcpy(&port, p + FADT_PM_TMR_BLK, sizeof(port));
	if (t->length >= FADT_X_PM_TMR_BLK + 12 && p[FADT_X_PM_TMR_BLK] == GAS_SYSTEM_IO)
		memcpy(&extended, p + FADT_X_PM_TMR_BLK + 4, sizeof(extended));
	acpi->pm_timer_port = (u16)(extended ? extended : port);
}

void acpi_read(struct acpi *acpi, u64 rsdp_address, acpi_map map)
{
	const struct rsdp *rsdp = (const void *)(uintptr_t)rsdp_address;
	const struct header *root;
	size_t entry_size;
	bool v2;

	memset(acpi, 0, sizeof(*acpi));
	if (!rsdp_address || map(rsdp_address, sizeof(*rsdp)) != OK)
		return;
	/* Since revision 2 a second checksum covers the whole, with the XSDT's address. */
	if (memcmp(rsdp->signature, "RSD PTR ", 8) || !sums_to_zero(rsdp, RSDP_V1_SIZE) ||
	    (rsdp->revision >= 2 && !sums_to_zero(rsdp, sizeof(*rsdp)))) {
		log_line("ACPI: no RSDP at 0x%lx", rsdp_address);
		return;
	}
	v2 = rsdp->revision >= 2 && rsdp->xsdt;
	entry_size = v2 ? 8 : 4;
	root = table_at(v2 ? rsdp->xsdt : rsdp->rsdt, map);
	if (!root)
		return;
	for (size_t at = sizeof(*root); at + entry_size <= root->length; at += entry_size) {
		const struct header *t;
		u64 address = 0;

		memcpy(&address, (const u8 *)root + at, entry_size);
		t = table_at(address, map);
		if (t && !memcmp(t->signature, "MCFG", 4))
			read_mcfg(acpi, t);
		else if (t && !memcmp(t->signature, "FACP", 4))
			read_fadt(acpi, t);
	}
}
