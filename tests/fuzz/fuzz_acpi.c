/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: whatever is in memory where the RSDP should be, acpi_read reads no byte that it has not mapped, and ends; each ECAM that
 * it reports is a range of buses at a whole MiB. Could be false: tables point to tables by address, and each has its own length:
 * MCFG with wrong bounds, a FADT that is cut, an XSDT that points to itself. Provoked: any bytes as memory, poisoned until they are
 * mapped; what is outside cannot be mapped. Where the input requests it, a checksum is corrected as its table is mapped. The input:
 * whether it requests that (1 byte), where the RSDP is (2), then memory.
 */
#include "boot/acpi.h"
#include "tests/fuzz/fuzz.h"

#include <sanitizer/asan_interface.h>

#define SIZE 4096UL

/* ACPI 6.4: 5.2.5.3 and 5.2.6. */
#define RSDP_V1_SIZE	  20
#define RSDP_V1_CHECKSUM  8
#define RSDP_SIZE	  36
#define RSDP_CHECKSUM	  32
#define TABLE_HEADER_SIZE 36
#define TABLE_CHECKSUM	  9

static u8 *memory;
static u64 rsdp;
static bool mends;

static void mend(u64 address, u64 size, u64 checksum)
{
	u8 *table = (u8 *)address, sum = 0;

	for (u64 i = 0; i < size; i++)
		sum = (u8)(sum + table[i]);
	table[checksum] = (u8)(table[checksum] - sum);
}

static enum status map(u64 address, u64 size)
{
	REQUIRE(size);
	if (address < FUZZ_ARENA || address - FUZZ_ARENA > SIZE || size > SIZE - (address - FUZZ_ARENA))
		return ERR_RANGE;
	ASAN_UNPOISON_MEMORY_REGION((void *)address, size);
	if (mends && address == rsdp) {
		mend(address, RSDP_V1_SIZE, RSDP_V1_CHECKSUM);
		mend(address, RSDP_SIZE, RSDP_CHECKSUM);
	} else if (mends && size > TABLE_HEADER_SIZE) {
		mend(address, size, TABLE_CHECKSUM);
	}
	return OK;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	struct acpi acpi;

	if (!memory)
		memory = fuzz_arena(SIZE);
	mends = input_take(&in, 1) & 1;
	rsdp = input_take(&in, 2);
	if (rsdp)
		rsdp += FUZZ_ARENA - 1;
	ASAN_UNPOISON_MEMORY_REGION(memory, SIZE);
	memset(memory, 0, SIZE);
	if (in.left)
		memcpy(memory, in.at, MIN(in.left, SIZE));
	ASAN_POISON_MEMORY_REGION(memory, SIZE);

	fuzz_log_start();
	acpi_read(&acpi, rsdp, map);
	REQUIRE(acpi.ecam_count <= ACPI_ECAM_MAX);
	for (unsigned int i = 0; i < acpi.ecam_count; i++) {
		const struct acpi_ecam *e = &acpi.ecam[i];

		REQUIRE(e->base && e->base % MIB == 0 && e->first_bus <= e->last_bus);
	}
	return 0;
}
