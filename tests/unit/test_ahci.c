/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the ahci driver ends whatever a controller was doing, finds the first port that has a device, starts it in the
 * specification's order, believes a disk by what only IDENTIFY DEVICE brings, ends a command by interrupt alone, and leaves reads
 * in flight, each with a buffer of its own, as many as there are slots and sectors for.
 * Could be false: a controller may never end its reset, forget that it speaks AHCI, have no device, or one that is no disk or late;
 * a port may stop with an error, complete several commands at once, or hold a line that is not its own.
 * Provoked: a model of AHCI 1.3.1 that fails the test at what is undefined there, with one fault at a time.
 * Failure: a wrong status, a port that runs all the same, a wait beyond its bound, or a line that does not say what happened.
 */
#include "drivers/ahci/ahci.h"
#include "irq/i8259.h"
#include "irq/lapic.h"
#include "lib/time.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_pci.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#include <sys/mman.h>

#define BDF	 PCI_BDF(0, 6, 0)
#define BAR	 0xfe000000
#define BAR_SIZE 0x1000
#define MSI	 0x80
#define HEAP	 4096
#define DMA	 (4096 + 8 * 65536)
#define PM_TIMER 0x708 /* one at which things happen, see timer_in */
#define NEVER	 (~0U)

#define PORTS	 6
#define S64A	 0x80000000
#define CAP	 (S64A | 31 << 8 | (PORTS - 1)) /* 32 slots */
#define GHC	 (BAR + 0x04)
#define AE	 0x80000000
#define ATA	 0x00000101
#define SECTORS	 16384
#define DONE	 0x00000001 /* DHRS */
#define TFES	 0x40000000
#define TICKS_MS 3579.545

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
	u16 words[256];	       /* what IDENTIFY DEVICE brings */
	/* faults */
	unsigned int resets; /* reads of GHC before a reset ends */
	unsigned int waits;  /* reads of PxTFD before a device is ready, from FRE on */
	unsigned int links;  /* reads of PxSSTS before a device shows */
	bool forgets;	     /* with its reset, that it speaks AHCI */
	bool hold;	     /* takes no command */
	bool fails;	     /* each command ends in an error */
	bool stuck;	     /* PxIS stays */
} hba;

static struct fake_pci *fake;
static struct fake_devs devs;
static struct pci_dev *dev;
static struct arena heap, dma;
static struct driver_env env = { &heap, &dma };
static void (*tick)(void); /* before each look at the clock */

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
	bool messages = dev->msi && flags & PCI_MSI_FLAGS_ENABLE;

	fake_irq_line(hba.fn->cfg[PCI_INTERRUPT_LINE], hba.is && hba.ghc & 2 && !messages && !(command & PCI_COMMAND_INTX_DISABLE));
}

/* 3.1.3: IS holds a port's bit as long as what it enabled is pending. */
static void pend(struct port_model *port, u32 cause)
{
	u16 flags = (u16)fake_get(hba.fn, MSI + 2, 2), command = (u16)fake_get(hba.fn, PCI_COMMAND, 2);

	port->is |= cause;
	if (!(port->is & port->ie))
		return;
	hba.is |= 1U << (port - hba.port);
	if (dev->msi && flags & PCI_MSI_FLAGS_ENABLE) {
		if (cause && hba.ghc & 2 && command & PCI_COMMAND_MASTER)
			fake_lapic_message(fake_get(hba.fn, MSI + 4, 4), fake_get(hba.fn, MSI + 12, 2));
	} else if (hba.fn->cfg[PCI_INTERRUPT_LINE]) {
		line();
	}
}

/* What a sector holds: its number, all over. */
static void disk_read(u8 *to, u64 sector, u32 sectors)
{
	for (u32 i = 0; i < sectors * 512; i++)
		to[i] = (u8)(sector + i / 512 + 1);
}

/* 4.2.2, 4.2.3. */
static void execute(struct port_model *port, unsigned int slot)
{
	u32 *header = (u32 *)(uintptr_t)(port->clb + 32 * slot), size;
	u64 table, data, sector;
	const u8 *fis;

	memcpy(&table, header + 2, 8);
	assert_int_equal(header[0], 1 << 16 | 5);
	assert_int_equal(header[1], 0);
	assert_int_equal(table % 128, 0);
	fis = (u8 *)(uintptr_t)table;
	memcpy(&data, fis + 0x80, 8);
	memcpy(&size, fis + 0x8c, 4);
	assert_true(data % 2 == 0 && size % 2 == 1);
	assert_int_equal(fis[0], 0x27);
	assert_int_equal(fis[1], 0x80);
	sector = fis[4] | fis[5] << 8 | fis[6] << 16 | (u64)fis[8] << 24;
	switch (fis[2]) {
	case 0xec:
		assert_int_equal(size, 511);
		memcpy((void *)(uintptr_t)data, hba.words, 512);
		break;
	case 0x25:
		assert_int_equal(fis[7], 0x40);
		assert_int_equal(size, (fis[12] | fis[13] << 8) * 512 - 1);
		assert_true(sector + (size + 1) / 512 <= SECTORS);
		disk_read((void *)(uintptr_t)data, sector, (size + 1) / 512);
		break;
	default:
		fail_msg("command 0x%02x", fis[2]);
	}
	header[1] = size + 1;
	hba.commands++;
}

/* One command at a time, in the order of the slots; of its end it tells afterwards (5.3.12). */
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
			pend(&hba.port[i], DONE);
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
		if (hba.ghc & 1 && counts_down(&hba.resets))
			hba.ghc = hba.forgets ? 0 : AE;
		return hba.ghc;
	}
	assert_true((hba.ghc & (AE | 1)) == AE); /* 3.1.2, 10.4.3 */
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
		if (port->cmd & 0x10 && !port->errors && counts_down(&hba.waits) && port->tfd == 0x7f)
			port->tfd = 0x50;
		return port->tfd;
	case 0x24:
		assert_false(port->tfd & 0x88); /* 3.3.9: before the device's first FIS it says nothing */
		return port->sig;
	case 0x28:
		return port->cmd & 2 && counts_down(&hba.links) ? port->ssts : 0;
	case 0x38:
		return port->ci;
	}
	fail_msg("ahci + 0x%lx is read", offset);
	return 0;
}

static void control(u32 value)
{
	if (value & 1) {
		assert_true(hba.ghc & AE && value & AE); /* 3.1.2 */
		for (unsigned int i = 0; i < PORTS; i++) {
			hba.port[i].is = hba.port[i].ie = hba.port[i].cmd = hba.port[i].ci = 0;
			hba.port[i].tfd = 0x7f;
			hba.port[i].errors = true;
		}
		hba.is = 0;
		hba.ghc = AE | 1;
		return; /* the line is as it was: what QEMU does, too */
	}
	hba.ghc = value;
	if (value & 2)
		assert_true(!dev->msi || fake_get(hba.fn, MSI + 2, 2) & PCI_MSI_FLAGS_ENABLE);
	line();
}

/* 10.3: what has to be in place before a port receives, and before it takes commands. */
static void command_and_status(struct port_model *port, u32 value)
{
	if (value & ~port->cmd & 0x10)
		assert_true(port->fb && port->fb % 256 == 0);
	if (value & ~port->cmd & 1) {
		assert_true(port->cmd & 0x10 && port->clb && port->clb % 1024 == 0);
		assert_true(!(port->tfd & 0x88) && port->ssts == 0x113 && !port->errors && !port->is);
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
	assert_true((hba.ghc & (AE | 1)) == AE);
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
		assert_false(port->cmd & 1); /* 3.3.1 */
		memcpy((u8 *)&port->clb + (offset & 4), &value, 4);
		return;
	case 0x08:
	case 0x0c:
		assert_false(port->cmd & 0x10); /* 3.3.3 */
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
		assert_true(port->cmd & 1 && !(port->ci & value));
		port->ci |= value;
		if (!hba.hold)
			run();
		return;
	}
	fail_msg("ahci + 0x%lx <- 0x%x", offset, value);
}

/* Whoever asks for the time holds interrupts off meanwhile (lib/time.c); what happens, happens just before. */
static u32 timer_in(u16 port, unsigned int size)
{
	bool before = fake_x86.irq_on;
	u32 now = fake_x86.pm_timer;

	(void)port;
	(void)size;
	fake_x86.pm_timer += fake_x86.pm_step;
	if (tick) {
		fake_x86.irq_on = true;
		tick();
		fake_x86.irq_on = before;
	}
	return now;
}

/* --- the tests --- */

static enum status no_map(u64 address, u64 size)
{
	(void)address;
	(void)size;
	return OK;
}

static struct arena arena(u64 size)
{
	void *memory = aligned_alloc(PAGE_SIZE, size);

	assert_non_null(memory);
	return (struct arena){ (u64)(uintptr_t)memory, size, 0 };
}

static void set_sectors(u64 sectors)
{
	memcpy(hba.words + 100, &sectors, sizeof(sectors));
}

static void give_disk(unsigned int port)
{
	hba.port[port].ssts = 0x113;
	hba.port[port].sig = ATA;
}

static int begin(void **state)
{
	static const struct fake_ports ports = { PM_TIMER, PM_TIMER, timer_in, NULL };

	(void)state;
	fake_log_start();
	fake_x86_reset();
	fake_lapic_start();
	fake_i8259_start();
	assert_int_equal(lapic_init(no_map), OK);
	i8259_init();
	tick = NULL;
	fake_x86_claim(&ports);
	time_init(PM_TIMER);
	fake = fake_pci_new();
	hba = (struct ahci_model){ .fn = fake_add(fake, BDF, 0x8086, 0x2922), .cap = CAP, .ghc = AE, .pi = (1 << PORTS) - 1 };
	hba.words[83] = 0x7400;
	set_sectors(SECTORS);
	give_disk(0);
	fake_set(hba.fn, PCI_CLASS_REVISION, 4, 0x01060102);
	fake_set(hba.fn, PCI_INTERRUPT_PIN, 1, 1);
	fake_cap_msi(hba.fn, MSI, PCI_MSI_FLAGS_64BIT);
	hba.bar = fake_bar(fake, hba.fn, 5, BAR, BAR_SIZE, false);
	hba.bar->read = ahci_read;
	hba.bar->write = ahci_write;
	fake_enumerate(fake, &devs);
	dev = devs.dev;
	fake_sized(fake, dev);
	dev->driver = &ahci_driver.pci;
	heap = arena(HEAP);
	dma = arena(DMA);
	fake_x86.irq_on = true;
	vector_forget_unexpected();
	return 0;
}

static int end(void **state)
{
	(void)state;
	free((void *)(uintptr_t)heap.base);
	free((void *)(uintptr_t)dma.base);
	fake_pci_free(fake);
	return 0;
}

static void again(void **state)
{
	end(state);
	begin(state);
}

/* INTx instead of MSI, on a line that no test before had: the 8259's driver keeps its handlers. */
static u8 intx(void)
{
	static const u8 lines[] = { 5, 9, 10, 11 };
	static unsigned int taken;

	assert_true(taken < ARRAY_SIZE(lines));
	fake_set(hba.fn, PCI_INTERRUPT_LINE, 1, lines[taken]);
	dev->msi = 0;
	return lines[taken++];
}

static enum status bring_up(void)
{
	enum status s = dev->driver->reset(dev);

	pci_set_master(dev);
	if (s == OK)
		s = dev->driver->probe(dev, &env);
	if (s == OK)
		fake_log_start();
	return s;
}

static enum status work(void)
{
	return driver_of(dev)->work(dev, false);
}

static enum status arm(void)
{
	return driver_of(dev)->arm(dev);
}

static unsigned int in_flight(void)
{
	return driver_of(dev)->in_flight(dev);
}

static void assert_took(u32 begun, double ms, unsigned int looks)
{
	assert_uint_in_range(fake_x86.pm_timer - begun, (u32)(ms * TICKS_MS) - 1, (u32)(ms * TICKS_MS) + looks * fake_x86.pm_step);
}

static void assert_nothing_runs(void)
{
	for (unsigned int i = 0; i < PORTS; i++)
		assert_int_equal(hba.port[i].cmd & 1, 0);
	assert_int_equal(hba.ghc & 2, 0);
}

static void only_ahci_controllers_are_its_own(void **state)
{
	static const u32 others[] = { 0x010600, 0x010602, 0x01018a, 0x010400, 0x020601 };

	(void)state;
	assert_true(ahci_driver.pci.match(dev));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(ahci_driver.pci.match(&(struct pci_dev){ .class = others[i] }));
}

/* --- reset --- */

static void reset_stops_every_port_and_lowers_the_line(void **state)
{
	static const struct fake_access want[] = { MEM_W32(GHC, AE | 1), MEM_W32(GHC, AE) };

	(void)state;
	fake_set(hba.fn, PCI_COMMAND, 2, 0x0002); /* as the previous kernel hands it over: bus master off */
	fake_set(hba.fn, PCI_INTERRUPT_LINE, 1, 7);
	for (unsigned int i = 0; i < PORTS; i++)
		hba.port[i] = (struct port_model){ .cmd = 0xc017, .ci = 0xff, .ie = DONE, .is = DONE };
	hba.is = (1 << PORTS) - 1;
	hba.ghc = AE | 2;
	hba.resets = 5;
	line();
	assert_true(fake_i8259.pic[0].wires >> 7 & 1);
	assert_int_equal(dev->driver->reset(dev), OK);
	assert_false(fake_i8259.pic[0].wires >> 7 & 1);
	assert_int_equal(hba.resets, 0);
	for (unsigned int i = 0; i < PORTS; i++)
		assert_int_equal(hba.port[i].cmd | hba.port[i].ci | hba.port[i].ie | hba.port[i].is, 0);
	assert_writes(fake, want);
	assert_int_equal(fake_get(hba.fn, PCI_COMMAND, 2), 0x0002);
	assert_int_equal(fake_log_lines(), 0);
}

/* GHC.AE may be off before a reset, and behind it. */
static void it_speaks_ahci_first(void **state)
{
	static const struct fake_access want[] = { MEM_W32(GHC, AE), MEM_W32(GHC, AE | 1), MEM_W32(GHC, AE) };

	(void)state;
	hba.ghc = 0;
	hba.forgets = true;
	assert_int_equal(dev->driver->reset(dev), OK);
	assert_writes(fake, want);
	assert_int_equal(hba.ghc, AE);
}

static void memory_is_enabled_before_it_is_used(void **state)
{
	(void)state;
	fake_set(hba.fn, PCI_COMMAND, 2, 0);
	assert_int_equal(dev->driver->reset(dev), OK);
	assert_int_equal(fake_get(hba.fn, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
}

static void a_reset_that_does_not_end_is_given_up_after_a_second(void **state)
{
	u32 begun = fake_x86.pm_timer;

	(void)state;
	hba.resets = NEVER;
	assert_int_equal(dev->driver->reset(dev), ERR_TIMEOUT);
	assert_took(begun, 1000, 3);
	assert_one_line("0000:00:06.0 ahci: not reset within 1000 ms, 0x80000001");
	/* The twin: it does, just in time. */
	again(state);
	hba.resets = (u32)(990 * TICKS_MS) / fake_x86.pm_step;
	assert_int_equal(dev->driver->reset(dev), OK);
	assert_int_equal(fake_log_lines(), 0);
}

static void a_bar_without_room_for_its_ports_is_refused_with_a_line(void **state)
{
	(void)state;
	hba.pi = 0x80000000;
	assert_int_equal(dev->driver->reset(dev), ERR_RANGE);
	assert_one_line("ahci is at 0x0 of BAR 5, 4352 bytes: the BAR has 4096");
	assert_no_writes(fake);
	again(state);
	hba.pi = 0x20000000; /* the twin: 30 ports fill it */
	assert_int_equal(dev->driver->reset(dev), OK);
	fake_set(hba.fn, PCI_BASE_ADDRESS_0 + 20, 4, 0);
	assert_int_equal(dev->driver->reset(dev), ERR_ABSENT);
	assert_one_line("ahci is in BAR 5, which is no assigned memory BAR");
}

/* Wherever it goes: it has done its work when it has seen the command, and not before; and nobody waits beyond a bound. */
static void one_that_goes_has_not_done_its_work(void **state)
{
	unsigned int all, n = 0;
	enum status s;

	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(), OK);
	all = fake->logged;
	do {
		again(state);
		fake_x86.pm_step = 1 << 20;
		hba.fn->answers = (int)n++;
		s = bring_up();
		s = s == OK ? work() : s;
	} while (s != OK);
	assert_int_equal(n - 1, all); /* the last is PxCI, without which nothing has ended */
}

/* --- probe --- */

static void without_a_drive_it_says_so_soon_and_starts_nothing(void **state)
{
	u32 begun;

	(void)state;
	hba.port[0].ssts = 0;
	hba.port[3].ssts = 0x001; /* a device without a link */
	hba.port[4].ssts = 0x004; /* switched off */
	begun = fake_x86.pm_timer;
	assert_int_equal(bring_up(), ERR_ABSENT);
	assert_took(begun, 10, 4);
	assert_one_line("0000:00:06.0 ahci: no drive");
	assert_nothing_runs();
	assert_int_equal(dma.used, 0);
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
		assert_int_equal(bring_up(), OK);
		assert_int_equal(work(), OK);
		for (unsigned int i = 0; i < PORTS; i++)
			assert_int_equal(hba.port[i].cmd & 1, i == n);
		again(state);
	}
}

static void a_device_may_be_late(void **state)
{
	(void)state;
	hba.links = 20;
	hba.waits = 1000;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(hba.links + hba.waits, 0);
	/* The twin: one that never gets ready is given up after ten seconds. */
	again(state);
	hba.waits = NEVER;
	fake_x86.pm_step = 3580;
	assert_int_equal(bring_up(), ERR_TIMEOUT);
	assert_true(fake_log_has("0000:00:06.0 ahci: not ready within 10000 ms, 0x7f"));
	assert_nothing_runs();
}

static void what_is_no_disk_is_left_alone_with_a_line(void **state)
{
	(void)state;
	hba.port[0].sig = 0xeb140101; /* ATAPI */
	assert_int_equal(bring_up(), ERR_ABSENT);
	assert_true(fake_log_has("0000:00:06.0 ahci: no disk, signature 0xeb140101"));
	assert_nothing_runs();
}

static void memory_that_runs_out_is_an_error_and_nothing_is_started(void **state)
{
	static const struct {
		u64 heap, dma;
		enum status want;
	} rows[] = { { 0, DMA, ERR_RANGE }, { HEAP, DMA - 1, ERR_RANGE }, { HEAP, DMA, OK } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		heap.size = rows[i].heap;
		dma.size = rows[i].dma;
		assert_int_equal(bring_up(), rows[i].want);
		if (rows[i].want != OK) {
			assert_true(fake_log_has("memory: "));
			assert_nothing_runs();
		}
		again(state);
	}
	assert_int_equal(ahci_driver.dma, DMA);
}

/* The host's memory lies above 4 GiB, but for what is asked to lie below. */
static void what_it_cannot_reach_is_not_given_to_it(void **state)
{
	struct arena high = dma;

	(void)state;
	hba.cap &= ~S64A;
	assert_int_equal(bring_up(), ERR_ABSENT);
	assert_one_line("0000:00:06.0 ahci: no DMA memory below 4 GiB, the device reaches no further");
	assert_nothing_runs();
	dma.base = (u64)(uintptr_t)mmap(NULL, DMA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	dma.used = 0;
	assert_uint_in_range(dma.base, 1, UINT32_MAX);
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(), OK);
	munmap((void *)(uintptr_t)dma.base, DMA);
	dma = high;
}

static void one_that_cannot_interrupt_is_not_started(void **state)
{
	(void)state;
	fake_lapic.id = 0x100; /* no message reaches it */
	assert_int_equal(bring_up(), ERR_RANGE);
	assert_one_line("APIC ID 256");
	assert_nothing_runs();
	again(state);
	dev->msi = 0;
	assert_int_equal(bring_up(), ERR_ABSENT);
	assert_one_line("0000:00:06.0 ahci: INTx unavailable, Interrupt Line 0x00");
	assert_nothing_runs();
}

/* --- work --- */

static void identify_is_answered_by_an_interrupt(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(), OK);
	assert_one_line("0000:00:06.0 ahci: 8192 KiB, MSI vector 0x");
	assert_true(fake_log_has(": 1 commands, 1 interrupts"));
	assert_int_equal(hba.commands, 1);
	assert_int_equal(fake_lapic.delivered, 1);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_int_equal(hba.is | hba.port[0].is, 0);
	assert_true(fake_get(hba.fn, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
}

static unsigned int looks;

static void run_late(void)
{
	if (++looks == 5)
		run();
}

static void it_may_be_answered_late_but_not_never(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	hba.hold = true;
	looks = 0;
	tick = run_late;
	assert_int_equal(work(), OK);
	assert_int_equal(looks, 5);
	tick = NULL;
	fake_log_start();
	assert_int_equal(work(), ERR_TIMEOUT);
	assert_one_line("0000:00:06.0 ahci: no completed command within 5000 ms, 1 of 2");
	/* The same without bus master: it does not even see it. */
	again(state);
	assert_int_equal(bring_up(), OK);
	pci_clear_master(dev);
	assert_int_equal(work(), ERR_TIMEOUT);
	assert_int_equal(hba.commands, 0);
}

/* What is done, but not told of, has not ended. */
static void a_command_ends_by_interrupt_alone(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	hba.ghc &= ~2U;
	assert_int_equal(work(), ERR_TIMEOUT);
	assert_int_equal(hba.commands, 1);
	assert_int_equal(hba.port[0].ci, 0);
}

static void without_msi_intx_does_it(void **state)
{
	u8 number = intx();
	char said[64];

	(void)state;
	fake_set(hba.fn, PCI_COMMAND, 2, 0x0406); /* as a kernel that used MSI leaves it */
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(), OK);
	snprintf(said, sizeof(said), "8192 KiB, INTx irq 0x%02x: 1 commands, 1 interrupts", number);
	assert_one_line(said);
	assert_int_equal(fake_i8259.taken[number], 1);
	assert_int_equal(fake_lapic.delivered, 0);
}

/* The line is shared: an interrupt without a cause in IS is another's. */
static void an_interrupt_without_a_cause_is_not_ours(void **state)
{
	u8 number = intx();

	(void)state;
	assert_int_equal(bring_up(), OK);
	fake_forget(fake);
	fake_i8259.limit = 100000;
	fake_irq_line(number, true); /* nobody lowers it */
	assert_true(i8259_line_disabled(number));
	assert_no_writes(fake);
	/* The twin: ours is, so that nobody gives up. */
	again(state);
	number = intx();
	assert_int_equal(bring_up(), OK);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(work(), OK);
	assert_int_equal(fake_i8259.taken[number], 100);
	assert_false(i8259_line_disabled(number));
	assert_false(fake_i8259.pic[number / 8].wires >> number % 8 & 1);
}

static void one_that_cannot_be_quieted_loses_its_line(void **state)
{
	u8 number = intx();

	(void)state;
	assert_int_equal(bring_up(), OK);
	fake_i8259.limit = 200000;
	hba.stuck = true;
	work();
	assert_int_equal(hba.commands, 1);
	assert_true(i8259_line_disabled(number));
}

/* All ones are no cause: it has gone. */
static void one_that_has_gone_did_not_interrupt(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	fake_forget(fake);
	hba.port[0].is = 0xffffffff;
	hba.is = 0xffffffff;
	fake_lapic_message(fake_get(hba.fn, MSI + 4, 4), fake_get(hba.fn, MSI + 12, 2));
	assert_int_equal(vector_unexpected_count(), 1);
	assert_no_writes(fake);
}

/* A message of an earlier event may come when its command has been seen to end: it is ours all the same. */
static void an_interrupt_that_comes_second_is_no_stray(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(), OK);
	pend(&hba.port[0], DONE);
	assert_int_equal(fake_lapic.delivered, 2);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_int_equal(hba.is | hba.port[0].is, 0);
	/* Nor when its cause was cleared with the one before: QEMU 7.2 sends one each time, also for a cause that is pending. */
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
		assert_int_equal(bring_up(), OK);
		hba.words[83] = rows[i].word;
		hba.fails = rows[i].fails;
		assert_int_equal(work(), rows[i].want);
		assert_one_line(rows[i].line);
		assert_int_equal(vector_unexpected_count(), 0);
		again(state);
	}
}

/* --- what is left in flight --- */

static const u8 *buffer(unsigned int slot)
{
	return (const u8 *)(uintptr_t)(dma.base + PAGE_SIZE + slot * 65536UL);
}

static void reads_are_in_flight_until_each_is_told_of(void **state)
{
	u8 *want = malloc(65536);

	(void)state;
	assert_non_null(want);
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(), OK);
	assert_int_equal(in_flight(), 0);
	hba.hold = true;
	assert_int_equal(arm(), OK);
	assert_int_equal(in_flight(), 8);
	assert_int_equal(hba.port[0].ci, 0xff);
	for (unsigned int n = 0; n < 8; n++) {
		memset(want, 0x5c, 65536);
		assert_memory_equal(buffer(n), want, 65536);
		assert_true(step(&hba.port[0]));
		pend(&hba.port[0], DONE);
		assert_int_equal(in_flight(), 7 - n);
		disk_read(want, 128 * n, 128);
		assert_memory_equal(buffer(n), want, 65536);
	}
	assert_false(step(&hba.port[0]));
	assert_int_equal(fake_lapic.delivered, 9);
	assert_int_equal(vector_unexpected_count(), 0);
	free(want);
}

static void several_may_end_with_one_interrupt(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(), OK);
	hba.hold = true;
	assert_int_equal(arm(), OK);
	for (unsigned int n = 0; n < 3; n++)
		assert_true(step(&hba.port[0]));
	assert_int_equal(in_flight(), 8); /* nobody has told */
	pend(&hba.port[0], DONE);
	assert_int_equal(in_flight(), 5);
	assert_int_equal(fake_lapic.delivered, 2);
	hba.fails = true; /* and all with an error: the port stops */
	run();
	assert_int_equal(in_flight(), 0);
	assert_int_equal(vector_unexpected_count(), 0);
}

static void as_many_as_slots_and_sectors_allow(void **state)
{
	static const struct {
		unsigned int slots;
		u64 sectors;
		unsigned int want;
	} rows[] = { { 1, SECTORS, 1 }, { 7, SECTORS, 7 }, { 8, SECTORS, 8 }, { 32, 1023, 7 },
		     { 32, 128, 1 },	{ 32, 127, 0 },	   { 32, 0, 0 } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		hba.cap = S64A | (rows[i].slots - 1) << 8 | (PORTS - 1);
		set_sectors(rows[i].sectors);
		assert_int_equal(bring_up(), OK);
		assert_int_equal(work(), OK);
		hba.hold = true;
		assert_int_equal(arm(), OK);
		assert_int_equal(in_flight(), rows[i].want);
		assert_int_equal(hba.port[0].ci, (1U << rows[i].want) - 1);
		again(state);
	}
}

static void the_next_reset_ends_them(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(work(), OK);
	hba.hold = true;
	assert_int_equal(arm(), OK);
	pci_clear_master(dev);
	assert_int_equal(dev->driver->reset(dev), OK);
	assert_int_equal(hba.port[0].ci, 0);
	run();
	assert_int_equal(hba.commands, 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(only_ahci_controllers_are_its_own),
		T(reset_stops_every_port_and_lowers_the_line),
		T(it_speaks_ahci_first),
		T(memory_is_enabled_before_it_is_used),
		T(a_reset_that_does_not_end_is_given_up_after_a_second),
		T(a_bar_without_room_for_its_ports_is_refused_with_a_line),
		T(one_that_goes_has_not_done_its_work),
		T(without_a_drive_it_says_so_soon_and_starts_nothing),
		T(the_first_port_with_a_device_is_taken),
		T(a_device_may_be_late),
		T(what_is_no_disk_is_left_alone_with_a_line),
		T(memory_that_runs_out_is_an_error_and_nothing_is_started),
		T(what_it_cannot_reach_is_not_given_to_it),
		T(one_that_cannot_interrupt_is_not_started),
		T(identify_is_answered_by_an_interrupt),
		T(it_may_be_answered_late_but_not_never),
		T(a_command_ends_by_interrupt_alone),
		T(without_msi_intx_does_it),
		T(an_interrupt_without_a_cause_is_not_ours),
		T(one_that_cannot_be_quieted_loses_its_line),
		T(one_that_has_gone_did_not_interrupt),
		T(an_interrupt_that_comes_second_is_no_stray),
		T(an_answer_that_is_an_error_or_no_disk_s_is_one),
		T(reads_are_in_flight_until_each_is_told_of),
		T(several_may_end_with_one_interrupt),
		T(as_many_as_slots_and_sectors_allow),
		T(the_next_reset_ends_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
