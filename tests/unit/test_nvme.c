/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a controller sees ENABLE cleared before its queues' addresses change, and set only when they and its interrupt are in
 * place; neither while the transition to the other may not be complete (CSTS.RDY), for as long as CAP.TO allows; no doorbell before
 * it is ready; each completion acknowledged once. The driver accepts a page only by the vendor in it and a completion only where a
 * command was submitted, and leaves one request in flight when armed. Could be false: new entries of the completion queue differ
 * from old ones by a bit that inverts on each pass; the controller defines the doorbells' stride; a controller may never be ready,
 * complete with an error, return nothing, or complete what was not submitted. Provoked: a model of NVMe 2.0 that fails the test at
 * what is undefined there, with one fault at a time. Failure: what the model refuses, a wrong status, a controller that is enabled
 * all the same, or a line that does not say what happened.
 */
#include "drivers/nvme/nvme.h"
#include "irq/i8259.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#define BDF	 PCI_BDF(0, 6, 0)
#define BAR	 0x900000000
#define BAR_SIZE 0x8000
#define TABLE	 0x4000 /* of MSI-X, in the same BAR */
#define MSIX	 0x40
#define NEVER	 (~0U)

#define CAP	 0x7ff /* queues of 2048, doorbells 4 bytes apart, ready within 500 ms */
#define DSTRD(n) ((u64)(n) << 32)
#define TO(n)	 ((u64)(n) << 24)

/* NVMe 2.0, 3.1.3 */
#define CC	   (BAR + 0x14)
#define AQA	   (BAR + 0x24)
#define ASQ	   (BAR + 0x28)
#define ACQ	   (BAR + 0x30)
#define CC_EN	   0x000001
#define CC_FORMATS 0x003ff0 /* CSS, MPS, AMS */
#define RUNNING	   0x460001 /* as a kernel leaves it: entries of 2^6 and 2^4 bytes */
#define RDY	   1
#define CFS	   2

static struct nvme_model {
	struct fake_fn *fn;
	struct fake_mem *bar;
	u64 cap;
	u32 cc;
	u32 csts;
	u32 aqa;
	u64 asq, acq, page;
	u16 sq_head, sq_tail, cq_head, cq_tail;
	u16 phase;
	unsigned int identified; /* commands */
	unsigned int events;	 /* Asynchronous Event Requests in flight */
	u16 event;		 /* the last one's command ID */
	u16 command;		 /* how the last command was */
	bool asked;		 /* events were enabled */
	u16 vendor;
	char model[41];
	/* faults */
	unsigned int waits; /* reads of CSTS before READY follows ENABLE */
	bool hold;	    /* takes no command */
	bool stale;	    /* never inverts the phase */
	bool pending;	    /* has a message to send as soon as its entry is unmasked */
	u16 status;
} nvme;

/* --- the model --- */

static u32 queue_size(void)
{
	return (nvme.aqa & 0xfff) + 1;
}

static u64 doorbell(void)
{
	return 0x1000 + (4U << (nvme.cap >> 32 & 0xf));
}

static void interrupt(void)
{
	u16 flags = (u16)fake_get(nvme.fn, MSIX + 2, 2), command = (u16)fake_get(nvme.fn, PCI_COMMAND, 2);
	bool pending = nvme.cq_head != nvme.cq_tail;

	if (!(flags & PCI_MSIX_FLAGS_ENABLE))
		fake_irq_line(nvme.fn->cfg[PCI_INTERRUPT_LINE], pending && !(command & PCI_COMMAND_INTX_DISABLE));
	else if (command & PCI_COMMAND_MASTER && !(flags & PCI_MSIX_FLAGS_MASKALL) && !(nvme.bar->bytes[TABLE + 12] & 1))
		fake_lapic_message(fake_mem_get(nvme.bar, TABLE, 4), fake_mem_get(nvme.bar, TABLE + 8, 4));
}

/* 3.3.3.2: the status, with the phase in bit 0, comes last. */
static void post(u16 id, u16 status)
{
	volatile u16 *entry = (u16 *)(uintptr_t)(nvme.acq + 16 * nvme.cq_tail);

	entry[4] = nvme.sq_head;
	entry[6] = id;
	entry[7] = (u16)(status << 1 | nvme.phase);
	nvme.cq_tail = (u16)((nvme.cq_tail + 1) % queue_size());
	if (!nvme.cq_tail && !nvme.stale)
		nvme.phase ^= 1;
}

static void complete(u16 id, u16 status)
{
	post(id, status);
	interrupt();
}

/* 5.17: 4096 bytes, and no second PRP entry where they would cross a page; 5.17.2.1: what is where in them. */
static void identify(const u8 *command)
{
	u64 page;

	memcpy(&page, command + 24, 8);
	assert_int_equal(page % PAGE_SIZE, 0);
	assert_int_equal(command[40], 1); /* the controller */
	nvme.page = page;
	memset((void *)(uintptr_t)page, 0xa5, PAGE_SIZE);
	memcpy((void *)(uintptr_t)page, &nvme.vendor, 2);
	memcpy((void *)(uintptr_t)(page + 24), nvme.model, 40);
	nvme.identified++;
}

static void run(void)
{
	if (!(fake_get(nvme.fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER))
		return;
	while (nvme.sq_head != nvme.sq_tail) {
		const u8 *command = (u8 *)(uintptr_t)(nvme.asq + 64 * nvme.sq_head);
		u16 id = (u16)(command[2] | command[3] << 8);

		assert_int_equal(command[1], 0);					/* 3.3.3.1: not fused, and PRPs */
		assert_int_equal(command[4] | command[5] | command[6] | command[7], 0); /* none of these is about a namespace */
		nvme.command = id;
		nvme.sq_head = (u16)((nvme.sq_head + 1) % queue_size());
		switch (command[0]) {
		case 0x06:
			identify(command);
			complete(id, nvme.status);
			break;
		case 0x09: /* 5.27.1.8: the enabled events; more than critical warnings only where OAES has them */
			assert_int_equal(command[40], 0x0b);
			assert_true(command[44] && !command[45] && !command[46] && !command[47]);
			nvme.asked = true;
			complete(id, 0);
			break;
		case 0x0c:
			nvme.event = id;
			nvme.events++;
			break;
		default:
			fail_msg("command 0x%02x", command[0]);
		}
	}
}

static u32 nvme_read(void *model, u64 offset, unsigned int size)
{
	(void)model;
	assert_int_equal(size, 4);
	switch (offset) {
	case 0x00:
		return (u32)nvme.cap;
	case 0x04:
		return (u32)(nvme.cap >> 32);
	case 0x14:
		return nvme.cc;
	case 0x1c:
		if (nvme.waits && nvme.waits != NEVER)
			nvme.waits--;
		else if (!nvme.waits)
			nvme.csts = (nvme.csts & ~1U) | (nvme.cc & CC_EN);
		return nvme.csts;
	}
	fail_msg("nvme + 0x%lx is read", offset);
	return 0;
}

/* 3.1.3.9, 3.1.3.10 */
static void set_half(u64 *address, u64 offset, u32 value)
{
	assert_false(nvme.cc & CC_EN);
	memcpy((u8 *)address + (offset & 4), &value, 4);
}

/* 3.5.1: what has to be in place. */
static void enable(u32 value)
{
	u32 submission = nvme.aqa & 0xfff, completion = nvme.aqa >> 16, page = value >> 7 & 0xf;

	assert_false(nvme.csts & RDY);						/* 3.1.3.5: it is off, and not just requested */
	assert_true(submission && completion);					/* 3.1.3.8: two entries at the least */
	assert_true(nvme.asq && nvme.asq % PAGE_SIZE == 0);			/* 3.1.3.9 */
	assert_true(nvme.acq && nvme.acq % PAGE_SIZE == 0);			/* 3.1.3.10 */
	assert_uint_in_range(page, nvme.cap >> 48 & 0xf, nvme.cap >> 52 & 0xf); /* MPS, of MPSMIN to MPSMAX */
	assert_true((value >> 16 & 0xf) >= 6 && (value >> 20 & 0xf) >= 4);	/* 5.17.2.1: no entry is smaller */
	assert_int_equal(value & ~(CC_EN | 0x780U | 0x00ff0000U), 0);		/* NVM command set, round robin, no shutdown */
	nvme.phase = 1;
}

static void control(u32 value)
{
	if (value & ~nvme.cc & CC_EN)
		enable(value);
	if (nvme.cc & CC_EN)
		assert_int_equal((value ^ nvme.cc) & CC_FORMATS, 0); /* 3.1.3.5: they change only while it is off */
	if (~value & nvme.cc & CC_EN && nvme.waits != NEVER)
		assert_true(nvme.csts & (RDY | CFS)); /* 3.1.3.5: ready, or failed, before it may be switched off */
	nvme.cc = value;
	/* 3.7.2: ended */
	nvme.sq_head = nvme.sq_tail = nvme.cq_head = nvme.cq_tail = 0;
	nvme.events = 0;
}

static void nvme_write(void *model, u64 offset, unsigned int size, u32 value)
{
	(void)model;
	assert_int_equal(size, 4);
	if (offset >= TABLE && offset < TABLE + 0x20) {
		fake_mem_set(nvme.bar, offset, size, value);
		if (nvme.pending && offset == TABLE + 12 && !value)
			fake_lapic_message(fake_mem_get(nvme.bar, TABLE, 4), fake_mem_get(nvme.bar, TABLE + 8, 4));
	} else if (offset == 0x14) {
		control(value);
	} else if (offset == 0x24) {
		assert_false(nvme.cc & CC_EN); /* 3.1.3.8 */
		nvme.aqa = value;
	} else if (offset == 0x28 || offset == 0x2c) {
		set_half(&nvme.asq, offset, value);
	} else if (offset == 0x30 || offset == 0x34) {
		set_half(&nvme.acq, offset, value);
	} else if (offset == 0x1000 || offset == doorbell()) {
		assert_true(nvme.csts & RDY &&
			    value < queue_size()); /* NVMe over PCIe 1.0: it has to be there, and an entry of it */
		*(offset == 0x1000 ? &nvme.sq_tail : &nvme.cq_head) = (u16)value;
		if (offset != 0x1000 && !bench.dev->msix)
			interrupt();
		if (!nvme.hold)
			run();
	} else {
		fail_msg("nvme + 0x%lx <- 0x%x", offset, value);
	}
}

/* --- the tests --- */

static int begin(void **state)
{
	(void)state;
	bench_begin();
	nvme = (struct nvme_model){ .fn = fake_add(bench.fake, BDF, 0x1b36, 0x0010), .cap = CAP, .vendor = 0x1b36 };
	memset(nvme.model, ' ', 40);
	memcpy(nvme.model, "QEMU NVMe Ctrl", 14);
	fake_set(nvme.fn, PCI_CLASS_REVISION, 4, 0x01080202);
	fake_set(nvme.fn, PCI_INTERRUPT_PIN, 1, 1);
	fake_cap_msix(nvme.fn, MSIX, 2, 0, TABLE);
	nvme.bar = fake_bar(bench.fake, nvme.fn, 0, BAR, BAR_SIZE, true);
	nvme.bar->read = nvme_read;
	nvme.bar->write = nvme_write;
	bench_attach(&nvme_driver);
	return 0;
}

static void again(void **state)
{
	bench_end(state);
	begin(state);
}

static void assert_not_enabled(void)
{
	for (unsigned int i = 0; i < bench.fake->logged; i++)
		if (bench.fake->log[i].kind == FAKE_MEM_WRITE && bench.fake->log[i].where == CC)
			assert_false(bench.fake->log[i].value & CC_EN);
}

static void only_nvme_controllers_are_its_own(void **state)
{
	static const struct pci_dev others[] = {
		{ .class = 0x010801 }, /* NVMHCI */
		{ .class = 0x010803 }, /* an administrative controller */
		{ .class = 0x010702 }, { .class = 0x020802 }, { .class = 0x010802, .is_vf = true },
	};

	(void)state;
	assert_true(nvme_driver.pci.match(bench.dev));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(nvme_driver.pci.match(&others[i]));
}

/* --- reset --- */

static void at_a_reset_it_sees_enable_cleared_and_nothing_else(void **state)
{
	static const struct fake_access want[] = { MEM_W32(CC, 0x464001 & ~CC_EN) };

	(void)state;
	fake_set(nvme.fn, PCI_COMMAND, 2, 0x0002); /* as the previous kernel hands over: bus master off */
	nvme.cc = 0x464001;			   /* about to shut down, too */
	nvme.csts = RDY | CFS;			   /* fatal: reset is what helps */
	nvme.waits = 5;
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(nvme.waits, 0);
	assert_int_equal(nvme.csts & 1, 0);
	assert_writes(bench.fake, want);
	assert_int_equal(fake_get(nvme.fn, PCI_COMMAND, 2), 0x0002);
	assert_int_equal(fake_log_lines(), 0);
}

/* A kernel that handed over between ENABLE and READY: 3.1.3.5 has it not switched off until then, and the model insists. */
static void what_is_about_to_be_ready_becomes_ready_first(void **state)
{
	(void)state;
	nvme.cc = RUNNING;
	nvme.csts = 0;
	nvme.waits = 5;
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(nvme.csts & 1, 0);
}

static void memory_is_enabled_before_it_is_used(void **state)
{
	(void)state;
	fake_set(nvme.fn, PCI_COMMAND, 2, 0);
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(fake_get(nvme.fn, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
}

/* CAP.TO is the worst case in units of 500 ms; one more is waited for. */
static void one_that_does_not_turn_off_times_out(void **state)
{
	static const struct {
		u8 to;
		u32 ms;
	} rows[] = { { 0, 500 }, { 1, 1000 }, { 20, 10500 }, { 255, 128000 } };
	char expected[64];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		u32 ticks = rows[i].ms * 3580UL, begun;

		nvme.cap |= TO(rows[i].to);
		nvme.cc = RUNNING;
		nvme.csts = 1;
		nvme.waits = NEVER;
		begun = fake_x86.pm_timer;
		assert_int_equal(bench_reset(), ERR_TIMEOUT);
		assert_uint_in_range(fake_x86.pm_timer - begun, rows[i].ms * 3579UL, ticks + 3 * fake_x86.pm_step);
		snprintf(expected, sizeof(expected), "0000:00:06.0 nvme: not reset within %u ms, status 0x1", rows[i].ms);
		assert_one_line(expected);
		/* The twin: it is, just in time. */
		fake_log_start();
		nvme.cc = RUNNING;
		nvme.waits = (ticks - ticks / 50) / fake_x86.pm_step;
		assert_int_equal(bench_reset(), OK);
		assert_int_equal(fake_log_lines(), 0);
		again(state);
	}
}

static void without_registers_it_is_refused_with_a_line(void **state)
{
	(void)state;
	fake_set(nvme.fn, PCI_COMMAND, 2, 0);
	bench.dev->bar_size[0] = 0x1000;
	assert_int_equal(bench_reset(), ERR_RANGE);
	assert_one_line("nvme is at 0x0 of BAR 0, 8192 bytes: the BAR has 4096");
	assert_int_equal(bench.dev->driver->probe(bench.dev, &bench.env), ERR_RANGE);
	assert_no_writes(bench.fake);	 /* nor is memory decoding enabled */
	bench.dev->bar_size[0] = 0x2000; /* the twin */
	assert_int_equal(bench_reset(), OK);
	fake_set(nvme.fn, PCI_BASE_ADDRESS_0, 4, 4);
	fake_set(nvme.fn, PCI_BASE_ADDRESS_0 + 4, 4, 0);
	fake_log_start();
	assert_int_equal(bench_reset(), ERR_ABSENT);
	assert_one_line("nvme is in BAR 0, which is not an assigned memory BAR");
}

static void registers_of_all_ones_are_no_controller(void **state)
{
	(void)state;
	nvme.cc = 0xffffffff;
	fake_log_start();
	assert_int_equal(bench_reset(), ERR_ABSENT);
	assert_one_line("0000:00:06.0 nvme: does not respond");
	assert_no_writes(bench.fake);
	nvme.cc = 0xfffffffe; /* the twin */
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(fake_writes(bench.fake), 1);
}

/* As boot/paging.c does it: half an address is none. */
static enum status (*map)(u64 address, u64 size);

static enum status map_46_bits(u64 address, u64 size)
{
	return address >> 46 ? ERR_RANGE : map(address, size);
}

/* Whenever it is removed, and however large its own bound is: it has done its work when it has seen the command, and not before. */
static void a_device_that_is_removed_has_not_done_its_work(void **state)
{
	unsigned int all, n = 0;
	enum status s;

	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	all = bench.fake->logged;
	assert_int_equal(bench.fake->log[all - 1].where, BAR + 0x1000); /* the completion was acknowledged meanwhile */
	do {
		again(state);
		map = bench.fake->access.map;
		bench.fake->access.map = map_46_bits;
		fake_x86.pm_step = 1 << 20;
		nvme.fn->answers = (int)n++;
		s = bench_bring_up();
		s = s == OK ? bench_work(false) : s;
	} while (s != OK);
	assert_int_equal(n, all);
}

/* --- probe --- */

static void doorbells_are_where_the_controller_has_them(void **state)
{
	char expected[64];

	for (unsigned int n = 0; n < 16; n++) {
		nvme.cap |= DSTRD(n);
		if (n < 10) { /* 4096 bytes hold both */
			assert_int_equal(bench_bring_up(), OK);
			assert_int_equal(bench_work(false), OK);
			assert_int_equal(nvme.cq_head, nvme.cq_tail);
		} else {
			assert_int_equal(bench_bring_up(), ERR_ABSENT);
			snprintf(expected, sizeof(expected), "0000:00:06.0 nvme: doorbells %u bytes apart, pages of 4 KiB",
				 4U << n);
			assert_one_line(expected);
			assert_not_enabled();
		}
		again(state);
	}
}

static void pages_larger_than_ours_are_refused_with_a_line(void **state)
{
	char expected[64];

	for (unsigned int n = 0; n < 16; n++) {
		nvme.cap = TO(1) | (u64)n << 48;
		assert_int_equal(bench_bring_up(), n ? ERR_ABSENT : OK);
		snprintf(expected, sizeof(expected), "nvme: doorbells 4 bytes apart, pages of %u KiB", 4U << n);
		if (n)
			assert_one_line(expected);
		again(state);
	}
}

/* That these were written, each before the controller was enabled. */
static bool in_order(const u64 *first, size_t n)
{
	unsigned int enabled = 0;

	for (unsigned int i = 0; i < bench.fake->logged; i++)
		if (bench.fake->log[i].kind == FAKE_MEM_WRITE && bench.fake->log[i].where == CC && bench.fake->log[i].value & CC_EN)
			enabled = i;
	for (size_t at = 0; at < n; at++) {
		unsigned int i = 0;

		while (i < enabled && (!fake_is_write(&bench.fake->log[i]) || bench.fake->log[i].where != first[at]))
			i++;
		if (i == enabled)
			return false;
	}
	return true;
}

/* Else it could complete a command, or report an event, before it can interrupt. */
static void it_is_enabled_when_its_queues_and_its_interrupt_are_in_place(void **state)
{
	static const u64 first[] = { AQA, ASQ, ASQ + 4, ACQ, ACQ + 4, BAR + TABLE, MSIX + 2, BAR + TABLE + 8, BAR + TABLE + 12 };

	(void)state;
	nvme.waits = 5;
	bench.dma.used = 64; /* another owner's: pages are pages all the same */
	bench.dma.size += PAGE_SIZE;
	assert_int_equal(bench_bring_up(), OK);
	assert_true(in_order(first, ARRAY_SIZE(first)));
	assert_int_equal(nvme.csts, RDY); /* and it is awaited */
	assert_int_equal(fake_get(nvme.fn, MSIX + 2, 2), 0x8001);
	/* The twins: without each of them. */
	for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
		for (unsigned int j = 0; j < bench.fake->logged; j++)
			if (bench.fake->log[j].where == first[i])
				bench.fake->log[j].where ^= 1UL << 63;
		assert_false(in_order(first, ARRAY_SIZE(first)));
		for (unsigned int j = 0; j < bench.fake->logged; j++)
			bench.fake->log[j].where &= ~(1UL << 63);
	}
}

static void one_that_is_never_ready_times_out_with_a_line(void **state)
{
	u32 begun;

	(void)state;
	assert_int_equal(bench_reset(), OK);
	nvme.waits = NEVER;
	begun = fake_x86.pm_timer;
	assert_int_equal(bench.dev->driver->probe(bench.dev, &bench.env), ERR_TIMEOUT);
	assert_uint_in_range(fake_x86.pm_timer - begun, 500 * 3579, 500 * 3580 + 5 * fake_x86.pm_step);
	assert_true(fake_log_has("0000:00:06.0 nvme: not ready within 500 ms, status 0x0"));
}

/* It need not be waited for. */
static void one_that_fails_instead_of_getting_ready_is_not_waited_for(void **state)
{
	u32 begun;

	(void)state;
	assert_int_equal(bench_reset(), OK);
	nvme.waits = NEVER;
	nvme.csts = CFS;
	begun = fake_x86.pm_timer;
	assert_int_equal(bench.dev->driver->probe(bench.dev, &bench.env), ERR_TIMEOUT);
	assert_uint_in_range(fake_x86.pm_timer - begun, 0, 5 * fake_x86.pm_step);
	assert_true(fake_log_has("0000:00:06.0 nvme: not ready within 500 ms, status 0x2"));
	/* Nor is one ready that says both. */
	bench_renew();
	nvme.cc = 0;
	nvme.csts = CFS;
	nvme.waits = 0;
	assert_int_equal(bench.dev->driver->probe(bench.dev, &bench.env), ERR_TIMEOUT);
	assert_true(fake_log_has("0000:00:06.0 nvme: not ready within 500 ms, status 0x3"));
}

/* The addresses that the controller gets: memory that ends there, or within what it needs, has no room for it. */
static void wherever_memory_runs_out_it_is_not_enabled(void **state)
{
	u64 ends[7] = { 0 }, used;

	assert_int_equal(bench_bring_up(), OK);
	used = bench.dma.used;
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(bench.dma.used, used); /* all memory is allocated before */
	ends[1] = nvme.asq - bench.dma.base;
	ends[2] = ends[1] + 64 * queue_size() - 1;
	ends[3] = nvme.acq - bench.dma.base;
	ends[4] = ends[3] + 16 * queue_size() - 1;
	ends[5] = nvme.page - bench.dma.base;
	ends[6] = ends[5] + PAGE_SIZE - 1;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		again(state);
		if (i)
			bench.dma.size = ends[i];
		else
			bench.heap.size = 0;
		assert_int_equal(bench_bring_up(), ERR_RANGE);
		assert_true(fake_log_has("memory: "));
		assert_not_enabled();
		assert_int_equal(fake_get(nvme.fn, MSIX + 2, 2), 1);
	}
	again(state);
	bench.dma.size = used; /* the twin */
	assert_int_equal(bench_bring_up(), OK);
}

static void one_that_cannot_interrupt_is_not_enabled(void **state)
{
	(void)state;
	fake_lapic.id = 0x100; /* no message reaches it */
	assert_int_equal(bench_bring_up(), ERR_RANGE);
	assert_one_line("APIC ID 256");
	assert_not_enabled();
	assert_int_equal(fake_get(nvme.fn, MSIX + 2, 2), 1);
	again(state);
	fake_set(nvme.fn, MSIX + 4, 4, BAR_SIZE); /* the table is after the BAR's end */
	assert_int_equal(bench_bring_up(), ERR_RANGE);
	assert_true(fake_log_has("msix table is at 0x8000 of BAR 0, 32 bytes"));
	assert_not_enabled();
	again(state);
	bench.dev->msix = 0;
	assert_int_equal(bench_bring_up(), ERR_ABSENT);
	assert_true(fake_log_has("0000:00:06.0 nvme: INTx unavailable, Interrupt Line 0x00"));
	assert_not_enabled();
}

/* --- work --- */

static void identify_is_answered_by_an_interrupt(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_one_line("0000:00:06.0 nvme: QEMU NVMe Ctrl, MSI-X vector 0x");
	assert_true(fake_log_has(": 1 commands, 1 interrupts"));
	assert_int_equal(nvme.identified, 1);
	assert_int_equal(nvme.cq_head, nvme.cq_tail); /* acknowledged */
	assert_int_equal(fake_lapic.delivered, 1);
	assert_int_equal(fake_lapic.eois, 1);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_true(fake_get(nvme.fn, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
}

static void run_late(unsigned int looks)
{
	if (looks == 5)
		run();
}

/* Nor need it complete before the driver waits. */
static void identify_may_be_answered_late(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	nvme.hold = true;
	fake_x86_tick(run_late);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(fake_x86.looks, 5); /* awaited, and no longer than it took */
	assert_one_line(": 1 commands, 1 interrupts");
}

static void without_msix_intx_does_it(void **state)
{
	u8 line = bench_intx();
	char expected[64];

	(void)state;
	fake_set(nvme.fn, PCI_COMMAND, 2, 0x0406); /* as a kernel that used MSI-X leaves it */
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	snprintf(expected, sizeof(expected), "QEMU NVMe Ctrl, INTx irq 0x%02x: 1 commands, 1 interrupts", line);
	assert_one_line(expected);
	assert_int_equal(fake_i8259.taken[line], 1);
	assert_int_equal(fake_lapic.delivered, 0);
}

/* The line is shared: an interrupt without a completion is another device's. */
static void an_interrupt_without_a_completion_is_not_handled(void **state)
{
	u8 line = bench_intx();

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	bench_anothers_interrupts(line);
	again(state);
	line = bench_intx();
	assert_int_equal(bench_bring_up(), OK);
	bench_own_interrupts(line, 1);
}

/* Only the device writes the vendor there. */
static void an_answer_that_is_an_error_or_not_there_is_one(void **state)
{
	static const struct {
		u16 vendor, status;
		enum status want;
		const char *line;
	} rows[] = {
		{ 0x1b36, 0x4002, ERR_IO, "0000:00:06.0 nvme: Identify: status 0x4002, vendor 0x1b36" },
		{ 0x1b36, 0x0001, ERR_IO, "0000:00:06.0 nvme: Identify: status 0x1, vendor 0x1b36" },
		{ 0x1b37, 0, ERR_IO, "0000:00:06.0 nvme: Identify: status 0x0, vendor 0x1b37" },
		{ 0x1c36, 0, ERR_IO, "0000:00:06.0 nvme: Identify: status 0x0, vendor 0x1c36" },
		{ 0x0000, 0, ERR_IO, "0000:00:06.0 nvme: Identify: status 0x0, vendor 0x0000" },
		{ 0x1b36, 0, OK, "QEMU NVMe Ctrl" }, /* the twin */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(bench_bring_up(), OK);
		nvme.vendor = rows[i].vendor;
		nvme.status = rows[i].status;
		assert_int_equal(bench_work(false), rows[i].want);
		assert_one_line(rows[i].line);
		again(state);
	}
}

static void a_command_that_never_completes_times_out_with_a_line(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	nvme.hold = true;
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_one_line("0000:00:06.0 nvme: no completed command within 5000 ms, 0 of 1");
	/* The same without bus master: it does not even see it. */
	again(state);
	assert_int_equal(bench_bring_up(), OK);
	pci_clear_master(bench.dev);
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_int_equal(nvme.identified, 0);
}

static void the_model_is_logged_without_its_padding(void **state)
{
	static const struct {
		const char *model, *line;
	} rows[] = {
		{ "x                                       ", " nvme: x, MSI-X" },
		{ " a  b                                   ", " nvme:  a  b, MSI-X" },
		{ "                                        ", " nvme: , MSI-X" },
		{ "0123456789012345678901234567890123456789", " nvme: 0123456789012345678901234567890123456789, MSI-X" },
		{ "a~\x7f\x80\xff\r\n\0b                               ", " nvme: a~??????b, MSI-X" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(bench_bring_up(), OK);
		memcpy(nvme.model, rows[i].model, 40);
		assert_int_equal(bench_work(false), OK);
		assert_one_line(rows[i].line);
		again(state);
	}
}

/* --- the completion queue --- */

static void the_queues_wrap(void **state)
{
	char expected[64];
	u32 round;

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	for (unsigned int i = 0; i < 50; i++)
		assert_int_equal(bench_work(false), OK);
	assert_true(fake_log_has(": 50 commands, 50 interrupts"));
	assert_int_equal(nvme.cq_head, 50 % queue_size());
	assert_int_equal(vector_unexpected_count(), 0);
	/* The twin: one whose second pass has the phase of the first. */
	again(state);
	assert_int_equal(bench_bring_up(), OK);
	nvme.stale = true;
	round = queue_size();
	for (unsigned int i = 0; i < round; i++)
		assert_int_equal(bench_work(false), OK);
	fake_log_start();
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	snprintf(expected, sizeof(expected), "no completed command within 5000 ms, %u of %u", round, round + 1);
	assert_one_line(expected);
}

static void several_completions_may_come_with_one_interrupt(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_arm(), OK);
	post(nvme.event, 0); /* it completes together with the next command */
	assert_int_equal(bench_work(false), OK);
	assert_one_line(": 3 commands, 2 interrupts");
	assert_int_equal(nvme.cq_head, nvme.cq_tail);
}

/* Any command ID that was not submitted: all that are near, and some that are far, but for one that was. */
static void complete_ghosts(u32 given, u16 status)
{
	static const u16 far[] = { 0x100, 0x7fff, 0xffff };

	for (u16 id = 0; id < 16; id++)
		if (id != given)
			complete(id, status);
	for (size_t i = 0; i < ARRAY_SIZE(far); i++)
		complete(far[i], status);
}

static void ghosts_and_then_the_command(unsigned int looks)
{
	const u8 *command = (u8 *)(uintptr_t)(nvme.asq + 64 * nvme.sq_head);

	if (looks == 2)
		complete_ghosts(command[2] | (u32)command[3] << 8, 1);
	if (looks == 4)
		run();
}

static void an_unexpected_completion_is_not_counted(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	complete_ghosts(UINT32_MAX, 0);
	assert_int_equal(nvme.cq_head, nvme.cq_tail); /* acknowledged all the same */
	nvme.hold = true;
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_one_line("no completed command within 5000 ms, 0 of 1");
	assert_int_equal(bench_in_flight(), 0);
	/* The twin: the submitted one comes after them. */
	again(state);
	assert_int_equal(bench_bring_up(), OK);
	nvme.hold = true;
	fake_x86_tick(ghosts_and_then_the_command);
	assert_int_equal(bench_work(false), OK);
	assert_one_line(": 1 commands, 19 interrupts");
}

/* The same one twice is one. */
static void a_completion_counts_once(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	complete(nvme.command, 0);
	nvme.hold = true;
	fake_log_start();
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_one_line("no completed command within 5000 ms, 1 of 2");
}

/* More than the queue may hold, which is one less than it has entries, since a full one would look like an empty one (3.3.1.5). */
static void a_queue_full_of_completions_is_taken_once(void **state)
{
	for (unsigned int before = 0, size = 1; before < size; before++) {
		assert_int_equal(bench_bring_up(), OK);
		size = queue_size();
		for (unsigned int i = 0; i < before; i++)
			complete(0, 0);
		assert_int_equal(vector_unexpected_count(), 0);
		fake_clear_log(bench.fake);
		for (unsigned int i = 0; i < size; i++)
			post(0, 0);
		fake_lapic_message(fake_mem_get(nvme.bar, TABLE, 4), fake_mem_get(nvme.bar, TABLE + 8, 4));
		assert_no_writes(bench.fake);
		assert_int_equal(bench_work(false), OK); /* and it continues where it was */
		assert_int_equal(nvme.cq_head, (before + 1) % size);
		again(state);
	}
}

/*
 * A controller that writes the next completion whenever the driver reads for one: the queue's page is there for one instruction at
 * a time.
 */
#define TRAP_FLAG 0x100
static unsigned int served;

static void on_look(int number, siginfo_t *info, void *context)
{
	greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
	volatile u16 *entry = (u16 *)(uintptr_t)(nvme.acq + 16 * nvme.cq_tail);
	bool look = number == SIGSEGV;

	mprotect((void *)(uintptr_t)nvme.acq, PAGE_SIZE, look ? PROT_READ | PROT_WRITE : PROT_NONE);
	*flags = look ? *flags | TRAP_FLAG : *flags & ~TRAP_FLAG;
	if (!look || info->si_addr != (const void *)&entry[7] || served == 1000)
		return;
	served++;
	entry[7] = nvme.phase;
	nvme.cq_tail = (u16)((nvme.cq_tail + 1) % queue_size());
	if (!nvme.cq_tail)
		nvme.phase ^= 1;
}

static void a_controller_that_never_stops_completing_is_left_after_one_pass(void **state)
{
	struct sigaction action = { .sa_sigaction = on_look, .sa_flags = SA_SIGINFO }, segv, trap;
	u32 address, data;

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	address = fake_mem_get(nvme.bar, TABLE, 4);
	data = fake_mem_get(nvme.bar, TABLE + 8, 4);
	served = 0;
	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGTRAP, &action, &trap);
	mprotect((void *)(uintptr_t)nvme.acq, PAGE_SIZE, PROT_NONE);
	fake_lapic_message(address, data);
	mprotect((void *)(uintptr_t)nvme.acq, PAGE_SIZE, PROT_READ | PROT_WRITE);
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGTRAP, &trap, NULL);
	assert_int_equal(served, queue_size());
}

/* A controller's reset clears no pending bit (QEMU 7.2): a message without a cause is still the function's own. */
static void a_message_without_a_completion_is_not_unexpected(void **state)
{
	u32 address, data;

	(void)state;
	nvme.pending = true;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(fake_lapic.delivered, 1);
	assert_int_equal(vector_unexpected_count(), 0);
	address = fake_mem_get(nvme.bar, TABLE, 4);
	data = fake_mem_get(nvme.bar, TABLE + 8, 4);
	fake_clear_log(bench.fake);
	fake_lapic_message(address, data);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_no_writes(bench.fake);
	/* The twin: one on the next vector, which has no handler. */
	fake_lapic_message(address, data + 1);
	assert_int_equal(vector_unexpected_count(), 1);
}

/* --- what is left in flight --- */

static void an_armed_request_is_in_flight_until_something_happens(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(bench_in_flight(), 0);
	assert_int_equal(bench_arm(), OK);
	assert_int_equal(bench_in_flight(), 1);
	assert_true(nvme.asked);
	assert_int_equal(nvme.events, 1);
	assert_int_equal(fake_lapic.delivered, 2);
	assert_int_equal(bench_work(false), OK); /* it stays, whatever else is completed */
	assert_int_equal(bench_in_flight(), 1);
	complete(nvme.event, 0);
	assert_int_equal(bench_in_flight(), 0);
	/* The next kernel's reset ends it, too. */
	assert_int_equal(bench_arm(), OK);
	assert_int_equal(nvme.events, 2);
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(nvme.events, 0);
	/* One that does not respond gets no request. */
	again(state);
	assert_int_equal(bench_bring_up(), OK);
	nvme.hold = true;
	assert_int_equal(bench_arm(), ERR_TIMEOUT);
	assert_one_line("0000:00:06.0 nvme: no completed command within 5000 ms, 0 of 1");
	assert_int_equal(bench_in_flight(), 0);
}

/* The last test: nothing is given back. */
static void without_a_vector_it_is_not_enabled(void **state)
{
	u8 vector;

	(void)state;
	while (one_vector(NULL, NULL, &vector) == OK)
		;
	fake_log_start();
	assert_int_equal(bench_bring_up(), ERR_RANGE);
	assert_one_line("irq: no vector left");
	assert_not_enabled();
	assert_int_equal(fake_get(nvme.fn, MSIX + 2, 2), 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
	const struct CMUnitTest tests[] = {
		T(only_nvme_controllers_are_its_own),
		T(at_a_reset_it_sees_enable_cleared_and_nothing_else),
		T(what_is_about_to_be_ready_becomes_ready_first),
		T(memory_is_enabled_before_it_is_used),
		T(one_that_does_not_turn_off_times_out),
		T(without_registers_it_is_refused_with_a_line),
		T(registers_of_all_ones_are_no_controller),
		T(a_device_that_is_removed_has_not_done_its_work),
		T(doorbells_are_where_the_controller_has_them),
		T(pages_larger_than_ours_are_refused_with_a_line),
		T(it_is_enabled_when_its_queues_and_its_interrupt_are_in_place),
		T(one_that_is_never_ready_times_out_with_a_line),
		T(one_that_fails_instead_of_getting_ready_is_not_waited_for),
		T(wherever_memory_runs_out_it_is_not_enabled),
		T(one_that_cannot_interrupt_is_not_enabled),
		T(identify_is_answered_by_an_interrupt),
		T(identify_may_be_answered_late),
		T(without_msix_intx_does_it),
		T(an_interrupt_without_a_completion_is_not_handled),
		T(an_answer_that_is_an_error_or_not_there_is_one),
		T(a_command_that_never_completes_times_out_with_a_line),
		T(the_model_is_logged_without_its_padding),
		T(the_queues_wrap),
		T(several_completions_may_come_with_one_interrupt),
		T(an_unexpected_completion_is_not_counted),
		T(a_completion_counts_once),
		T(a_queue_full_of_completions_is_taken_once),
		T(a_controller_that_never_stops_completing_is_left_after_one_pass),
		T(a_message_without_a_completion_is_not_unexpected),
		T(an_armed_request_is_in_flight_until_something_happens),
		T(without_a_vector_it_is_not_enabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
