/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq/idt.h"

#include "irq/vector.h"

/* Intel SDM Vol. 3, 6.14.1. */
struct gate {
	u16 offset_low;
	u16 selector;
	u8 ist;
	u8 type;
	u16 offset_mid;
	u32 offset_high;
	u32 reserved;
};
_Static_assert(sizeof(struct gate) == 16, "64-bit gate");

#define CODE_SELECTOR  0x10 /* the boot protocol's, and our GDT's */
#define GATE_INTERRUPT 0x8e /* present, ring 0, clears IF */
#define STUB_SIZE      5    /* a call, see entry.S */
#define EXCEPTIONS     32

extern const u8 trap_stubs[];

static struct gate idt[256];

void idt_init(void)
{
	/* Even address, for the relocation of base (boot/header.S): clang makes this a constant. */
	const struct {
		u16 limit;
		u64 base;
	} __attribute__((packed, aligned(2))) idtr = { sizeof(idt) - 1, (u64)(uintptr_t)idt };

	for (unsigned int i = 0; i < ARRAY_SIZE(idt); i++) {
		u64 stub = (u64)(uintptr_t)trap_stubs + i * STUB_SIZE;

		idt[i] = (struct gate){ .offset_low = (u16)stub,
					.selector = CODE_SELECTOR,
					.type = GATE_INTERRUPT,
					.offset_mid = (u16)(stub >> 16),
					.offset_high = (u32)(stub >> 32) };
	}
	__asm__ volatile("lidt %0" : : "m"(idtr));
}

void trap_dispatch(const struct trap_frame *frame)
{
	if (frame->vector < EXCEPTIONS)
		fault_die(frame);
	vector_dispatch((u8)frame->vector);
}
