/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/paging.h"

#include "lib/log.h"
#include "lib/x86.h"

/* Intel SDM Vol. 3, 4.5. */
#define PTE_PRESENT  0x001UL
#define PTE_WRITABLE 0x002UL
#define PTE_PWT	     0x008UL
#define PTE_PCD	     0x010UL
#define PTE_LARGE    0x080UL
#define PTE_ADDRESS  0x000ffffffffff000UL
#define LARGE_PAGE   (2 * MIB)
#define ADDRESS_BITS 47 /* the canonical lower half, in which identity is possible */

/* SDM Vol. 2, CPUID: EAX 7..0 is the width of a physical address. An entry with bits beyond faults when it is used. */
#define CPUID_WIDTHS 0x80000008
#define WIDTH_MASK   0xff

/* Two tables lead to the first GiB; each further GiB that is touched takes one, each further 512 GiB one more. */
#define TABLES 48

static u64 tables[TABLES][512] __attribute__((aligned(4096)));
static unsigned int tables_used;
static u64 *pml4;
static u32 address_bits;

static u64 *new_table(void)
{
	return tables_used < TABLES ? tables[tables_used++] : NULL;
}

static u64 *descend(u64 *table, u64 index)
{
	if (!(table[index] & PTE_PRESENT)) {
		u64 *next = new_table();

		if (!next)
			return NULL;
		table[index] = (u64)(uintptr_t)next | PTE_PRESENT | PTE_WRITABLE;
	}
	return (u64 *)(uintptr_t)(table[index] & PTE_ADDRESS);
}

enum status paging_map(u64 start, u64 size, enum paging_cache cache)
{
	u64 flags = PTE_PRESENT | PTE_WRITABLE | PTE_LARGE | (cache == PAGING_UNCACHED ? PTE_PCD | PTE_PWT : 0);

	if (!size || start + size - 1 < start || (start + size - 1) >> address_bits) {
		log_line("paging: 0x%lx + 0x%lx is outside %u bits", start, size, address_bits);
		return ERR_RANGE;
	}
	for (u64 at = start & ~(LARGE_PAGE - 1); at < start + size; at += LARGE_PAGE) {
		u64 *pdpt = descend(pml4, at >> 39 & 511);
		u64 *pd = pdpt ? descend(pdpt, at >> 30 & 511) : NULL;

		if (!pd) {
			log_line("paging: no table left for 0x%lx", at);
			return ERR_RANGE;
		}
		/* Not-present entries are not cached, so a new one needs no flush (SDM Vol. 3, 4.10.2.3). */
		if (!(pd[at >> 21 & 511] & PTE_PRESENT))
			pd[at >> 21 & 511] = at | flags;
	}
	return OK;
}

enum status paging_init(u64 start, u64 size)
{
	enum status s;
	u64 *root;

	pml4 = new_table();
	address_bits = MIN(x86_cpuid(CPUID_WIDTHS).eax & WIDTH_MASK, ADDRESS_BITS);
	s = paging_map(start, size, PAGING_CACHED);
	if (s != OK)
		return s;
	root = pml4;
	if (x86_la57()) {
		/* Leaving 5-level paging would mean leaving long mode; one table more on top is all that it takes to stay. */
		root = new_table();
		root[0] = (u64)(uintptr_t)pml4 | PTE_PRESENT | PTE_WRITABLE;
	}
	__asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory");
	return OK;
}
