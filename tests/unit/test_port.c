/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim: no command is written before the previous one has completed; of Slot Control only the interrupt enables change, of the
 * status registers only the events are cleared that were taken, and the port is left with no interrupt enabled, as it was
 * inherited. The driver takes the ports whose slot reports completed commands, and gets interrupts for commands and errors by every
 * kind of message. Could be false: events are write-1-to-clear, next to others that another driver owns; a port has one vector or
 * two, MSI or MSI-X, errors or none to report, and itself reports which vector it uses for what; events that a previous kernel
 * enabled keep interrupting, or, pending, keep the port from interrupting; some ports never report that a command is complete.
 * Provoked: a port with Slot Control, Root Error Status and both kinds of messages, which interrupts when an enabled event appears;
 * one fault at a time. Failure: other writes than these, a command too early, a wrong status or a line that does not say what
 * happened.
 */
#include "drivers/port/port.h"
#include "tests/unit/driver_bench.h"
#include "tests/unit/fake_irq.h"
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
#define LISTEN	    0x0030
#define PM_TIMER_HZ 3579545U
#define PRESENCE    0x0048 /* of Slot Status: detected, and changed, which is an event of another owner */

/* What the port may see written. */
#define EVENTS_ON  CFG_W16(BDF, SLTCTL, FOUND | LISTEN)
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

enum source { SLOT, ERRORS };

static struct port_model {
	struct fake_fn *fn;
	struct fake_mem *table;
	bool pending[2];	/* whether an enabled event was there at the last check */
	unsigned int number[2]; /* the vector that each source uses where there are enough */
	bool over_limit;	/* ignores that limit */
	u32 unanswered;		/* a bit for each command that does not complete; the first is 1 */
	unsigned int commands;
	u32 given;	   /* when the last one was */
	bool executing;	   /* that one */
	unsigned int late; /* reads of Slot Status before the first command completes */
	bool slow;	   /* none completes before the driver waits for it */
} port;

/* --- the model --- */

/* PCIe 7.5.3.2, 7.8.4.10: the vector of each source follows the number that was granted. */
static void say_numbers(void)
{
	u16 flags = (u16)fake_get(port.fn, MESSAGES + 2, 2);
	unsigned int last = port.table ? flags & PCI_MSIX_FLAGS_QSIZE : (1U << (flags >> 4 & 7)) - 1, n[2];

	for (unsigned int i = 0; i < 2; i++)
		n[i] = port.over_limit ? port.number[i] : MIN(port.number[i], last);
	fake_set(port.fn, EXP + 2, 2, (fake_get(port.fn, EXP + 2, 2) & ~0x3e00U) | n[SLOT] << 9);
	fake_set(port.fn, ROOT_STATUS, 4, (fake_get(port.fn, ROOT_STATUS, 4) & 0x07ffffff) | n[ERRORS] << 27);
}

static void send_msi(unsigned int vector)
{
	u16 flags = (u16)fake_get(port.fn, MESSAGES + 2, 2);
	bool wide = flags & PCI_MSI_FLAGS_64BIT;
	u16 data = MESSAGES + (wide ? 12 : 8);

	assert_int_equal(fake_get(port.fn, data, 2) & ((1U << (flags >> 4 & 7)) - 1), 0);
	if (!(flags & PCI_MSI_FLAGS_MASKBIT && fake_get(port.fn, (u16)(data + 4), 4) >> vector & 1))
		fake_lapic_message(fake_get(port.fn, MESSAGES + 4, 4) | (wide ? (u64)fake_get(port.fn, MESSAGES + 8, 4) << 32 : 0),
				   fake_get(port.fn, data, 2) | vector);
}

static void send(enum source source)
{
	u16 flags = (u16)fake_get(port.fn, MESSAGES + 2, 2);
	unsigned int vector = source == SLOT ? fake_get(port.fn, EXP + 2, 2) >> 9 & 31 : fake_get(port.fn, ROOT_STATUS, 4) >> 27;

	if (!(fake_get(port.fn, PCI_COMMAND, 2) & PCI_COMMAND_MASTER))
		return;
	if (!port.table && flags & PCI_MSI_FLAGS_ENABLE)
		send_msi(vector);
	if (!port.table || !(flags & PCI_MSIX_FLAGS_ENABLE) || flags & PCI_MSIX_FLAGS_MASKALL)
		return;
	vector *= PCI_MSIX_ENTRY_SIZE;
	if (!(fake_mem_get(port.table, vector + 12, 4) & 1))
		fake_lapic_message(fake_mem_get(port.table, vector, 4), fake_mem_get(port.table, vector + 8, 4));
}

/*
 * PCIe 6.7.3.4 and 6.2.4.1.2: a message when the first enabled event of a source appears, or is enabled while it is there; none
 * while another is pending.
 */
static void look(void)
{
	u32 control = fake_get(port.fn, SLTCTL, 2), errors = fake_get(port.fn, ROOT_STATUS, 4),
	    which = fake_get(port.fn, ROOT_CMD, 4), enabled = (control & 0x1f) | (control >> 12 & 1) << 8;
	bool now[2] = { control & 0x20 && fake_get(port.fn, SLTSTA, 2) & enabled,
			(errors & 0x03 && which & 1) || (errors & 0x0c && which & 6) };

	for (enum source i = SLOT; i <= ERRORS; i++) {
		bool before = port.pending[i];

		port.pending[i] = now[i];
		if (now[i] && !before)
			send(i);
	}
}

static void complete(void)
{
	port.executing = false;
	fake_set(port.fn, SLTSTA, 2, fake_get(port.fn, SLTSTA, 2) | 0x10);
}

/* PCIe 6.7.3.2: a write is a command, for which the one before has completed, or has had its second. */
static void command(void)
{
	assert_true(!port.executing || fake_x86.pm_timer - port.given >= PM_TIMER_HZ);
	port.given = fake_x86.pm_timer;
	port.executing = true;
	if (!(port.unanswered >> ++port.commands & 1) && !port.late && !port.slow)
		complete();
}

static void watch(struct fake_pci *f, const struct fake_access *a)
{
	(void)f;
	if (a->kind == FAKE_CFG_READ && a->where == SLTSTA && port.late && !--port.late)
		complete();
	if (a->kind != FAKE_CFG_WRITE || a->lost)
		return;
	if (a->where == MESSAGES + 2)
		say_numbers();
	if (a->where == SLTCTL)
		command();
	look();
}

static void error(u32 status)
{
	fake_set(port.fn, ROOT_STATUS, 4, fake_get(port.fn, ROOT_STATUS, 4) | status);
	look();
}

/* --- the tests --- */

static void write_1_to_clear(u16 reg, u32 mask)
{
	memcpy(port.fn->w1c + reg, &mask, 4);
}

static int begin_kind(void **state)
{
	const struct kind *kind = *state;

	bench_begin();
	port = (struct port_model){ .fn = fake_bridge(bench.fake, BDF, 1, 1), .number = { 0, 1 } };
	fake_set(port.fn, EXP + 2, 2, 0x0142); /* a root port with a slot */
	fake_set(port.fn, EXP + 0x14, 4, 0x00000040);
	fake_set(port.fn, SLTCTL, 2, FOUND);
	fake_writable(port.fn, SLTCTL, 2, 0x1fff);
	fake_set(port.fn, SLTSTA, 2, PRESENCE);
	write_1_to_clear(SLTCTL, 0x011f0000); /* Slot Status in the upper half */
	fake_ext_cap(port.fn, AER, PCI_EXT_CAP_ID_ERR);
	fake_writable(port.fn, ROOT_CMD, 4, 0x7);
	write_1_to_clear(ROOT_STATUS, 0x7f);
	if (kind->msix) {
		fake_cap_msix(port.fn, MESSAGES, kind->entries, 0, 0);
		port.table = fake_bar(bench.fake, port.fn, 0, BAR, 4096, false);
	} else {
		fake_cap_msi(port.fn, MESSAGES, kind->msi);
	}
	say_numbers();
	bench_attach(&pcie_port_driver);
	bench.fake->watch = watch;
	return 0;
}

static int begin(void **state)
{
	*state = (void *)(uintptr_t)&kinds[1]; /* one vector a port, never freed: there are 160 */
	return begin_kind(state);
}

static void again(void **state)
{
	bench_end(state);
	begin_kind(state);
}

static enum status bring_up(void)
{
	enum status s = bench_bring_up();

	if (s == OK)
		fake_clear_log(bench.fake);
	return s;
}

static unsigned int lines_with(const char *part)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < fake_log_lines(); i++)
		n += !!strstr(fake_log_line(i), part);
	return n;
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
		{ 0x0142, 0x00000040, 1, EXP, true },  { 0x0162, 0x00000040, 1, EXP, true },  /* root and downstream port */
		{ 0x0042, 0x00000040, 1, EXP, false }, { 0x0062, 0x00000040, 1, EXP, false }, /* without a slot */
		{ 0x3f42, 0x00000040, 1, EXP, true },  { 0x3e42, 0x00000040, 1, EXP, false },
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
		bench.dev->header_type = rows[i].header_type;
		bench.dev->pcie = rows[i].pcie;
		if (pcie_port_driver.pci.match(bench.dev) != rows[i].want)
			fail_msg("row %zu", i);
	}
	bench.dev->pcie = EXP;
	port.fn->answers = 0;
	assert_false(pcie_port_driver.pci.match(bench.dev));
	assert_no_writes(bench.fake);
}

/* --- reset --- */

#define ROOT_TAKEN(status) CFG_W32(BDF, ROOT_STATUS, status)

static void events_that_the_previous_kernel_enabled_are_turned_off(void **state)
{
	static const struct {
		u16 control, status;
		u32 errors, root;
		unsigned int n;
		struct fake_access want[5];
	} rows[] = {
		{ FOUND | 0x30, 0x00, 0, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND | 0x0001, 0x00, 0, 0, 2, { EVENTS_OFF, TAKEN } }, /* each alone */
		{ FOUND | 0x0002, 0x00, 0, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND | 0x0004, 0x00, 0, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND | 0x0008, 0x00, 0, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND | 0x0010, 0x00, 0, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND | 0x0020, 0x00, 0, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND | 0x1000, 0x00, 0, 0, 2, { EVENTS_OFF, TAKEN } },
		{ FOUND | 0x103f, 0x00, 0, 0, 2, { EVENTS_OFF, TAKEN } },
		{ 0x2140 | 0x103f, 0x00, 0, 0, 2, { CFG_W16(BDF, SLTCTL, 0x2140), TAKEN } }, /* the rest is as it was */
		{ FOUND, 0x10, 0, 0, 1, { TAKEN } },
		{ FOUND, 0x00, 5, 0, 1, { ERRORS_OFF } },
		{ FOUND, 0x00, 0, 0x01, 1, { ROOT_TAKEN(0x01) } },
		{ FOUND, 0x00, 0, 0x02, 1, { ROOT_TAKEN(0x02) } },
		{ FOUND, 0x00, 0, 0x04, 1, { ROOT_TAKEN(0x04) } },
		{ FOUND, 0x00, 0, 0x08, 1, { ROOT_TAKEN(0x08) } },
		{ FOUND, 0x00, 0, 0x7f, 1, { ROOT_TAKEN(0x7f) } },
		{ FOUND | 0x30, 0x10, 7, 0x05, 5, { ERRORS_OFF, ROOT_TAKEN(0x05), TAKEN, EVENTS_OFF, TAKEN } },
		{ FOUND, 0x00, 0, 0, 0, { TAKEN } }, /* the twins: nothing was enabled, and nothing is written */
		{ 0, 0x00, 0, 0, 0, { TAKEN } },
		{ 0x2fc0, 0x00, 0, 0, 0, { TAKEN } },
		{ FOUND, 0x107, 0, 0x70, 0, { TAKEN } }, /* nor are events of other owners */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		fake_set(port.fn, SLTCTL, 2, rows[i].control);
		fake_set(port.fn, SLTSTA, 2, PRESENCE | rows[i].status);
		fake_set(port.fn, ROOT_CMD, 4, rows[i].errors);
		fake_set(port.fn, ROOT_STATUS, 4, rows[i].root);
		assert_int_equal(bench_reset(), OK);
		if (!fake_writes_are(bench.fake, rows[i].want, rows[i].n)) {
			fake_print(bench.fake);
			fail_msg("row %zu", i);
		}
		assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE | (rows[i].status & ~0x10));
		assert_int_equal(fake_get(port.fn, ROOT_STATUS, 4), rows[i].root & 0x0f ? 0 : rows[i].root);
		assert_int_equal(fake_log_lines(), 0);
		assert_int_equal(fake_lapic.delivered, 0);
		again(state);
	}
}

/* PCIe 6.7.3.2: no command before the one before has completed. */
static void what_turns_the_events_off_is_a_command_and_awaited(void **state)
{
	static const struct fake_access off[] = { EVENTS_OFF };

	fake_set(port.fn, SLTCTL, 2, FOUND | LISTEN);
	port.late = 5;
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(port.late, 0);
	assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE);
	assert_int_equal(fake_log_lines(), 0);
	/* The twin: it never does. */
	again(state);
	fake_set(port.fn, SLTCTL, 2, FOUND | LISTEN);
	port.unanswered = 1 << 1;
	assert_int_equal(bench_reset(), OK);
	assert_one_line("0000:00:02.0 pcie-port: events not off within 1000 ms");
	assert_writes(bench.fake, off);
}

/* Only bench_work(false) counts: of reset's command 1, work's 2 and 3, and the last one, whichever does not complete. */
static void a_port_that_does_not_report_its_last_command_is_judged_by_its_work(void **state)
{
	static const struct {
		u32 unanswered;
		enum status want;
		unsigned int not_off, lines;
	} rows[] = {
		{ 0, OK, 0, 1 }, /* the twin */
		{ 1 << 1, OK, 1, 2 },
		{ 1 << 4, OK, 1, 2 },
		{ 1 << 1 | 1 << 2, ERR_TIMEOUT, 1, 2 },
		{ 0xffffffff, ERR_TIMEOUT, 2, 3 }, /* it never reports anything */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		fake_set(port.fn, SLTCTL, 2, FOUND | LISTEN);
		port.unanswered = rows[i].unanswered;
		assert_int_equal(bench_reset(), OK);
		assert_int_equal(bench.dev->driver->probe(bench.dev, &bench.env), OK);
		assert_int_equal(bench_work(false), rows[i].want);
		if (lines_with("events not off within 1000 ms") != rows[i].not_off || lines_with("pcie-port:") != rows[i].lines)
			fail_msg("row %zu", i);
		assert_int_equal(fake_log_has("2 commands completed"), rows[i].want == OK);
		assert_int_equal(fake_get(port.fn, SLTCTL, 2), FOUND);
		assert_int_equal(fake_get(port.fn, ROOT_CMD, 4), 0);
		again(state);
	}
}

/* PCIe 6.7.3.4: while an enabled event is pending, another does not interrupt. Clearing it is for the hot-plug driver. */
static void a_pending_event_does_not_stop_the_commands_interrupts(void **state)
{
	static const struct {
		u16 control, status;
		const char *without; /* a reset: the twin */
	} rows[] = {
		{ 0x0021, 0x001, "0 of 1" }, { 0x0022, 0x002, "0 of 1" }, { 0x0024, 0x004, "0 of 1" },
		{ 0x0028, 0x008, "0 of 1" }, { 0x1020, 0x100, "0 of 1" }, { 0x0008, 0x008, "1 of 2" },
	};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		bool twin = i % 2;

		fake_set(port.fn, SLTCTL, 2, FOUND | rows[i / 2].control);
		fake_set(port.fn, SLTSTA, 2, 0x40 | rows[i / 2].status);
		look();
		assert_int_equal(twin ? bench.dev->driver->probe(bench.dev, &bench.env) : bring_up(), OK);
		assert_int_equal(bench_work(false), twin ? ERR_TIMEOUT : OK);
		assert_true(fake_log_has(twin ? rows[i / 2].without : "2 commands completed"));
		assert_int_equal(fake_get(port.fn, SLTSTA, 2), 0x40 | rows[i / 2].status);
		assert_int_equal(fake_get(port.fn, SLTCTL, 2), FOUND);
		again(state);
	}
}

static void an_error_of_the_previous_kernels_is_not_counted(void **state)
{
	for (unsigned int ours = 0; ours < 2; ours++) { /* the twin: after reset, with nothing enabled yet */
		fake_set(port.fn, ROOT_CMD, 4, 7);
		if (!ours)
			error(0x7f);
		assert_int_equal(bring_up(), OK);
		if (ours)
			error(0x7f);
		assert_int_equal(fake_lapic.delivered, 0);
		assert_int_equal(bench_work(false), OK);
		assert_true(
			fake_log_has(ours ? "2 commands completed, 1 errors reported" : "2 commands completed, 0 errors reported"));
		assert_int_equal(fake_lapic.delivered, 2 + ours);
		assert_int_equal(fake_get(port.fn, ROOT_STATUS, 4), 0);
		again(state);
	}
}

static void a_removed_port_is_not_written_to(void **state)
{
	(void)state;
	fake_set(port.fn, SLTCTL, 2, FOUND | LISTEN);
	port.fn->answers = 0;
	fake_log_start();
	assert_int_equal(bench_reset(), ERR_ABSENT);
	assert_one_line("0000:00:02.0 pcie-port: does not respond");
	assert_no_writes(bench.fake);
	port.fn->answers = -1; /* the twin */
	assert_int_equal(bench_reset(), OK);
	assert_int_equal(fake_writes(bench.fake), 2);
}

/* --- every kind of message --- */

static void commands_complete_by_message(void **state)
{
	static const struct fake_access want[] = { ERRORS_ON, EVENTS_ON, TAKEN, EVENTS_ON, TAKEN };
	static const struct fake_access finish[] = { ERRORS_OFF, EVENTS_OFF, TAKEN };
	const struct kind *kind = *state;
	char expected[64];

	assert_int_equal(bring_up(), OK);
	assert_int_equal(driver_of(bench.dev)->work(bench.dev, false), OK);
	assert_writes(bench.fake, want);
	assert_int_equal(fake_lapic.delivered, 2);
	assert_int_equal(fake_lapic.eois, 2);
	assert_int_equal(vector_unexpected_count(), 0);
	fake_clear_log(bench.fake);
	assert_int_equal(driver_of(bench.dev)->finish(bench.dev), OK);
	assert_writes(bench.fake, finish);
	assert_int_equal(fake_lapic.delivered, 2); /* its own last command does not interrupt */
	assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE);
	snprintf(expected, sizeof(expected), "0000:00:02.0 pcie-port: %s vector 0x", kind->name);
	assert_one_line(expected);
	assert_true(fake_log_has(" on: 2 commands completed, 0 errors reported"));
}

/* Its vectors are a block that is aligned to their number, whichever were allocated before; each is delivered. */
static void errors_come_by_their_own_vector_where_there_are_two(void **state)
{
	const struct kind *kind = *state;
	u8 vector;

	do
		assert_int_equal(one_vector(NULL, NULL, &vector), OK);
	while (vector % 2);
	assert_int_equal(bring_up(), OK);
	vector = (u8)ALIGN_UP(vector + 1U, kind->vectors);
	assert_int_equal(driver_of(bench.dev)->work(bench.dev, false), OK);
	assert_int_equal(vector_count(vector), 2);
	error(0x1);
	assert_int_equal(vector_count(vector + kind->vectors - 1), kind->vectors == 1 ? 3 : 1);
	assert_int_equal(fake_get(port.fn, ROOT_STATUS, 4), kind->vectors == 1 ? 0 : 0x08000000);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_int_equal(driver_of(bench.dev)->finish(bench.dev), OK);
	assert_true(fake_log_has(" on: 2 commands completed, 1 errors reported"));
	error(0x1); /* the twin: nothing enabled again */
	assert_int_equal(fake_lapic.delivered, 3);
}

/* --- probe --- */

static void without_messages_it_is_refused_with_a_line(void **state)
{
	(void)state;
	bench.dev->msi = 0;
	assert_int_equal(bring_up(), ERR_ABSENT);
	assert_one_line("0000:00:02.0 pcie-port: neither MSI nor MSI-X");
	assert_no_writes(bench.fake);
}

static void without_memory_it_is_not_driven(void **state)
{
	(void)state;
	bench.heap.size = 0;
	assert_int_equal(bring_up(), ERR_RANGE);
	assert_one_line("memory: ");
	assert_no_writes(bench.fake);
}

static void a_cpu_that_no_message_reaches_is_an_error(void **state)
{
	(void)state;
	fake_lapic.id = 0x100;
	assert_int_equal(bring_up(), ERR_RANGE);
	assert_one_line("APIC ID 256");
	assert_no_writes(bench.fake);
}

/* PCIe 7.5.3.2, 7.8.4.10. What it reports before it knows how many it has does not count. */
static void a_port_that_uses_a_vector_it_was_not_given_is_not_driven_with_a_line(void **state)
{
	static const struct {
		unsigned int kind;
		unsigned int number[2];
		bool over_limit;
		u16 flags;	      /* type and slot */
		u16 granted;	      /* log2, by the previous kernel */
		const char *expected; /* NULL: it is driven */
	} rows[] = {
		{ 4, { 1, 0 }, true, 0x0142, 0, NULL },
		{ 4, { 2, 0 }, true, 0x0142, 0, "message numbers 2 and 0, 2 vectors allocated" },
		{ 4, { 0, 2 }, true, 0x0142, 0, "message numbers 0 and 2, 2 vectors allocated" },
		{ 4, { 16, 16 }, true, 0x0142, 0, "message numbers 16 and 16, 2 vectors allocated" },
		{ 4, { 1, 2 }, true, 0x0162, 0, NULL }, /* a downstream port: it has no errors */
		{ 1, { 1, 0 }, true, 0x0142, 0, "message numbers 1 and 0, 1 vectors allocated" },
		{ 1, { 0, 1 }, true, 0x0142, 0, "message numbers 0 and 1, 1 vectors allocated" },
		{ 6, { 30, 31 }, false, 0x0142, 5, NULL }, /* of 32; of two, it is the second */
		{ 7, { 0, 1 }, true, 0x0142, 0, "message numbers 0 and 1, 1 vectors allocated" },
		{ 9, { 1, 0 }, false, 0x0142, 0, NULL }, /* MSI-X: of the whole table, whatever is used of it */
		{ 9, { 2, 0 }, false, 0x0142, 0, "message numbers 2 and 0, 2 vectors allocated" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		*state = (void *)(uintptr_t)&kinds[rows[i].kind];
		again(state);
		memcpy(port.number, rows[i].number, sizeof(port.number));
		port.over_limit = rows[i].over_limit;
		fake_set(port.fn, EXP + 2, 2, rows[i].flags);
		fake_set(port.fn, MESSAGES + 2, 2, fake_get(port.fn, MESSAGES + 2, 2) | (u32)rows[i].granted << 4);
		say_numbers();
		if (bring_up() != (rows[i].expected ? ERR_ABSENT : OK))
			fail_msg("row %zu", i);
		if (rows[i].expected) {
			assert_int_equal(lines_with("0000:00:02.0 pcie-port: "), 1);
			assert_true(fake_log_has(rows[i].expected));
			assert_int_equal(port.commands, 0);
			assert_int_equal(fake_get(port.fn, ROOT_CMD, 4), 0);
		} else {
			assert_int_equal(bench_work(false), OK);
			assert_int_equal(fake_lapic.delivered, 2);
			assert_int_equal(vector_unexpected_count(), 0);
		}
	}
}

/* --- work --- */

static void a_command_that_never_completes_times_out_with_a_line(void **state)
{
	static const struct fake_access first[] = { ERRORS_ON, EVENTS_ON, ERRORS_OFF, EVENTS_OFF, TAKEN };
	static const struct fake_access second[] = { ERRORS_ON, EVENTS_ON, TAKEN, EVENTS_ON, ERRORS_OFF, EVENTS_OFF, TAKEN };
	static const char *const expected[] = { "0 of 1", "1 of 2" };

	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(bring_up(), OK);
		port.unanswered = 1U << (i + 1);
		assert_int_equal(bench_work(false), ERR_TIMEOUT);
		assert_one_line("0000:00:02.0 pcie-port: no completed command within 1000 ms, ");
		assert_true(fake_log_has(expected[i]));
		if (i)
			assert_writes(bench.fake, second);
		else
			assert_writes(bench.fake, first);
		assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE);
		error(0x1); /* nothing enabled, whatever comes */
		assert_int_equal(fake_lapic.delivered, i);
		again(state);
	}
}

static void without_bus_master_no_interrupt_comes(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	pci_clear_master(bench.dev);
	assert_int_equal(bench_work(false), ERR_TIMEOUT);
	assert_true(fake_log_has("no completed command within 1000 ms, 0 of 1"));
	assert_int_equal(fake_get(port.fn, SLTCTL, 2), FOUND);
	assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE);
	assert_int_equal(fake_get(port.fn, ROOT_CMD, 4), 0);
}

static void complete_later(unsigned int looks)
{
	if (looks % 3 || !port.executing)
		return;
	complete();
	look();
}

/* The model fails the test at a command before the previous one has completed. */
static void a_command_waits_for_the_one_before(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	port.slow = true;
	fake_x86_tick(complete_later);
	assert_int_equal(bench_work(false), OK);
	assert_int_equal(port.commands, 3);
	assert_true(fake_log_has("2 commands completed"));
	assert_int_equal(fake_get(port.fn, SLTCTL, 2), FOUND);
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
		bench.fake->access.cfg_size = rows[i].cfg_size;
		memset(port.fn->cfg + AER, 0, FAKE_CFG_SIZE - AER);
		fake_set(port.fn, 0x30, 4, 0x0f); /* what is there in the header: I/O Base Upper 16 Bits */
		fake_set(port.fn, AER, 4, rows[i].at > AER ? (u32)rows[i].at << 20 | 1 << 16 | 0x0b : 0); /* vendor-specific */
		if (rows[i].at) {
			fake_set(port.fn, rows[i].at, 4, 1 << 16 | PCI_EXT_CAP_ID_ERR);
			fake_writable(port.fn, rows[i].at + 0x2c, 4, 0x7);
		}
		assert_int_equal(bring_up(), OK);
		assert_int_equal(bench_work(false), OK);
		for (unsigned int j = 0; j < bench.fake->logged; j++)
			there += bench.fake->log[j].kind == FAKE_CFG_WRITE && bench.fake->log[j].size == 4;
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
		{ 0x54, true }, { 0x7f, true }, { 0x10, false }, { 0x20, false }, { 0x40, false }, /* the twins: a kind of none */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct fake_access want[] = { CFG_W32(BDF, ROOT_STATUS, rows[i].status) };

		assert_int_equal(bring_up(), OK);
		assert_int_equal(driver_of(bench.dev)->work(bench.dev, false), OK);
		fake_clear_log(bench.fake);
		error(rows[i].status);
		if (!rows[i].heard)
			send(ERRORS); /* all the same: it is not its port's */
		if (rows[i].heard)
			assert_writes(bench.fake, want);
		else
			assert_no_writes(bench.fake);
		assert_int_equal(vector_unexpected_count(), 0);
		assert_int_equal(fake_get(port.fn, SLTSTA, 2), PRESENCE);
		assert_int_equal(driver_of(bench.dev)->finish(bench.dev), OK);
		assert_true(fake_log_has(rows[i].heard ? ", 1 errors reported" : ", 0 errors reported"));
		again(state);
	}
}

/* One interrupt may report both. */
static void a_command_and_an_error_are_both_taken(void **state)
{
	static const struct fake_access want[] = { TAKEN, CFG_W32(BDF, ROOT_STATUS, 0x08000001) };

	*state = (void *)(uintptr_t)&kinds[4];
	again(state);
	assert_int_equal(bring_up(), OK);
	assert_int_equal(driver_of(bench.dev)->work(bench.dev, false), OK);
	fake_clear_log(bench.fake);
	fake_set(port.fn, SLTSTA, 2, PRESENCE | 0x10);
	fake_set(port.fn, ROOT_STATUS, 4, 0x08000001);
	send(SLOT);
	assert_writes(bench.fake, want);
	assert_int_equal(driver_of(bench.dev)->finish(bench.dev), OK);
	assert_true(fake_log_has(": 3 commands completed, 1 errors reported"));
}

/* Two vectors, both pending: whichever is first takes both events, and the other finds none. */
static void two_messages_at_once_are_not_unexpected(void **state)
{
	*state = (void *)(uintptr_t)&kinds[4];
	again(state);
	assert_int_equal(bring_up(), OK);
	assert_int_equal(driver_of(bench.dev)->work(bench.dev, false), OK);
	fake_x86.irq_on = false;
	error(0x1);
	fake_set(port.fn, SLTSTA, 2, PRESENCE | 0x10);
	look();
	fake_x86.irq_on = true;
	fake_lapic_deliver();
	fake_lapic_deliver();
	assert_int_equal(fake_lapic.delivered, 4);
	assert_int_equal(vector_unexpected_count(), 0);
	assert_int_equal(driver_of(bench.dev)->finish(bench.dev), OK);
	assert_true(fake_log_has(": 3 commands completed, 1 errors reported"));
}

static void an_interrupt_without_an_event_counts_nothing(void **state)
{
	(void)state;
	assert_int_equal(bring_up(), OK);
	assert_int_equal(driver_of(bench.dev)->work(bench.dev, false), OK);
	fake_clear_log(bench.fake);
	send(SLOT);
	port.fn->answers = 0; /* a removed port shows every event */
	send(SLOT);
	assert_int_equal(fake_lapic.delivered, 4);
	assert_no_writes(bench.fake);
	port.fn->answers = -1;
	assert_int_equal(driver_of(bench.dev)->finish(bench.dev), OK);
	assert_true(fake_log_has(": 2 commands completed, 0 errors reported"));
}

/* Whenever it is removed: it has done its work when both of its commands were seen to complete, and not before. */
static void a_device_that_is_removed_has_not_done_its_work(void **state)
{
	unsigned int n = 0, all;
	enum status s;

	fake_set(port.fn, SLTCTL, 2, FOUND | LISTEN);
	fake_set(port.fn, ROOT_CMD, 4, 7);
	assert_int_equal(bench_bring_up(), OK);
	assert_int_equal(driver_of(bench.dev)->work(bench.dev, false), OK);
	all = bench.fake->logged;
	assert_int_equal(bench.fake->log[all - 3].where, SLTSTA); /* the read at which the last one was seen */
	do {
		again(state);
		fake_set(port.fn, SLTCTL, 2, FOUND | LISTEN);
		fake_set(port.fn, ROOT_CMD, 4, 7);
		port.fn->answers = (int)n++;
		fake_x86.pm_step = 1 << 20;
		s = bring_up();
		s = s == OK ? driver_of(bench.dev)->work(bench.dev, false) : s;
		if (bench.dev->driver_data)
			driver_of(bench.dev)->finish(bench.dev); /* whatever was reached */
	} while (s != OK);
	assert_int_equal(n, all - 1);
}

/* The last test: nothing is given back. */
static void without_vectors_it_is_not_driven(void **state)
{
	u8 vector;

	(void)state;
	while (one_vector(NULL, NULL, &vector) == OK)
		;
	fake_log_start();
	assert_int_equal(bring_up(), ERR_RANGE);
	assert_one_line("irq: no vector left");
	assert_no_writes(bench.fake);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, bench_end)
#define K(test, name, i)                                                                                                           \
	{                                                                                                                          \
		name #test, test, begin_kind, bench_end, (void *)(uintptr_t)&kinds[i]                                              \
	}
#define EVERY_KIND(test)                                                                                                           \
	K(test, "msi32:", 0), K(test, "msi64:", 1), K(test, "msi32-mask:", 2), K(test, "msi64-mask:", 3), K(test, "msi32-2:", 4),  \
		K(test, "msi64-mask-2:", 5), K(test, "msi32-mask-32:", 6), K(test, "msix-1:", 7), K(test, "msix-2:", 8),           \
		K(test, "msix-3:", 9)
	const struct CMUnitTest tests[] = {
		T(ports_whose_commands_complete_are_its_own),
		T(events_that_the_previous_kernel_enabled_are_turned_off),
		T(what_turns_the_events_off_is_a_command_and_awaited),
		T(a_port_that_does_not_report_its_last_command_is_judged_by_its_work),
		T(a_pending_event_does_not_stop_the_commands_interrupts),
		T(an_error_of_the_previous_kernels_is_not_counted),
		T(a_removed_port_is_not_written_to),
		EVERY_KIND(commands_complete_by_message),
		EVERY_KIND(errors_come_by_their_own_vector_where_there_are_two),
		T(without_messages_it_is_refused_with_a_line),
		T(without_memory_it_is_not_driven),
		T(a_cpu_that_no_message_reaches_is_an_error),
		T(a_port_that_uses_a_vector_it_was_not_given_is_not_driven_with_a_line),
		T(a_command_that_never_completes_times_out_with_a_line),
		T(without_bus_master_no_interrupt_comes),
		T(a_command_waits_for_the_one_before),
		T(only_root_ports_report_errors),
		T(errors_are_counted_and_cleared_and_nothing_else),
		T(a_command_and_an_error_are_both_taken),
		T(two_messages_at_once_are_not_unexpected),
		T(an_interrupt_without_an_event_counts_nothing),
		T(a_device_that_is_removed_has_not_done_its_work),
		T(without_vectors_it_is_not_driven),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
