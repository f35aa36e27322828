/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq/idt.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/qemu.h"
#include "lib/x86.h"

#define STACK_DEPTH 16

static struct {
	u64 start;
	u64 size;
} image;

void fault_init(u64 image_start, u64 image_size)
{
	image.start = image_start;
	image.size = image_size;
}

static bool inside_image(u64 address)
{
	return address - image.start < image.size;
}

/* One line "STACK: addr addr ...": tools/stack turns it into functions and lines. */
static void print_stack(const struct trap_frame *frame)
{
	char line[LOG_LINE_MAX];
	size_t n = format(line, sizeof(line), "0x%lx", frame->rip);
	u64 rbp = frame->rbp;

	for (int depth = 0; depth < STACK_DEPTH && inside_image(rbp) && !(rbp & 7) && n < sizeof(line); depth++) {
		const u64 *link = (const u64 *)(uintptr_t)rbp; /* saved rbp, return address */

		n += format(line + n, sizeof(line) - n, " 0x%lx", link[1]);
		rbp = link[0];
	}
	log_line("STACK: %s", line);
}

_Noreturn void fault_die(const struct trap_frame *frame)
{
	static bool again;
	u64 cr2;

	if (again)
		x86_halt(); /* the fault was in this function */
	again = true;
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	log_release();
	log_line("FAULT vector %lu error 0x%lx rip 0x%lx (image + 0x%lx) cr2 0x%lx rsp 0x%lx rflags 0x%lx", frame->vector,
		 frame->error, frame->rip, frame->rip - image.start, cr2, frame->rsp, frame->rflags);
	print_stack(frame);
	if (qemu_present())
		x86_outl(QEMU_EXIT_PORT, QEMU_EXIT_ERROR);
	x86_halt();
}
