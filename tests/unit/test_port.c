/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: the driver of PCIe ports takes the ports whose slot reports completed commands, hears of commands and errors by every kind
 * of message, clears of each status register the events that it took and nothing else, and leaves the port as deaf as it found it.
 * Could be false: events are write-1-to-clear, beside others that are somebody else's; a port has one vector or two, MSI or MSI-X,
 * errors or none to report; what a previous kernel listened to goes on interrupting.
 * Provoked: a port with Slot Control, Root Error Status and both kinds of messages, which interrupts when an enabled event appears;
 * one fault at a time. Failure: other writes than wanted, a wrong status or a line that does not say what happened.
 */
#include "drivers/port/port.h"
#include "irq/lapic.h"
#include "lib/time.h"
#include "tests/unit/fake_irq.h"
#include "tests/unit/fake_pci.h"
#include "tests/unit/fake_x86.h"
#include "tests/unit/unit.h"

#define BDF	    PCI_BDF(0, 2, 0)
#define EXP	    0x54 /* where fake_bridge has it */
#define MESSAGES    0x90 /* MSI or MSI-X */
#define AER	    0x100
#define BAR	    0xfd000000 /* MSI-X */
#define SLTCTL	    (EXP + 0x18)
#define SLTSTA	    (EXP + 0x1a)
#define ROOT_CMD    (AER + 0x2c)
#define ROOT_STATUS (AER + 0x30)

#define FOUND	    0x07c0 /* of Slot Control: indicators off, power on */
#define EVENTS	    0x0030
#define PRESENCE    0x0048 /* of Slot Status: detected, and changed, which is an event that is not ours */

/* What the driver may write. */
#define EVENTS_ON  CFG_W16(BDF, SLTCTL, FOUND | EVENTS)
#define EVENTS_OFF CFG_W16(BDF, SLTCTL, FOUND)
#define TAKEN	   CFG_W16(BDF, SLTSTA, 0x10)
#define ERRORS_ON  CFG_W32(BDF, ROOT_CMD, 7)
#define ERRORS_OFF CFG_W32(BDF, ROOT_CMD, 0)

/* Each kind of message, and how many vectors are used of it. */
static const struct kind {
	const char *name;
	bool msix;
	u16 msi; /* features */
	unsigned int entries;
	unsigned int vectors;
} kinds[] = {
	{ "MSI, 1 from", false, 0, 0, 1 },
	{ "MSI, 1 from", false, PCI_MSI_FLAGS_64BIT, 0, 1 },
	{ "MSI, 1 from", false, PCI_MSI_FLAGS_MASKBIT, 0, 1 },
	{ "MSI, 1 from", false, PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT, 0, 1 },
	{ "MSI, 2 from", false, 1 << 1, 0, 2 },
	{ "MSI, 2 from", false, PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | 1 << 1, 0, 2 },
	{ "MSI, 2 from", false, PCI_MSI_FLAGS_MASKBIT | 5 << 1, 0, 2 },
	{ "MSI-X, 1 from", true, 0, 1, 1 },
	{ "MSI-X, 2 from", true, 0, 2, 2 },
	{ "MSI-X, 2 from", true, 0, 3, 2 },
};

static struct port_model {
	struct fake_fn *fn;
	struct fake_mem *table;
	bool listening[2];	 /* that an enabled event was pending when last looked at: commands, errors */
	unsigned int unanswered; /* the command that does not complete; 0: none */
	unsigned int commands;
	unsigned int late; /* reads of Slot Status before the first command completes */
} port;

static struct fake_pci *fake;
static struct fake_devs devs;
static struct pci_dev *dev;
static struct arena heap;
static struct driver_env env = { &heap, NULL };

/* --- the model --- */

static void send_msi(unsigned int vector)
{
	u16 flags = (u16)fake_get(port.fn, MESSAGES + 2, 2);
	bool wide = flags & PCI_MSI_FLAGS_64BIT;
	u16 data = MESSAGES + (wide ? 12 : 8);

	assert_int_equal(fake_get(port.fn, data, 2) & ((1U << (flags >> 4 & 7)) - 1), 0);
	if (vector >> (flags >> 4 & 7))
		vector = 0; /* not granted */
	if (!(flags & PCI_MSI_FLAGS_MASKBIT && fake_get(port.fn, (u16)(data + 4), 4) >> vector & 1))
		fake_lapic_message(fake_get(port.fn, MESSAGES + 4, 4) | (wide ? (u64)fake_get(port.fn, MESSAGES + 8, 4) << 32 : 0),
				   fake_get(port.fn, data, 2) | vector);
}

static void send(unsigned int vector)
{
	u16 flags = (u16)fake_get(port.fn, MESSAGES + 2, 2);

	if (!(fake_get(port.fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER))
		return;
	if (!port.table && flags & PCI_MSI_FLAGS_ENABLE)
		send_msi(vector);
	if (!port.table || !(flags & PCI_MSIX_FLAGS_ENABLE) || flags & PCI_MSIX_FLAGS_MASKALL)
		return;
	vector = MIN(vector, flags & PCI_MSIX_FLAGS_QSIZE) * PCI_MSIX_ENTRY_SIZE;
	if (!(fake_mem_get(port.table, vector + 12, 4) & 1))
		fake_lapic_message(fake_mem_get(port.table, vector, 4), fake_mem_get(port.table, vector + 8, 4));
}

/* PCIe 6.7.3.4 and 6.2.4.1.2: a message for each event that appears while it is enabled, or is enabled while it is there. */
static void look(void)
{
	u32 control = fake_get(port.fn, SLTCTL, 2), errors = fake_get(port.fn, ROOT_STATUS, 4),
	    which = fake_get(port.fn, ROOT_CMD, 4);
	bool now[2] = { (control & EVENTS) == EVENTS && fake_get(port.fn, SLTSTA, 2) & 0x10,
			(errors & 0x03 && which & 1) || (errors & 0x0c && which & 6) };

	for (unsigned int i = 0; i < 2; i++) {
		bool before = port.listening[i];

		port.listening[i] = now[i];
		if (now[i] && !before)
			send(i);
	}
}

static void watch(struct fake_pci *f, const struct fake_access *a)
{
	(void)f;
	if (a->kind == FAKE_CFG_READ && a->where == SLTSTA && port.late && !--port.late)
		fake_set(port.fn, SLTSTA, 2, fake_get(port.fn, SLTSTA, 2) | 0x10);
	if (a->kind != FAKE_CFG_WRITE || a->lost)
		return;
	if (a->where == SLTCTL && ++port.commands != port.unanswered && !port.late)
		fake_set(port.fn, SLTSTA, 2, fake_get(port.fn, SLTSTA, 2) | 0x10);
	look();
}

static void error(u32 status)
{
	fake_set(port.fn, ROOT_STATUS, 4, fake_get(port.fn, ROOT_STATUS, 4) | status);
	look();
}

/* --- the tests --- */

static enum status no_map(u64 address, u64 size)
{
	(void)address;
	(void)size;
	return OK;
}

static void write_1_to_clear(u16 reg, u32 mask)
{
	memcpy(port.fn->w1c + reg, &mask, 4);
}

static int begin_kind(void **state)
{
	const struct kind *kind = *state;

	fake_log_start();
	fake_x86_reset();
	fake_lapic_start();
	assert_int_equal(lapic_init(no_map), OK);
	time_init(FAKE_PM_TIMER);
	fake = fake_pci_new();
	port = (struct port_model){ .fn = fake_bridge(fake, BDF, 1, 1) };
	fake_set(port.fn, EXP + 2, 2, 0x0142); /* a root port with a slot */
	fake_set(port.fn, EXP + 0x14, 4, 0x00000040);
	fake_set(port.fn, SLTCTL, 2, FOUND);
	fake_writable(port.fn, SLTCTL, 2, 0x1fff);
	fake_set(port.fn, SLTSTA, 2, PRESENCE);
	write_1_to_clear(SLTCTL, 0x011f0000); /* Slot Status in the upper half */
	fake_ext_cap(port.fn, AER, PCI_EXT_CAP_ID_ERR);
	fake_writable(port.fn, ROOT_CMD, 4, 0x7);
	fake_set(port.fn, ROOT_STATUS, 4, 0x08000000); /* interrupt message number 1 */
	write_1_to_clear(ROOT_STATUS, 0x7f);
	if (kind->msix) {
		fake_cap_msix(port.fn, MESSAGES, kind->entries, 0, 0);
		port.table = fake_bar(fake, port.fn, 0, BAR, 4096, false);
	} else {
		fake_cap_msi(port.fn, MESSAGES, kind->msi);
	}
	fake_enumerate(fake, &devs);
	dev = devs.dev;
	fake_sized(fake, dev);
	dev->driver = &pcie_port_driver.pci;
	fake->watch = watch;
	heap = (struct arena){ (u64)(uintptr_t)malloc(4096), 4096, 0 };
	fake_x86.irq_on = true;
	vector_forget_strays();
	return 0;
}

static int begin(void **state)
{
	*state = (void *)(uintptr_t)&kinds[1];
	return begin_kind(state);
}

static int end(void **state)
{
	(void)state;
	free((void *)(uintptr_t)heap.base);
	fake_pci_free(fake);
	return 0;
}

static void again(void **state)
{
	end(state);
	begin_kind(state);
}

static enum status bring_up(void)
{
	enum status s = dev->driver->reset(dev);

	if (s == OK)
		s = dev->driver->probe(dev, &env);
	if (s == OK) {
		fake_log_start();
		fake_forget(fake);
	}
	return s;
}

static enum status work(void)
{
	enum status s = driver_of(dev)->work(dev, false);

	return s == OK ? driver_of(dev)->finish(dev) : s;
}

static void ports_whose_commands_complete_are_its_own(void **state)
{
	static const struct {
		u16 flags;
		u32 slot;
		u8 header_type;
		u8 pcie;
		bool want;
	} rows[] = {
		{ 0x0142, 0x00000040, 1, EXP, true },  { 0x0162, 0x00000040, 1, EXP, true },   /* root and downstream port */
		{ 0x0152, 0x00000040, 1, EXP, false },					       /* upstream port */
		{ 0x0172, 0x00000040, 1, EXP, false },					       /* bridge to PCI */
		{ 0x0102, 0x00000040, 1, EXP, false }, { 0x0142, 0x00000040, 0, EXP, false },  /* endpoints */
		{ 0x0142, 0x0004007b, 1, EXP, false },					       /* no Command Completed */
		{ 0x0142, 0xfffbffbf, 1, EXP, false },					       /* not hot-plug capable */
		{ 0x0142, 0xfffbffff, 1, EXP, true },  { 0x0142, 0xffffffff, 1, EXP, false },  /* gone in between */
		{ 0xffff, 0x00000040, 1, EXP, false }, { 0x0142, 0x00000040, 1, 0, false },    /* PCI */
		{ 0x0142, 0x00000040, 1, 0xe4, true }, { 0x0142, 0x00000040, 1, 0xe8, false }, /* reaches past the space */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		memset(port.fn->cfg + EXP + 2, 0, 0x1c);
		fake_set(port.fn, rows[i].pcie + 2, 2, rows[i].flags);
		fake_set(port.fn, rows[i].pcie + 0x14, 4, rows[i].slot);
		dev->header_type = rows[i].header_type;
		dev->pcie = rows[i].pcie;
		if (pcie_port_driver.pci.match(dev) != rows[i].want)
			fail_msg("row %zu", i);
	}
	dev->pcie = EXP;
	port.fn->answers = 0;
	assert_false(pcie_port_driver.pci.match(dev));
	assert_no_writes(fake);
}

/* --- reset --- */

static void what_the_previous_kernel_listened_to_is_turned_off(void **state)
{
	static const struct {
		u16 control, status;
		u32 errors;
		unsigned int n;
		struct fake_access want[4];
	} rows[] = {
		{ FOUND | 0x30, 0x00, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND | 0x10, 0x00, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND | 0x20, 0x00, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND, 0x10, 0, 1, { TAKEN } },
		{ FOUND, 0x00, 5, 1, { ERRORS_OFF } },
		{ FOUND | 0x30, 0x10, 7, 4, { ERRORS_OFF, TAKEN, EVENTS_OFF, TAKEN } },
		{ FOUND, 0x00, 0, 0, { TAKEN } }, /* the twins: they listened to nothing, and write nothing */
		{ 0, 0x00, 0, 0, { TAKEN } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		fake_set(port.fn, SLTCTL, 2, rows[i].control);
		fake_set(port.fn, SLTSTA, 2, PRESENCE | rows[i].status);
		fake_set(port.fn, ROOT_CMD, 4, rows[i].errors);
		assert_int_equal(dev->driver->reset(dev), OK);
		if (!fake_writes_are(fake, rows[i].want, rows[i].n)) {
			fake_print(fake);
			fail_msg("row %zu", i);
		}
		assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE);
		assert_int_equal(fake_log_lines(), 0);
		assert_int_equal(fake_lapic.delivered, 0);
		again(state);
	}
}

/* PCIe 6.7.3.2: no command before the one before has completed. */
static void what_turns_the_events_off_is_a_command_and_awaited(void **state)
{
	fake_set(port.fn, SLTCTL, 2, FOUND | EVENTS);
	port.late = 5;
	assert_int_equal(dev->driver->reset(dev), OK);
	assert_int_equal(port.late, 0);
	assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE);
	/* The twin: it never does. */
	again(state);
	fake_set(port.fn, SLTCTL, 2, FOUND | EVENTS);
	port.unanswered = 1;
	assert_int_equal(dev->driver->reset(dev), ERR_TIMEOUT);
	assert_one_line("0000:00:02.0 pcie-port: events not off within 1000 ms");
}

static void one_that_has_gone_is_not_written_to(void **state)
{
	(void)state;
	fake_set(port.fn, SLTCTL, 2, FOUND | EVENTS);
	port.fn->answers = 0;
	assert_int_equal(dev->driver->reset(dev), ERR_ABSENT);
	assert_no_writes(fake);
	port.fn->answers = -1; /* the twin */
	assert_int_equal(dev->driver->reset(dev), OK);
	assert_int_equal(fake_writes(fake), 2);
}

/* --- every kind of message --- */

static void commands_complete_by_message(void **state)
{
	static const struct fake_access want[] = { ERRORS_ON, EVENTS_ON, TAKEN, EVENTS_ON, TAKEN };
	static const struct fake_access finish[] = { ERRORS_OFF, EVENTS_OFF, TAKEN };
	const struct kind *kind = *state;
	char said[64];

	assert_int_equal(bring_up(), OK);
	assert_int_equal(driver_of(dev)->work(dev, false), OK);
	assert_writes(fake, want);
	assert_int_equal(fake_lapic.delivered, 2);
	assert_int_equal(fake_lapic.eois, 2);
	assert_int_equal(vector_strays(), 0);
	fake_forget(fake);
	assert_int_equal(driver_of(dev)->finish(dev), OK);
	assert_writes(fake, finish);
	assert_int_equal(fake_lapic.delivered, 2); /* its own last command is none to be heard of */
	assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE);
	snprintf(said, sizeof(said), "0000:00:02.0 pcie-port: %s vector 0x", kind->name);
	assert_one_line(said);
	assert_true(fake_log_has(" on: 2 commands completed, 0 errors reported"));
}

/* Its vectors are a block that is aligned to their number, whoever had which before; each is heard. */
static void errors_come_by_their_own_vector_where_there_are_two(void **state)
{
	const struct kind *kind = *state;
	u8 vector;

	do
		assert_int_equal(vector_alloc(NULL, NULL, &vector), OK);
	while (vector % 2);
	assert_int_equal(bring_up(), OK);
	vector = (u8)ALIGN_UP(vector + 1U, kind->vectors);
	assert_int_equal(driver_of(dev)->work(dev, false), OK);
	assert_int_equal(vector_count(vector), 2);
	error(0x1);
	assert_int_equal(vector_count(vector + kind->vectors - 1), kind->vectors == 1 ? 3 : 1);
	assert_int_equal(fake_get(port.fn, ROOT_STATUS, 4), 0x08000000);
	assert_int_equal(vector_strays(), 0);
	assert_int_equal(driver_of(dev)->finish(dev), OK);
	assert_true(fake_log_has(" on: 2 commands completed, 1 errors reported"));
	error(0x1); /* the twin: deaf again */
	assert_int_equal(fake_lapic.delivered, 3);
}

/* --- probe --- */

static void without_messages_it_is_refused_with_a_line(void **state)
{
	(void)state;
	dev->msi = 0;
	assert_int_equal(bring_up(), ERR_ABSENT);
	assert_one_line("0000:00:02.0 pcie-port: neither MSI nor MSI-X");
	assert_no_writes(fake);
}

static void without_memory_it_is_not_driven(void **state)
{
	(void)state;
	heap.size = 0;
	assert_int_equal(bring_up(), ERR_RANGE);
	assert_one_line("memory: ");
	assert_no_writes(fake);
}

static void a_cpu_that_no_message_reaches_is_an_error(void **state)
{
	(void)state;
	fake_lapic.id = 0x100;
	assert_int_equal(bring_up(), ERR_RANGE);
	assert_one_line("APIC ID 256");
	assert_no_writes(fake);
}

/* --- work --- */

static void a_command_that_never_completes_is_given_up_with_a_line(void **state)
{
	static const char *const said[] = { "0 of 1", "1 of 2" };

	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(bring_up(), OK);
		port.unanswered = i + 1;
		assert_int_equal(work(), ERR_TIMEOUT);
		assert_one_line("0000:00:02.0 pcie-port: no completed command within 1000 ms, ");
		assert_true(fake_log_has(said[i]));
		assert_int_equal(port.commands, i + 2); /* the last is to be silent */
		assert_int_equal(fake_get(port.fn, SLTCTL, 2), FOUND);
		again(state);
	}
}

static void without_bus_master_nothing_is_heard(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	pci_clear_master(dev);
	assert_int_equal(work(), ERR_TIMEOUT);
	assert_true(fake_log_has("no completed command within 1000 ms, 0 of 1"));
}

/* Root Error Status is a root port's alone, and ECAM's. */
static void only_root_ports_report_errors(void **state)
{
	static const struct {
		u16 flags, cfg_size, at;
		bool want;
	} rows[] = {
		{ 0x0142, 4096, AER, true },	{ 0x0162, 4096, AER, false },
		{ 0x0142, 256, AER, false },	{ 0x0142, 4096, 0xfcc, true }, /* its last register is the last of all */
		{ 0x0142, 4096, 0xfd0, false }, { 0x0142, 4096, 0, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned int there = 0;

		fake_set(port.fn, EXP + 2, 2, rows[i].flags);
		fake->access.cfg_size = rows[i].cfg_size;
		memset(port.fn->cfg + AER, 0, FAKE_CFG_SIZE - AER);
		fake_set(port.fn, 0x30, 4, 0x0f); /* what is there in the header: I/O Base Upper 16 Bits */
		fake_set(port.fn, AER, 4, rows[i].at > AER ? (u32)rows[i].at << 20 | 1 << 16 | 0x0b : 0); /* vendor-specific */
		if (rows[i].at) {
			fake_set(port.fn, rows[i].at, 4, 1 << 16 | PCI_EXT_CAP_ID_ERR);
			fake_writable(port.fn, rows[i].at + 0x2c, 4, 0x7);
		}
		assert_int_equal(bring_up(), OK);
		assert_int_equal(work(), OK);
		for (unsigned int j = 0; j < fake->logged; j++)
			there += fake->log[j].kind == FAKE_CFG_WRITE && fake->log[j].size == 4;
		assert_int_equal(there, rows[i].want ? 2 : 0); /* on, and off */
		again(state);
	}
}

static void errors_are_counted_and_cleared_and_nothing_else(void **state)
{
	static const struct {
		u32 status;
		bool heard;
	} rows[] = {
		{ 0x01, true }, { 0x03, true }, { 0x02, true },	 { 0x04, true },  { 0x08, true },  { 0x2c, true },
		{ 0x54, true }, { 0x7f, true }, { 0x10, false }, { 0x20, false }, { 0x40, false }, /* the twins: what kind it was, but of none */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct fake_access want[] = { CFG_W32(BDF, ROOT_STATUS, 0x08000000 | rows[i].status) };

		assert_int_equal(bring_up(), OK);
		assert_int_equal(driver_of(dev)->work(dev, false), OK);
		fake_forget(fake);
		error(rows[i].status);
		if (!rows[i].heard)
			send(0); /* all the same: it is not its port's */
		if (rows[i].heard)
			assert_writes(fake, want);
		else
			assert_no_writes(fake);
		assert_int_equal(vector_strays(), 0);
		assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE);
		assert_int_equal(driver_of(dev)->finish(dev), OK);
		assert_true(fake_log_has(rows[i].heard ? ", 1 errors reported" : ", 0 errors reported"));
		again(state);
	}
}

/* One interrupt may tell of both. */
static void a_command_and_an_error_are_both_taken(void **state)
{
	static const struct fake_access want[] = { TAKEN, CFG_W32(BDF, ROOT_STATUS, 0x08000001) };

	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(driver_of(dev)->work(dev, false), OK);
	fake_forget(fake);
	fake_set(port.fn, SLTSTA, 2, PRESENCE | 0x10);
	fake_set(port.fn, ROOT_STATUS, 4, 0x08000001);
	send(0);
	assert_writes(fake, want);
	assert_int_equal(driver_of(dev)->finish(dev), OK);
	assert_true(fake_log_has(": 3 commands completed, 1 errors reported"));
}

/* Two vectors, both pending: whichever is first takes both events, and the other finds none. */
static void two_messages_at_once_are_no_strays(void **state)
{
	*state = (void *)(uintptr_t)&kinds[4];
	again(state);
	assert_int_equal(bring_up(), OK);
	assert_int_equal(driver_of(dev)->work(dev, false), OK);
	fake_x86.irq_on = false;
	error(0x1);
	fake_set(port.fn, SLTSTA, 2, PRESENCE | 0x10);
	look();
	fake_x86.irq_on = true;
	fake_lapic_deliver();
	fake_lapic_deliver();
	assert_int_equal(fake_lapic.delivered, 4);
	assert_int_equal(vector_strays(), 0);
	assert_int_equal(driver_of(dev)->finish(dev), OK);
	assert_true(fake_log_has(": 3 commands completed, 1 errors reported"));
}

static void an_interrupt_without_an_event_counts_nothing(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(driver_of(dev)->work(dev, false), OK);
	fake_forget(fake);
	send(0);
	port.fn->answers = 0; /* a port that has gone shows every event */
	send(0);
	assert_int_equal(fake_lapic.delivered, 4);
	assert_no_writes(fake);
	port.fn->answers = -1;
	assert_int_equal(driver_of(dev)->finish(dev), OK);
	assert_true(fake_log_has(": 2 commands completed, 0 errors reported"));
}

/* Wherever it goes: it has done its work when both of its commands were seen to complete, and not before. */
static void one_that_goes_has_not_done_its_work(void **state)
{
	unsigned int n = 0, all;
	enum status s;

	fake_set(port.fn, SLTCTL, 2, FOUND | EVENTS);
	fake_set(port.fn, ROOT_CMD, 4, 7);
	assert_int_equal(dev->driver->reset(dev), OK);
	assert_int_equal(dev->driver->probe(dev, &env), OK);
	assert_int_equal(driver_of(dev)->work(dev, false), OK);
	all = fake->logged;
	assert_int_equal(fake->log[all - 3].where, SLTSTA); /* the look at which the last one was seen */
	do {
		again(state);
		fake_set(port.fn, SLTCTL, 2, FOUND | EVENTS);
		fake_set(port.fn, ROOT_CMD, 4, 7);
		port.fn->answers = (int)n++;
		fake_x86.pm_step = 1 << 20;
		s = bring_up();
		s = s == OK ? driver_of(dev)->work(dev, false) : s;
		if (dev->driver_data)
			driver_of(dev)->finish(dev); /* whatever was reached */
	} while (s != OK);
	assert_int_equal(n, all - 1);
}

/* The last test: nothing is given back. */
static void without_vectors_it_is_not_driven(void **state)
{
	u8 vector;

	(void)state;
	while (vector_alloc(NULL, NULL, &vector) == OK)
		;
	fake_log_start();
	assert_int_equal(bring_up(), ERR_RANGE);
	assert_one_line("irq: no vector left");
	assert_no_writes(fake);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
#define K(test, name, i)                                                                                                           \
	{                                                                                                                          \
		name #test, test, begin_kind, end, (void *)(uintptr_t)&kinds[i]                                                    \
	}
#define EVERY_KIND(test)                                                                                                           \
	K(test, "msi32:", 0), K(test, "msi64:", 1), K(test, "msi32-mask:", 2), K(test, "msi64-mask:", 3), K(test, "msi32-2:", 4),  \
		K(test, "msi64-mask-2:", 5), K(test, "msi32-mask-32:", 6), K(test, "msix-1:", 7), K(test, "msix-2:", 8),           \
		K(test, "msix-3:", 9)
	const struct CMUnitTest tests[] = {
		T(ports_whose_commands_complete_are_its_own),
		T(what_the_previous_kernel_listened_to_is_turned_off),
		T(what_turns_the_events_off_is_a_command_and_awaited),
		T(one_that_has_gone_is_not_written_to),
		EVERY_KIND(commands_complete_by_message),
		EVERY_KIND(errors_come_by_their_own_vector_where_there_are_two),
		T(without_messages_it_is_refused_with_a_line),
		T(without_memory_it_is_not_driven),
		T(a_cpu_that_no_message_reaches_is_an_error),
		T(a_command_that_never_completes_is_given_up_with_a_line),
		T(without_bus_master_nothing_is_heard),
		T(only_root_ports_report_errors),
		T(errors_are_counted_and_cleared_and_nothing_else),
		T(a_command_and_an_error_are_both_taken),
		T(two_messages_at_once_are_no_strays),
		T(an_interrupt_without_an_event_counts_nothing),
		T(one_that_goes_has_not_done_its_work),
		T(without_vectors_it_is_not_driven),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
