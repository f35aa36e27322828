/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L3: a message that the local APIC has accepted is delivered to the next kernel, whatever became of its sender.
 *
 * The image is that next kernel, and enables interrupts as if no kernel had run before it: on purpose without
 * irq/lapic.c:lapic_drain. It neither touches nor enumerates functions. It has a handler for the first vector that is allocated, as
 * a driver would.
 *
 * The limit does not exist if that handler does not run when interrupts are enabled. l03_stale_message.py judges, by QEMU's log of
 * the CPU's interrupts and by the handler's count in RAM.
 */
#include "boot/acpi.h"
#include "boot/paging.h"
#include "boot/start.h"
#include "irq/i8259.h"
#include "irq/idt.h"
#include "irq/lapic.h"
#include "lib/console.h"
#include "lib/log.h"
#include "lib/time.h"
#include "lib/x86.h"
#include "tests/claims/lab.h"

static volatile u32 taken;

static enum status map_ram(u64 start, u64 size)
{
	return paging_map(start, size, PAGING_CACHED);
}

static enum status map_mmio(u64 start, u64 size)
{
	return paging_map(start, size, PAGING_UNCACHED);
}

static bool serve(void *context)
{
	(void)context;
	taken++;
	lab_point("taken", 0);
	return true;
}

_Noreturn void image_main(const struct boot_params *params)
{
	static struct kernel kernel = { .in_qemu = true };
	static struct log_ram log;
	struct boot_extent image = boot_image_extent();
	struct acpi acpi;

	idt_init();
	fault_init(image.start, image.size);
	console_init(true);
	log_init("in_undrained", console_write, &log);
	acpi_read(&acpi, params->acpi_rsdp_addr, map_ram);
	time_init(acpi.pm_timer_port);
	i8259_mask_all();
	if (lapic_init(map_mmio) != OK)
		lab_fail("no interrupts");
	lab_vector(serve, NULL);
	lab_point("entered", 0);
	x86_irq_enable();
	lab_point("enabled", (u64)(uintptr_t)&taken);
	kernel_exit(&kernel);
}
