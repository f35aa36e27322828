/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: a controller is put into AHCI mode before any other register is accessed, and only implemented ports are accessed; a port
 * is given its memory while it neither runs nor receives, runs only when its device is ready and every old event is cleared, and is
 * given a command only in a slot that it has and that is free, whose table names memory of the driver's alone. The driver takes the
 * first port that has a device, accepts a disk by data that only IDENTIFY DEVICE returns, ends a command by interrupt alone, and
 * leaves reads in flight, each with a buffer of its own, as many as there are slots and sectors for. Could be false: a controller
 * may never end its reset, lose AHCI mode, have no device, or one that is no disk or late; a port may stop with an error, complete
 * several commands at once, or share a line that another device asserts. Provoked: a model of AHCI 1.3.1 that fails the test at
 * what is undefined there, with one fault at a time. Failure: what the model refuses, a wrong status, a port that runs all the
 * same, a wait beyond its bound, or a line that does not say what happened.
 */
#include "drivers/ahci/ahci.h"
#include "irq/i8259.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#include <sys/mman.h>

#define BDF	 PCI_BDF(0, 6, 0)
#define BAR	 0xfe000000
#define BAR_SIZE 0x1000
#define MSI	 0x80
#define NEVER	 (~0U)

#define PORTS	 6
#define SECTORS	 16384
#define TICKS_MS 3579.545

/* AHCI 1.3.1, 3.1 and 3.3 */
#define S64A	  0x80000000
#define CAP	  (S64A | 31 << 8 | (PORTS - 1)) /* 32 slots */
#define GHC	  (BAR + 0x04)
#define HR	  0x00000001
#define IE	  0x00000002
#define AE	  0x80000000
#define DHRS	  0x00000001
#define TFES	  0x40000000
#define ST	  0x00000001
#define SUD	  0x00000002
#define FRE	  0x00000010
#define BUSY	  0x88 /* BSY, DRQ */
#define LINKED	  0x113
#define SIG_ATA	  0x00000101
#define SIG_ATAPI 0xeb140101

static struct ahci_model {
	struct fake_fn *fn;
	struct fake_mem *bar;
	u32 cap, ghc, is, pi;
	struct port_model {
		u64 clb, fb;
		u32 is, ie, cmd, tfd, sig, ssts, ci;
		bool errors; /* in PxSERR, DIAG.X among them */
	} port[PORTS];
	unsigned int commands; /* that were done */
	u16 words[256];	       /* what IDENTIFY DEVICE returns */
	/* faults */
	unsigned int resets; /* reads of GHC before a reset ends */
	unsigned int waits;  /* reads of PxTFD before a device is ready, from FRE on */
	unsigned int links;  /* reads of PxSSTS before a device shows */
	bool leaves_ahci;    /* at its reset */
	bool hold;	     /* takes no command */
	bool fails;	     /* each command ends in an error */
	bool stuck;	     /* PxIS stays */
	bool empty;	     /* each command ends without its data */
} hba;

/* --- the model --- */

static bool counts_down(unsigned int *count)
{
	if (*count && *count != NEVER)
		--*count;
	return !*count;
}

static void line(void)
{
	u16 flags = (u16)fake_get(hba.fn, MSI + 2, 2), command = (u16)fake_get(hba.fn, PCI_COMMAND, 2);
	bool messages = bench.dev->msi && flags & PCI_MSI_FLAGS_ENABLE;

	fake_irq_line(hba.fn->cfg[PCI_INTERRUPT_LINE],
		      hba.is && hba.ghc & IE && !messages && !(command & PCI_COMMAND_INTX_DISABLE));
}

/* 3.1.3: IS holds a port's bit as long as what it enabled is pending. */
static void pend(struct port_model *port, u32 cause)
{
	u16 flags = (u16)fake_get(hba.fn, MSI + 2, 2), command = (u16)fake_get(hba.fn, PCI_COMMAND, 2);

	port->is |= cause;
	if (!(port->is & port->ie))
		return;
	hba.is |= 1U << (port - hba.port);
	if (bench.dev->msi && flags & PCI_MSI_FLAGS_ENABLE) {
		if (cause && hba.ghc & IE && command & PCI_COMMAND_MASTER)
			fake_lapic_message(fake_get(hba.fn, MSI + 4, 4), fake_get(hba.fn, MSI + 12, 2));
	} else if (hba.fn->cfg[PCI_INTERRUPT_LINE]) {
		line();
	}
}

/* What a sector holds: its number, repeated. */
static void disk_read(u8 *to, u64 sector, u32 sectors)
{
	for (u32 i = 0; i < sectors * 512; i++)
		to[i] = (u8)(sector + i / 512 + 1);
}

static u32 *header_of(const struct port_model *port, unsigned int slot)
{
	return (u32 *)(uintptr_t)(port->clb + 32 * slot);
}

static u64 table_of(const u32 *header)
{
	return header[2] | (u64)header[3] << 32;
}

/* The address and size in the table's only entry. */
static u8 *data_of(u64 table, u32 *size)
{
	const u32 *entry = (const u32 *)(uintptr_t)(table + 0x80);

	*size = entry[3] + 1;
	return (u8 *)(uintptr_t)(entry[0] | (u64)entry[1] << 32);
}

static bool is_dma(u64 address, u64 size)
{
	return address >= bench.dma.base && address + size <= bench.dma.base + bench.dma.size;
}

/* 4.2.2: the header, of a FIS of five doublewords and a table of one entry; 4.2.3: the table. */
static void execute(struct port_model *port, unsigned int slot)
{
	u32 *header = header_of(port, slot), size;
	u64 table = table_of(header), sector;
	const u8 *fis = (u8 *)(uintptr_t)table;
	u8 *data;

	assert_int_equal(header[0], 1 << 16 | 5);
	assert_int_equal(header[1], 0); /* PRDBC: 4.2.2 has it cleared beforehand */
	assert_true(table % 128 == 0 && is_dma(table, 0x90));
	data = data_of(table, &size);
	assert_true((uintptr_t)data % 2 == 0 && size % 2 == 0 && is_dma((uintptr_t)data, size));
	assert_int_equal(fis[0], 0x27); /* SATA 3.0, 10.3.4: host to device, a command */
	assert_int_equal(fis[1], 0x80);
	sector = fis[4] | fis[5] << 8 | fis[6] << 16 | (u64)fis[8] << 24;
	switch (fis[2]) {
	case 0xec:
		assert_int_equal(size, 512);
		if (!hba.empty)
			memcpy(data, hba.words, 512);
		break;
	case 0x25:
		assert_true(fis[7] & 0x40); /* ACS-3: LBA */
		assert_int_equal(size, (fis[12] | fis[13] << 8) * 512);
		assert_true(sector + size / 512 <= SECTORS);
		disk_read(data, sector, size / 512);
		break;
	default:
		fail_msg("command 0x%02x", fis[2]);
	}
	header[1] = size;
	hba.commands++;
}

/* One command at a time, in the order of the slots; the end is reported afterwards (5.3.12). */
static bool step(struct port_model *port)
{
	unsigned int slot;

	if (!port->ci || !(fake_get(hba.fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER))
		return false;
	slot = (unsigned int)__builtin_ctz(port->ci);
	if (hba.fails) {
		port->tfd = 0x4041;
		pend(port, TFES);
		return false;
	}
	execute(port, slot);
	port->ci &= ~(1U << slot);
	return true;
}

static void run(void)
{
	for (unsigned int i = 0; i < PORTS; i++)
		while (step(&hba.port[i]))
			pend(&hba.port[i], DHRS);
}

static struct port_model *port_at(u64 offset)
{
	unsigned int n = (unsigned int)(offset - 0x100) / 0x80;

	if (n >= PORTS || !(hba.pi >> n & 1))
		fail_msg("port %u is none", n);
	return &hba.port[n];
}

static u32 ahci_read(void *model, u64 offset, unsigned int size)
{
	struct port_model *port;

	(void)model;
	assert_int_equal(size, 4);
	if (offset == 0x04) {
		if (hba.ghc & HR && counts_down(&hba.resets))
			hba.ghc = hba.leaves_ahci ? 0 : AE;
		return hba.ghc;
	}
	assert_true((hba.ghc & (AE | HR)) == AE); /* 3.1.2, 10.4.3 */
	if (offset == 0x00)
		return hba.cap;
	if (offset == 0x08)
		return hba.is;
	if (offset == 0x0c)
		return hba.pi;
	port = port_at(offset);
	switch (offset & 0x7f) {
	case 0x10:
		return port->is;
	case 0x20:
		/* 5.3.2: the device's first FIS is taken when the port receives and DIAG.X is clear. */
		if (port->cmd & FRE && !port->errors && counts_down(&hba.waits) && port->tfd == 0x7f) {
			port->tfd = 0x50;
			port->is |= DHRS; /* as a disk does that sets the FIS's I bit */
		}
		return port->tfd;
	case 0x24:
		assert_false(port->tfd & BUSY); /* 3.3.9: before the device's first FIS it is not valid */
		return port->sig;
	case 0x28:
		return port->cmd & SUD && counts_down(&hba.links) ? port->ssts : 0;
	case 0x38:
		return port->ci;
	}
	fail_msg("ahci + 0x%lx is read", offset);
	return 0;
}

static void control(u32 value)
{
	if (value & HR) {
		assert_true(hba.ghc & AE && value & AE); /* 3.1.2 */
		for (unsigned int i = 0; i < PORTS; i++) {
			hba.port[i].is = hba.port[i].ie = hba.port[i].cmd = hba.port[i].ci = 0;
			hba.port[i].tfd = 0x7f;
			hba.port[i].errors = true;
		}
		hba.is = 0;
		hba.ghc = AE | HR;
		return; /* the line is as it was: what QEMU does, too */
	}
	if (value & ~hba.ghc & IE)
		assert_int_equal(hba.is, 0); /* nor does an old one come at once */
	hba.ghc = value;
	if (value & IE) /* interrupts are enabled only with a handler */
		assert_true(!bench.dev->msi || fake_get(hba.fn, MSI + 2, 2) & PCI_MSI_FLAGS_ENABLE);
	line();
}

/* 10.3: what has to be in place before a port receives, and before it takes commands. */
static void command_and_status(struct port_model *port, u32 value)
{
	if (value & ~port->cmd & FRE)
		assert_true(port->fb && port->fb % 256 == 0 && is_dma(port->fb, 256));
	if (value & ~port->cmd & ST) {
		assert_true(port->cmd & FRE && port->clb && port->clb % 1024 == 0 && is_dma(port->clb, 1024));
		assert_true(!(port->tfd & BUSY) && port->ssts == LINKED && !port->errors && !port->is);
	}
	port->cmd = value;
}

static void ahci_write(void *model, u64 offset, unsigned int size, u32 value)
{
	struct port_model *port;

	(void)model;
	assert_int_equal(size, 4);
	if (offset == 0x04) {
		control(value);
		return;
	}
	assert_true((hba.ghc & (AE | HR)) == AE);
	if (offset == 0x08) {
		hba.is &= ~value;
		for (unsigned int i = 0; i < PORTS; i++)
			pend(&hba.port[i], 0);
		line();
		return;
	}
	port = port_at(offset);
	switch (offset & 0x7f) {
	case 0x00:
	case 0x04:
		assert_false(port->cmd & ST); /* 3.3.1 */
		memcpy((u8 *)&port->clb + (offset & 4), &value, 4);
		return;
	case 0x08:
	case 0x0c:
		assert_false(port->cmd & FRE); /* 3.3.3 */
		memcpy((u8 *)&port->fb + (offset & 4), &value, 4);
		return;
	case 0x10:
		if (!hba.stuck)
			port->is &= ~value;
		return;
	case 0x14:
		port->ie = value;
		pend(port, 0);
		return;
	case 0x18:
		command_and_status(port, value);
		return;
	case 0x30:
		port->errors &= value != 0xffffffff;
		return;
	case 0x38:
		assert_true(port->cmd & ST && !(port->ci & value));	 /* 3.3.14 */
		assert_false((u64)value >> ((hba.cap >> 8 & 0x1f) + 1)); /* 3.1.1: CAP.NCS */
		port->ci |= value;
		if (!hba.hold)
			run();
		return;
	}
	fail_msg("ahci + 0x%lx <- 0x%x", offset, value);
}

/* --- the tests --- */

static void set_sectors(u64 sectors)
{
	memcpy(hba.words + 100, &sectors, sizeof(sectors));
}

static void give_disk(unsigned int port)
{
	hba.port[port].ssts = LINKED;
	hba.port[port].sig = SIG_ATA;
}

static int begin(void **state)
{
	(void)state;
	bench_begin();
	hba = (struct ahci_model){ .fn = fake_add(bench.fake, BDF, 0x8086, 0x2922), .cap = CAP, .ghc = AE, .pi = (1 << PORTS) - 1 };
	hba.words[83] = 0x7400;
	set_sectors(SECTORS);
	give_disk(0);
	fake_set(hba.fn, PCI_CLASS_REVISION, 4, 0x01060102);
	fake_set(hba.fn, PCI_INTERRUPT_PIN, 1, 1);
	fake_cap_msi(hba.fn, MSI, PCI_MSI_FLAGS_64BIT);
	hba.bar = fake_bar(bench.fake, hba.fn, 5, BAR, BAR_SIZE, false);
	hba.bar->read = ahci_read;
	hba.bar->write = ahci_write;
	bench_attach(&ahci_driver);
	return 0;
}

static void again(void **state)
{
	bench_end(state);
	begin(state);
}

static void assert_took(u32 begun, double ms, unsigned int looks)
{
	assert_uint_in_range(fake_x86.pm_timer - begun, (u32)(ms * TICKS_MS) - 1, (u32)(ms * TICKS_MS) + looks * fake_x86.pm_step);
}

static void assert_nothing_runs(void)
{
	for (unsigned int i = 0; i < PORTS; i++)
		assert_int_equal(hba.port[i].cmd & ST, 0);
	assert_int_equal(hba.ghc & IE, 0);
}

static void only_ahci_controllers_are_its_own(void **state)
{
	static const u32 others[] = { 0x010600, 0x010602, 0x01018a, 0x010400, 0x020601 };

	(void)state;
	assert_true(ahci_driver.pci.match(bench.dev));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(ahci_driver.pci.match(&(struct pci_dev){ .class = others[i] }));
}

/* --- reset --- */

static void reset_stops_every_port_and_lowers_the_line(void **state)
{
	static const struct fake_access want[] = { MEM_W32(GHC, AE | HR), MEM_W32(GHC, AE) };

	(void)state;
	fake_set(hba.fn, PCI_COMMAND, 2, 0x0002); /* as the previous kernel hands over: bus master off */
	fake_set(hba.fn, PCI_INTERRUPT_LINE, 1, 7);
	for (unsigned int i = 0; i < PORTS; i++)
		hba.port[i] = (struct port_model){ .cmd = 0xc017, .ci = 0xff, .ie = DHRS, .is = DHRS };
	hba.is = (1 << PORTS) - 1;
	hba.ghc = AE | IE;
	hba.resets = 5;
	line();
	assert_true(fake_irq_high(7));
	assert_int_equal(bench_reset(), OK);
	assert_false(fake_irq_high(7));
	assert_int_equal(hba.resets, 0);
	for (unsigned int i = 0; i < PORTS; i++)
		assert_int_equal(hba.port[i].cmd | hba.port[i].ci | hba.port[i].ie | hba.port[i].is, 0);
	assert_writes(bench.fake, want);
	assert_int_equal(fake_get(hba.fn, PCI_COMMAND, 2), 0x0002);
	assert_int_equal(fake_log_lines(), 0);
}

/* GHC.AE may be off before a reset, and after it. */
static void it_enters_ahci_mode_first(void **state)
{
	static const struct fake_access want[] = { MEM_W32(GHC, AE), MEM_W32(GHC, AE | HR), MEM_W32(GHC, AE) };

	(void)state;
	hba.ghc = 0;
	hba.leaves_ahci = true;
	assert_int_equal(bench_reset(), OK);
	assert_writes(bench.fake, want);
	assert_int_equal(hba.ghc, AE);
}

static void memory_is_enabled_before_it_is_used(void **state)
{
	(void)state;
	fake_set(hba.fn, PCI_COMMAND, 2, 0);
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(fake_get(hba.fn, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
}

static void a_reset_that_does_not_end_times_out_after_a_second(void **state)
{
	u32 begun = fake_x86.pm_timer;

	(void)state;
	hba.resets = NEVER;
	assert_int_equal(bench_reset(), ERR_TIMEOUT);
	assert_took(begun, 1000, 3);
	assert_one_line("0000:00:06.0 ahci: not reset within 1000 ms, 0x80000001");
	/* The twin: it does, just in time. */
	again(state);
	hba.resets = (u32)(990 * TICKS_MS) / fake_x86.pm_step;
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(fake_log_lines(), 0);
}

static void a_bar_without_room_for_its_ports_is_refused_with_a_line(void **state)
{
	(void)state;
	hba.pi = 0x80000000;
	assert_int_equal(bench_reset(), ERR_RANGE);
	assert_one_line("ahci is at 0x0 of BAR 5, 4352 bytes: the BAR has 4096");
	assert_no_writes(bench.fake);
	again(state);
	hba.pi = 0x20000000; /* the twin: 30 ports fill it */
	assert_int_equal(bench_reset(), OK);
	fake_set(hba.fn, PCI_BASE_ADDRESS_0 + 20, 4, 0);
	assert_int_equal(bench_reset(), ERR_ABSENT);
	assert_one_line("ahci is in BAR 5, which is not an assigned memory BAR");
}

/* Whenever it is removed: it has done its work when it has seen the command, and not before; and no wait exceeds its bound. */
static void a_device_that_is_removed_has_not_done_its_work(void **state)
{
	unsigned int all, n = 0;
	enum status s;

	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	all = bench.fake->logged;
	do {
		again(state);
		fake_x86.pm_step = 1 << 20;
		hba.fn->answers = (int)n++;
		s = bench_bring_up();
		s = s == OK ? bench_work(false) : s;
	} while (s != OK);
	assert_int_equal(n - 1, all); /* the last is PxCI, without which nothing has ended */
}

/* --- probe --- */

static void without_a_drive_it_logs_so_soon_and_starts_nothing(void **state)
{
	u32 begun;

	(void)state;
	hba.port[0].ssts = 0;
	hba.port[3].ssts = 0x001; /* a device without a link */
	hba.port[4].ssts = 0x004; /* switched off */
	begun = fake_x86.pm_timer;
	assert_int_equal(bench_bring_up(), ERR_ABSENT);
	assert_took(begun, 10, 4);
	assert_one_line("0000:00:06.0 ahci: no drive");
	assert_nothing_runs();
	assert_int_equal(bench.dma.used, 0);
	assert_int_equal(fake_get(hba.fn, MSI + 2, 2), PCI_MSI_FLAGS_64BIT);
}

static void the_first_port_with_a_device_is_taken(void **state)
{
	for (unsigned int n = 0; n < PORTS; n++) {
		hba.port[0].ssts = 0;
		give_disk(n);
		give_disk(PORTS - 1);
		hba.pi = 1U << n | 1U << (PORTS - 1); /* the model fails where another is touched */
		hba.cap = (CAP & ~31U) | 1;	      /* two, whatever their numbers */
		assert_int_equal(bench_bring_up(), OK);
		assert_int_equal(bench_work(false), OK);
		for (unsigned int i = 0; i < PORTS; i++)
			assert_int_equal(hba.port[i].cmd & ST, i == n);
		again(state);
	}
}

static void a_device_may_be_late(void **state)
{
	(void)state;
	hba.links = 20;
	hba.waits = 1000;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(hba.links + hba.waits, 0);
	/* The twin: one that never gets ready times out after ten seconds. */
	again(state);
	hba.waits = NEVER;
	fake_x86.pm_step = 3580;
	assert_int_equal(bench_bring_up(), ERR_TIMEOUT);
	assert_true(fake_log_has("0000:00:06.0 ahci: not ready within 10000 ms, 0x7f"));
	assert_nothing_runs();
}

static void a_device_that_is_no_disk_is_absent_with_a_line(void **state)
{
	(void)state;
	hba.port[0].sig = SIG_ATAPI;
	assert_int_equal(bench_bring_up(), ERR_ABSENT);
	assert_true(fake_log_has("0000:00:06.0 ahci: no disk, signature 0xeb140101"));
	assert_nothing_runs();
}

/* The last byte that the controller may access, with all slots in use, is the last of the driver's memory. */
static void wherever_memory_runs_out_nothing_is_started(void **state)
{
	u64 used, last = 0;

	assert_int_equal(bench_bring_up(), OK);
	used = bench.dma.used;
	assert_int_equal(bench_work(false), OK);
	hba.hold = true;
	assert_int_equal(bench_arm(), OK);
	assert_int_equal(bench.dma.used, used); /* all memory is allocated before */
	for (unsigned int slot = 0; hba.port[0].ci >> slot; slot++) {
		u32 size;
		u64 data = (uintptr_t)data_of(table_of(header_of(&hba.port[0], slot)), &size);

		if (data + size > bench.dma.base + last)
			last = data + size - 1 - bench.dma.base;
	}
	for (unsigned int i = 0; i < 3; i++) {
		again(state);
		if (i)
			bench.dma.size = i == 1 ? 0 : last;
		else
			bench.heap.size = 0;
		assert_int_equal(bench_bring_up(), ERR_RANGE);
		assert_true(fake_log_has("memory: "));
		assert_nothing_runs();
	}
	again(state);
	bench.dma.size = last + 1; /* the twin */
	assert_int_equal(bench_bring_up(), OK);
}

/* The host's memory is above 4 GiB, but for what is requested below. */
static void what_it_cannot_reach_is_not_given_to_it(void **state)
{
	const size_t size = bench.dma.size;
	void *low;

	(void)state;
	hba.cap &= ~S64A;
	assert_int_equal(bench_bring_up(), ERR_ABSENT);
	assert_one_line("0000:00:06.0 ahci: no DMA memory below 4 GiB, the device has 32 address bits");
	assert_nothing_runs();
	low = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	assert_uint_in_range((uintptr_t)low, 1, UINT32_MAX);
	bench.dma = (struct arena){ (uintptr_t)low, size, 0 };
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	munmap(low, size);
}

static void one_that_cannot_interrupt_is_not_started(void **state)
{
	(void)state;
	fake_lapic.id = 0x100; /* no message reaches it */
	assert_int_equal(bench_bring_up(), ERR_RANGE);
	assert_one_line("APIC ID 256");
	assert_nothing_runs();
	again(state);
	bench.dev->msi = 0;
	assert_int_equal(bench_bring_up(), ERR_ABSENT);
	assert_one_line("0000:00:06.0 ahci: INTx unavailable, Interrupt Line 0x00");
	assert_nothing_runs();
}

/* Between its reset and its start a used port had an event: it must not interrupt. */
static void causes_from_before_it_runs_are_cleared(void **state)
{
	(void)state;
	assert_int_equal(bench_reset(), OK);
	hba.port[0].is = 0x00400000; /* PRCS: the link came */
	hba.is = 1;
	assert_int_equal(bench.dev->driver->probe(bench.dev, &bench.env), OK);
	assert_int_equal(hba.is | hba.port[0].is, 0);
	assert_int_equal(fake_lapic.delivered, 0);
}

/* --- work --- */

static void identify_is_answered_by_an_interrupt(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_one_line("0000:00:06.0 ahci: 8192 KiB, MSI vector 0x");
	assert_true(fake_log_has(": 1 commands, 1 interrupts"));
	assert_int_equal(hba.commands, 1);
	assert_int_equal(fake_lapic.delivered, 1);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_int_equal(hba.is | hba.port[0].is, 0);
	assert_true(fake_get(hba.fn, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
}

static void run_late(unsigned int looks)
{
	if (looks == 5)
		run();
}

static void it_may_be_answered_late_but_not_never(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	hba.hold = true;
	fake_x86_tick(run_late);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(fake_x86.looks, 5);
	fake_x86_tick(NULL);
	fake_log_start();
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_one_line("0000:00:06.0 ahci: no completed command within 5000 ms, 1 of 2");
	/* The same without bus master: it does not even see it. */
	again(state);
	assert_int_equal(bench_bring_up(), OK);
	pci_clear_master(bench.dev);
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_int_equal(hba.commands, 0);
}

/* A command without its interrupt has not ended. */
static void a_command_ends_by_interrupt_alone(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	hba.ghc &= ~(u32)IE;
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_int_equal(hba.commands, 1);
	assert_int_equal(hba.port[0].ci, 0);
}

static void without_msi_intx_does_it(void **state)
{
	u8 number = bench_intx();
	char expected[64];

	(void)state;
	fake_set(hba.fn, PCI_COMMAND, 2, 0x0406); /* as a kernel that used MSI leaves it */
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	snprintf(expected, sizeof(expected), "8192 KiB, INTx irq 0x%02x: 1 commands, 1 interrupts", number);
	assert_one_line(expected);
	assert_int_equal(fake_i8259.taken[number], 1);
	assert_int_equal(fake_lapic.delivered, 0);
}

/* The line is shared: an interrupt without a cause in IS is another device's. */
static void an_interrupt_without_a_cause_is_not_handled(void **state)
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

static void a_cause_that_cannot_be_cleared_disables_the_line(void **state)
{
	u8 number = bench_intx();

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	fake_i8259.limit = 200000;
	hba.stuck = true;
	bench_work(false);
	assert_int_equal(hba.commands, 1);
	assert_true(i8259_line_disabled(number));
}

/* All ones are no cause: it was removed. */
static void a_removed_device_claims_no_interrupt(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	fake_clear_log(bench.fake);
	hba.port[0].is = 0xffffffff;
	hba.is = 0xffffffff;
	fake_lapic_message(fake_get(hba.fn, MSI + 4, 4), fake_get(hba.fn, MSI + 12, 2));
	assert_int_equal(vector_unexpected_count(), 1);
	assert_no_writes(bench.fake);
}

/* A message of an earlier event may come when its command has been seen to end: it is handled all the same. */
static void an_interrupt_that_comes_second_is_not_unexpected(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	pend(&hba.port[0], DHRS);
	assert_int_equal(fake_lapic.delivered, 2);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_int_equal(hba.is | hba.port[0].is, 0);
	/*
	 * The same when its cause was cleared with the previous one: QEMU 7.2 sends one each time, also for a cause that is
	 * pending.
	 */
	fake_lapic_message(fake_get(hba.fn, MSI + 4, 4), fake_get(hba.fn, MSI + 12, 2));
	assert_int_equal(fake_lapic.delivered, 3);
	assert_int_equal(vector_unexpected_count(), 0);
}

static void an_answer_that_is_an_error_or_no_disk_s_is_one(void **state)
{
	static const struct {
		u16 word;
		bool fails;
		enum status want;
		const char *line;
	} rows[] = {
		{ 0x7400, true, ERR_IO, "0000:00:06.0 ahci: IDENTIFY DEVICE: task file 0x4041, word 83 0x0000" },
		{ 0x0000, false, ERR_IO, "0000:00:06.0 ahci: IDENTIFY DEVICE: task file 0x0, word 83 0x0000" },
		{ 0xffff, false, ERR_IO, "task file 0x0, word 83 0xffff" },
		{ 0x7000, false, ERR_IO, "task file 0x0, word 83 0x7000" }, /* 28 bits of address */
		{ 0x4400, false, OK, "8192 KiB" },			    /* the twin */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(bench_bring_up(), OK);
		hba.words[83] = rows[i].word;
		hba.fails = rows[i].fails;
		assert_int_equal(bench_work(false), rows[i].want);
		assert_one_line(rows[i].line);
		assert_int_equal(vector_unexpected_count(), 0);
		again(state);
	}
}

/* An earlier command's data does not pass for this one's. */
static void an_answer_without_data_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	fake_log_start();
	hba.empty = true;
	assert_int_equal(bench_work(false), ERR_IO);
	assert_one_line("0000:00:06.0 ahci: IDENTIFY DEVICE: task file 0x0, word 83 0x0000");
}

/* --- what is left in flight --- */

/* Data that arrives differs from what was there; no two have the same buffer, nor the same sector. */
static void reads_are_in_flight_until_each_has_completed(void **state)
{
	unsigned int all;
	u32 sector = 0;

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(bench_arm(), OK); /* all of it is there already */
	assert_int_equal(bench_in_flight(), 0);
	fake_lapic.delivered = 0;
	hba.hold = true;
	assert_int_equal(bench_arm(), OK);
	all = bench_in_flight();
	assert_true(all > 1);
	assert_int_equal(hba.port[0].ci, (1UL << all) - 1); /* from slot 0 on: the controller takes them in this order */
	for (unsigned int n = 0; n < all; n++) {
		u32 size;
		const u8 *buffer = data_of(table_of(header_of(&hba.port[0], n)), &size);
		u8 *want = malloc(size);

		assert_non_null(want);
		disk_read(want, sector, size / 512);
		assert_memory_not_equal(buffer, want, 512);
		assert_true(step(&hba.port[0]));
		pend(&hba.port[0], DHRS);
		assert_int_equal(bench_in_flight(), all - 1 - n);
		assert_memory_equal(buffer, want, size);
		sector += size / 512;
		free(want);
	}
	assert_false(step(&hba.port[0]));
	assert_int_equal(fake_lapic.delivered, all);
	assert_int_equal(vector_unexpected_count(), 0);
}

static void several_may_end_with_one_interrupt(void **state)
{
	unsigned int all;

	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	hba.hold = true;
	assert_int_equal(bench_arm(), OK);
	all = bench_in_flight();
	for (unsigned int n = 0; n < 3; n++)
		assert_true(step(&hba.port[0]));
	assert_int_equal(bench_in_flight(), all); /* no interrupt has come */
	pend(&hba.port[0], DHRS);
	assert_int_equal(bench_in_flight(), all - 3);
	assert_int_equal(fake_lapic.delivered, 2);
	hba.fails = true; /* and all with an error: the port stops */
	run();
	assert_int_equal(bench_in_flight(), 0);
	assert_int_equal(vector_unexpected_count(), 0);
}

/* How many the driver arms of a controller and a disk like these, and how many sectors the first of them reads. */
static unsigned int armed(void **state, unsigned int slots, u64 sectors, u32 *each)
{
	unsigned int n;

	again(state);
	hba.cap = S64A | (slots - 1) << 8 | (PORTS - 1);
	set_sectors(sectors);
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	hba.hold = true;
	assert_int_equal(bench_arm(), OK);
	n = bench_in_flight();
	assert_int_equal(hba.port[0].ci, (1UL << n) - 1);
	data_of(table_of(header_of(&hba.port[0], 0)), each);
	*each /= 512;
	return n;
}

/* No command where there is no slot (3.1.1), and none for sectors beyond the disk. */
static void as_many_as_slots_and_sectors_allow(void **state)
{
	u32 each, ignored;
	const unsigned int most = armed(state, 32, SECTORS, &each);

	for (unsigned int slots = 1; slots <= 32; slots++)
		assert_int_equal(armed(state, slots, SECTORS, &ignored), MIN(slots, most));
	for (unsigned int n = 0; n <= most; n++) {
		assert_int_equal(armed(state, 32, (u64)n * each, &ignored), n);
		if (n)
			assert_int_equal(armed(state, 32, (u64)n * each - 1, &ignored), n - 1);
	}
}

static void the_next_reset_ends_them(void **state)
{
	(void)state;
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(bench_work(false), OK);
	hba.hold = true;
	assert_int_equal(bench_arm(), OK);
	pci_clear_master(bench.dev);
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(hba.port[0].ci, 0);
	run();
	assert_int_equal(hba.commands, 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
	const struct CMUnitTest tests[] = {
		T(only_ahci_controllers_are_its_own),
		T(reset_stops_every_port_and_lowers_the_line),
		T(it_enters_ahci_mode_first),
		T(memory_is_enabled_before_it_is_used),
		T(a_reset_that_does_not_end_times_out_after_a_second),
		T(a_bar_without_room_for_its_ports_is_refused_with_a_line),
		T(a_device_that_is_removed_has_not_done_its_work),
		T(without_a_drive_it_logs_so_soon_and_starts_nothing),
		T(the_first_port_with_a_device_is_taken),
		T(a_device_may_be_late),
		T(a_device_that_is_no_disk_is_absent_with_a_line),
		T(wherever_memory_runs_out_nothing_is_started),
		T(what_it_cannot_reach_is_not_given_to_it),
		T(one_that_cannot_interrupt_is_not_started),
		T(causes_from_before_it_runs_are_cleared),
		T(identify_is_answered_by_an_interrupt),
		T(it_may_be_answered_late_but_not_never),
		T(a_command_ends_by_interrupt_alone),
		T(without_msi_intx_does_it),
		T(an_interrupt_without_a_cause_is_not_handled),
		T(a_cause_that_cannot_be_cleared_disables_the_line),
		T(a_removed_device_claims_no_interrupt),
		T(an_interrupt_that_comes_second_is_not_unexpected),
		T(an_answer_that_is_an_error_or_no_disk_s_is_one),
		T(an_answer_without_data_is_an_error),
		T(reads_are_in_flight_until_each_has_completed),
		T(several_may_end_with_one_interrupt),
		T(as_many_as_slots_and_sectors_allow),
		T(the_next_reset_ends_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
