/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * C5: the MSI handler and the INTx handler of one device run at the same time.
 *
 * The device's messages are sent to the second CPU, and its line interrupts the first through the 8259. The device has an event,
 * and while the second CPU is in the handler it has another: by then MSI is disabled (lab.disable-msi), as by a kernel's core
 * without the driver's knowledge. With lab.flush the driver had waited for its handler before. The second CPU takes that message
 * and no other interrupt.
 *
 * The claim fails if the second event's handler does not begin before the first one's has returned. At the point "handlers" the
 * harness reads which vector is in service in the local APIC, and which line in the 8259; c05_two_cpus.py judges.
 */
#include "boot/paging.h"
#include "boot/start.h"
#include "drivers/edu/registers.h"
#include "irq/lapic.h"
#include "lib/string.h"
#include "lib/time.h"
#include "lib/x86.h"
#include "tests/claims/lab.h"

/* Intel SDM Vol. 3, 10.6.1, and how a CPU is woken: 8.4.4.1. */
#define LAPIC_SPIV	  0x0f0
#define LAPIC_SPIV_ENABLE 0x100
#define LAPIC_ICR	  0x300
#define ICR_INIT	  0x000c4500 /* to all but this CPU */
#define ICR_STARTUP	  0x000c4600 /* vector: the number of the page */
#define INIT_US		  10000
#define STARTUPS	  2
#define STARTUP_US	  200

#define SETTLE_US	  1000
#define WAIT_US		  1000000

/* While the harness looks. Not by the clock, which belongs to the first CPU (lib/time.c). */
#define HANDLER_SPINS 1000000000

/* Any two bits (docs/specs/edu.txt of QEMU). */
#define FIRST_EVENT  0x1
#define SECOND_EVENT 0x2

struct table_register {
	u16 limit;
	u64 base;
} __attribute__((packed));

/* c05_trampoline.S */
struct parameters {
	u64 cr3;
	u64 stack;
	u64 main;
	struct table_register gdtr;
	struct table_register idtr;
	u32 far;
	u16 selector;
} __attribute__((packed));
extern const u8 trampoline[], trampoline_parameters[], trampoline_end[];

static struct kernel kernel;
static struct lab_edu edu;
static u8 second_stack[4 * PAGE_SIZE] __attribute__((aligned(16)));
static struct msi_message message; /* to the second CPU */
static u8 vector;

static volatile bool ready;	 /* the second CPU is */
static volatile bool in_handler; /* the second CPU is */
static volatile bool seen;	 /* the harness has looked */
static volatile u32 messages;	 /* served */
static volatile u32 lines;

static void await(const volatile bool *what, bool state, const char *failure)
{
	struct deadline deadline = deadline_after_us(WAIT_US);

	while (*what != state) {
		if (deadline_passed(&deadline))
			lab_fail(failure);
	}
}

/* --- one driver, two handlers --- */

static void acknowledge(u32 status)
{
	lab_edu_write(&edu, EDU_IRQ_ACK, status);
}

static bool take_message(void *context)
{
	u32 status = lab_edu_read(&edu, EDU_IRQ_STATUS);

	(void)context;
	in_handler = true;
	for (u32 n = 0; !seen && n < HANDLER_SPINS; n++)
		x86_relax();
	acknowledge(status);
	messages++;
	in_handler = false;
	return true;
}

static void look(void)
{
	lab_point("handlers", 0);
	seen = true;
}

static bool take_line(void *context)
{
	u32 status = lab_edu_read(&edu, EDU_IRQ_STATUS);

	(void)context;
	look();
	acknowledge(status);
	lines++;
	return true;
}

/* --- the second CPU --- */

/* QEMU's TCG has no x2APIC. */
static void write_lapic(u32 reg, u32 value)
{
	*(volatile u32 *)(uintptr_t)((x86_rdmsr(MSR_APIC_BASE) & ~(PAGE_SIZE - 1UL)) + reg) = value;
}

static _Noreturn void second_cpu(void)
{
	write_lapic(LAPIC_SPIV, LAPIC_SPIV_ENABLE | LAPIC_VECTOR_SPURIOUS);
	if (lapic_msi_message(vector, &message) != OK)
		x86_halt();
	ready = true;
	x86_irq_enable();
	for (;;)
		x86_relax();
}

static void start_second_cpu(void)
{
	size_t size = (size_t)(trampoline_end - trampoline);
	struct parameters *params;
	u64 page;

	if (memmap_take(&kernel.memmap, PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, MIB, MEM_USED, &page) != OK ||
	    paging_map(page, PAGE_SIZE, PAGING_CACHED) != OK)
		lab_fail("no page below 1 MiB");
	memcpy((void *)(uintptr_t)page, trampoline, size);
	params = (struct parameters *)(uintptr_t)(page + (u64)(trampoline_parameters - trampoline));
	__asm__("mov %%cr3, %0" : "=r"(params->cr3));
	__asm__("sgdt %0" : "=m"(params->gdtr));
	__asm__("sidt %0" : "=m"(params->idtr));
	params->stack = (u64)(uintptr_t)(second_stack + sizeof(second_stack));
	params->main = (u64)(uintptr_t)second_cpu;
	params->far += (u32)page;

	write_lapic(LAPIC_ICR, ICR_INIT);
	lab_wait_us(INIT_US);
	for (unsigned int i = 0; i < STARTUPS; i++) {
		write_lapic(LAPIC_ICR, ICR_STARTUP | (u32)(page / PAGE_SIZE));
		lab_wait_us(STARTUP_US);
	}
	await(&ready, true, "no second CPU");
}

/* --- what happens --- */

static void bring_up(void)
{
	struct driver_irq line;

	lab_edu_open(&edu, lab_device(&kernel, "edu", 0));
	vector = lab_vector(take_message, NULL);
	if (driver_request_intx(edu.dev, take_line, NULL, &line) != OK)
		lab_fail("no interrupt");
	start_second_cpu();
	pci_set_master(edu.dev);
	if (pci_enable_msi(edu.dev, message, 1) != OK)
		lab_fail("no MSI");
}

_Noreturn void image_main(const struct boot_params *params)
{
	struct deadline deadline;

	lab_start(&kernel, "c05", "", params);
	bring_up();
	lab_point("ready", 0);
	lab_edu_write(&edu, EDU_IRQ_RAISE, FIRST_EVENT);
	await(&in_handler, true, "no message");
	if (lab_has(&kernel, "lab.flush")) {
		seen = true;
		await(&in_handler, false, "the handler does not return");
	}
	if (lab_has(&kernel, "lab.disable-msi"))
		pci_msi_shutdown(edu.dev);
	lab_edu_write(&edu, EDU_IRQ_RAISE, SECOND_EVENT);
	lab_wait_us(SETTLE_US); /* the line interrupts, if anything does */
	if (!lines)
		look();
	deadline = deadline_after_us(WAIT_US); /* the harness sees what does not come */
	while (messages + lines < 2 && !deadline_passed(&deadline))
		;
	lab_point("end", 0);
	kernel_exit(&kernel);
}
