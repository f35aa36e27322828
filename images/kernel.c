/* SPDX-License-Identifier: BSD-2-Clause */
#include "images/kernel.h"

#include "boot/paging.h"
#include "boot/start.h"
#include "images/scope.h"
#include "irq/drain.h"
#include "irq/i8259.h"
#include "irq/idt.h"
#include "irq/lapic.h"
#include "lib/console.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/qemu.h"
#include "lib/string.h"
#include "lib/time.h"
#include "lib/x86.h"
#include "shutdown/policies.h"
#include "startup/policies.h"

/* For struct pci_dev and the drivers' own state: 4096 functions, and a few KiB a device. */
#define HEAP_SIZE     (2 * MIB)
#define FUNCTIONS_MAX 4096

/* Page 0 stays unmapped, so that a NULL pointer faults; DMA below 256 MiB if there is room, because edu has 28 address bits. */
#define ARENA_LOWEST  (2 * MIB)
#define DMA_PREFERRED (256 * MIB)

/* On hardware there is no exit code: leaves time to read the last lines before the machine resets. */
#define RESET_AFTER_US 30000000

/* What an image of this project passes to the next in addition to the boot protocol's fields: a node in the chain of setup_data. */
static struct handoff_data {
	struct setup_data node;
	u32 failed;  /* the verdict at the end is for all images of the chain */
	u32 cleared; /* its policy cleared bus master, of every function */
	struct log_ram log;
} handoff_data;
#define HANDOFF_DATA_SIZE (sizeof(struct handoff_data) - sizeof(struct setup_data))

/* What handed over to an image, and why functions may have bus master on nevertheless. */
static const struct predecessor {
	const char *name;
	const char *remark;
} by_image = { "an image that cleared it", "" },
  by_kexec = { "kexec", " (Linux leaves it on where no driver has enabled the function)" },
  by_crash = { "a crash", " (nothing was shut down)" };

static enum status map_ram(u64 start, u64 size)
{
	return paging_map(start, size, PAGING_CACHED);
}

static const struct memmap *memory;

/* RAM is no device, whatever address a BAR or a table has. */
static enum status map_mmio(u64 start, u64 size)
{
	if (memmap_has_ram(memory, start, size)) {
		log_line("paging: 0x%lx + 0x%lx lies in RAM, no device there", start, size);
		return ERR_RANGE;
	}
	return paging_map(start, size, PAGING_UNCACHED);
}

/* --- the end --- */

static _Noreturn void end_run(const struct kernel *kernel, enum qemu_exit code, const char *verdict)
{
	struct deadline deadline;

	log_release();
	if (!kernel->in_qemu)
		log_line("the machine resets in %u s", RESET_AFTER_US / 1000000);
	log_verdict(verdict);
	if (kernel->in_qemu) {
		x86_outl(QEMU_EXIT_PORT, code);
		x86_halt(); /* a machine without isa-debug-exit: the verdict is in the log */
	}
	deadline = deadline_after_us(RESET_AFTER_US);
	while (!deadline_passed(&deadline))
		;
	x86_triple_fault();
}

/* Interrupts that no handler took, or a line that was disabled: the run fails. */
static bool had_unexpected_interrupts(void)
{
	bool found = vector_unexpected_count();

	for (u8 line = 0; line < I8259_LINES; line++)
		found |= i8259_line_disabled(line);
	return found;
}

_Noreturn void kernel_exit(struct kernel *kernel)
{
	u64 unexpected = vector_unexpected_count();

	x86_irq_disable();
	if (unexpected)
		log_line("irq: %lu unexpected interrupts", unexpected);
	if (kernel->failed || had_unexpected_interrupts())
		end_run(kernel, QEMU_EXIT_FAIL, "fail");
	end_run(kernel, QEMU_EXIT_PASS, "pass");
}

/* The image cannot continue; the reason is in the log. */
static _Noreturn void fatal(const struct kernel *kernel, const char *what)
{
	char verdict[64];

	format(verdict, sizeof(verdict), "error %s", what);
	end_run(kernel, QEMU_EXIT_ERROR, verdict);
}

/* --- the beginning --- */

/* kdump: the crash kernel gets the address of the crashed kernel's ELF core header. */
static bool is_crash_kernel(const char *cmdline)
{
	for (const char *param = cmdline; *param; param++)
		if ((param == cmdline || param[-1] == ' ') && str_starts(param, "elfcorehdr="))
			return true;
	return false;
}

static void adopt_handoff_data(struct kernel *kernel)
{
	const struct setup_data *node = boot_find_setup_data(kernel->params, SETUP_HANDOFF, HANDOFF_DATA_SIZE, map_ram);
	const struct handoff_data *earlier = (const void *)node; /* node is its first member */

	if (!node) {
		if (kernel->params->hdr.type_of_loader >> 4 == LOADER_TYPE_KEXEC)
			kernel->from = is_crash_kernel(kernel->cmdline) ? &by_crash : &by_kexec;
		return;
	}
	log_hold();
	log_adopt(&earlier->log);
	kernel->failed = earlier->failed;
	if (earlier->cleared)
		kernel->from = &by_image;
}

/* The names of a table; both end with NULL. */
static void policy_names(const struct pci_policy *const *policies, const char **names)
{
	while (*policies)
		*names++ = (*policies++)->name;
	*names = NULL;
}

static enum status read_options(struct kernel *kernel, const char *default_next)
{
	static const char *const scopes[] = { "all", "bound", NULL };
	const char *shutdowns[ARRAY_SIZE(shutdown_policies)], *startups[ARRAY_SIZE(startup_policies)];
	struct options *o = &kernel->options;
	const struct option table[] = {
		{ "shutdown", shutdowns, o->shutdown }, { "startup", startups, o->startup }, { "next", NULL, o->next },
		{ "scope", scopes, o->scope },		{ "allow", NULL, o->allow },
	};
	enum status s;

	policy_names(shutdown_policies, shutdowns);
	policy_names(startup_policies, startups);
	str_copy(o->shutdown, sizeof(o->shutdown), shutdowns[0]);
	str_copy(o->startup, sizeof(o->startup), startups[0]);
	str_copy(o->next, sizeof(o->next), default_next);
	str_copy(o->scope, sizeof(o->scope), kernel->in_qemu ? "all" : "bound");
	s = options_parse(kernel->cmdline, table, ARRAY_SIZE(table));
	if (s == OK)
		s = options_check_list("next", o->next);
	if (s == OK)
		s = scope_check(o->allow);
	if (s != OK)
		return s;
	kernel->shutdown = pci_policy_named(shutdown_policies, o->shutdown);
	kernel->startup = pci_policy_named(startup_policies, o->startup);
	return OK;
}

static enum status take_arena(struct kernel *kernel, struct arena *arena, u64 size, u64 max)
{
	enum status s = memmap_take(&kernel->memmap, size, PAGE_SIZE, ARENA_LOWEST, max, MEM_USED, &arena->base);

	if (s != OK)
		return s;
	arena->size = size;
	return map_ram(arena->base, size);
}

/* All that we were given stays reserved until it was read; everything else is allocated from free memory. */
static enum status init_memory(struct kernel *kernel)
{
	const struct boot_params *p = kernel->params;
	struct boot_extent image = boot_image_extent();
	const struct {
		u64 start;
		u64 size;
	} given[] = {
		{ image.start, image.size },
		{ (u64)(uintptr_t)p, sizeof(*p) },
		{ boot_cmd_line(p), strlen(kernel->cmdline) + 1 },
		{ boot_ramdisk_image(p), boot_ramdisk_size(p) },
	};
	enum status s = memmap_init(&kernel->memmap, p->e820_table, MIN(p->e820_entries, E820_MAX));

	memory = &kernel->memmap;
	for (unsigned int i = 0; s == OK && i < ARRAY_SIZE(given); i++) {
		if (!given[i].start || !given[i].size)
			continue;
		s = memmap_mark(&kernel->memmap, given[i].start, given[i].size, MEM_USED);
		if (s == OK)
			s = map_ram(given[i].start, given[i].size);
	}
	if (s == OK) {
		s = take_arena(kernel, &kernel->heap, HEAP_SIZE, UINT64_MAX);
		if (s != OK)
			log_line("memory: no %lu KiB free for a heap", HEAP_SIZE / KIB);
	}
	return s;
}

static void start_interrupts(struct kernel *kernel)
{
	unsigned int stale;

	/* Masked before the drain sets IF, and set up after it: a stale vector may be one that the 8259's lines get here. */
	i8259_mask_all();
	kernel->interrupts = lapic_init(map_mmio) == OK;
	if (!kernel->interrupts)
		return;
	stale = irq_drain();
	i8259_init();
	log_line("irq: local APIC ID %u (%s), %u stale interrupts taken; 8259 masked", lapic_id(), lapic_mode(), stale);
	x86_irq_enable();
}

void kernel_start(struct kernel *kernel, const char *name, const char *default_next, const struct boot_params *params)
{
	struct boot_extent image = boot_image_extent();
	u64 cmdline = boot_cmd_line(params);

	kernel->name = name;
	kernel->params = params;
	kernel->cmdline = cmdline ? (const char *)(uintptr_t)cmdline : "";
	idt_init();
	fault_init(image.start, image.size);
	kernel->in_qemu = qemu_present();
	console_init(kernel->in_qemu);
	handoff_data.node = (struct setup_data){ .type = SETUP_HANDOFF, .len = HANDOFF_DATA_SIZE };
	log_init(name, console_write, &handoff_data.log);
	adopt_handoff_data(kernel);
	log_line("image %s@0x%lx", name, image.start);
	if (read_options(kernel, default_next) != OK)
		fatal(kernel, "options");
	if (init_memory(kernel) != OK)
		fatal(kernel, "memory");
	acpi_read(&kernel->acpi, params->acpi_rsdp_addr, map_ram);
	time_init(kernel->acpi.pm_timer_port);
	log_line("machine: %s, %lu MiB of memory free, time by %s", kernel->in_qemu ? "QEMU" : "not QEMU",
		 memmap_total(&kernel->memmap, E820_RAM) / MIB, time_source());
	start_interrupts(kernel);
}

/* --- devices --- */

static const struct driver *find_driver(const struct pci_dev *dev)
{
	for (const struct driver *const *driver = drivers; *driver; driver++)
		if ((*driver)->pci.match(dev))
			return *driver;
	return NULL;
}

static bool inherited_msi(const struct pci_dev *dev)
{
	return dev->msi && dev->inherited.msi_flags & PCI_MSI_FLAGS_ENABLE;
}

static bool inherited_msix(const struct pci_dev *dev)
{
	return dev->msix && dev->inherited.msix_flags & PCI_MSIX_FLAGS_ENABLE;
}

/* How many functions are listed that kept bus master; bridges of some machines do by design. */
#define KEPT_MAX 8

static void report_kept(const struct kernel *kernel)
{
	char list[KEPT_MAX * sizeof(", 0000:00:00.0")];
	unsigned int kept = 0;
	size_t n = 0;

	for (unsigned int i = 0; kernel->from && i < kernel->pci.count; i++) {
		const struct pci_dev *dev = &kernel->pci.dev[i];

		if (dev->read_only || !(dev->inherited.command & PCI_COMMAND_MASTER) || kept++ >= KEPT_MAX)
			continue;
		n += format(list + n, sizeof(list) - n, "%s" PCI_FMT, n ? ", " : "", PCI_ARGS(dev));
	}
	if (kept)
		log_line("inherited from %s: bus master still on in %s%s%s", kernel->from->name, list,
			 kept > KEPT_MAX ? ", ..." : "", kernel->from->remark);
}

/* A line for each function that has a driver, one for all the others. */
static void report_inherited(const struct kernel *kernel)
{
	unsigned int masters = 0, msi = 0, msix = 0, pending = 0;

	for (unsigned int i = 0; i < kernel->pci.count; i++) {
		const struct pci_dev *dev = &kernel->pci.dev[i];

		masters += !!(dev->inherited.command & PCI_COMMAND_MASTER);
		msi += inherited_msi(dev);
		msix += inherited_msix(dev);
		pending += !!(dev->inherited.status & PCI_STATUS_INTERRUPT);
		if (dev->driver && dev->driver->probe)
			log_line("inherited " PCI_FMT " %s: bus master %s, MSI %s, MSI-X %s, INTx %s%s", PCI_ARGS(dev),
				 dev->driver->name, dev->inherited.command & PCI_COMMAND_MASTER ? "on" : "off",
				 !dev->msi	      ? "absent"
				 : inherited_msi(dev) ? "on"
						      : "off",
				 !dev->msix	       ? "absent"
				 : inherited_msix(dev) ? "on"
						       : "off",
				 dev->inherited.command & PCI_COMMAND_INTX_DISABLE ? "disabled" : "enabled",
				 dev->inherited.status & PCI_STATUS_INTERRUPT ? ", interrupt pending" : "");
	}
	log_line("inherited %u functions: bus master on in %u, MSI in %u, MSI-X in %u, interrupt pending in %u", kernel->pci.count,
		 masters, msi, msix, pending);
	report_kept(kernel);
}

static bool overlaps(const struct kernel *kernel, const struct acpi_ecam *e)
{
	for (unsigned int i = 0; i < kernel->accesses; i++) {
		const struct pci_access *a = &kernel->access[i];

		if (a->segment == e->segment && a->first_bus <= e->last_bus && e->first_bus <= a->last_bus)
			return true;
	}
	return false;
}

/*
 * MCFG is checked against the memory map (map_mmio) and, where that is possible, against CF8/CFC, before anything is written there.
 */
static bool open_ecam(struct kernel *kernel, const struct acpi_ecam *e, const struct pci_access *cf8)
{
	struct pci_access *access = &kernel->access[kernel->accesses];

	if (overlaps(kernel, e)) {
		log_line("PCI ECAM at 0x%lx, buses %02x-%02x: overlaps an earlier entry, ignored", e->base, e->first_bus,
			 e->last_bus);
		return false;
	}
	return pci_access_ecam(access, map_mmio, e->base, e->segment, e->first_bus, e->last_bus) == OK &&
	       (e->segment != cf8->segment || pci_ecam_agrees(access, cf8));
}

static enum status open_config_space(struct kernel *kernel)
{
	struct pci_access cf8;
	bool has_root = false;

	pci_access_cf8(&cf8, map_mmio);
	for (unsigned int i = 0; i < kernel->acpi.ecam_count; i++)
		kernel->accesses += open_ecam(kernel, &kernel->acpi.ecam[i], &cf8);
	for (unsigned int i = 0; i < kernel->accesses; i++)
		has_root |= kernel->access[i].segment == cf8.segment && kernel->access[i].first_bus == cf8.first_bus;
	if (!has_root) {
		if (kernel->accesses)
			log_line("PCI ECAM: no entry has bus 00 of segment 0000, ECAM ignored");
		kernel->access[0] = cf8;
		kernel->accesses = 1;
	}
	kernel->pci.capacity = FUNCTIONS_MAX;
	kernel->pci.dev = arena_alloc(&kernel->heap, FUNCTIONS_MAX * sizeof(struct pci_dev), 8);
	return kernel->pci.dev ? OK : ERR_RANGE;
}

/* As much DMA memory as the bound functions may need. */
static enum status take_dma(struct kernel *kernel)
{
	u64 size = 0;
	enum status s;

	for (unsigned int i = 0; i < kernel->pci.count; i++)
		if (kernel->pci.dev[i].driver)
			size += driver_of(&kernel->pci.dev[i])->dma;
	if (!size)
		return OK;
	size = ALIGN_UP(size, PAGE_SIZE);
	s = take_arena(kernel, &kernel->dma, size, DMA_PREFERRED);
	if (s == ERR_RANGE)
		s = take_arena(kernel, &kernel->dma, size, UINT64_MAX);
	if (s != OK)
		log_line("memory: no %lu KiB free for DMA", size / KIB);
	return s;
}

void kernel_find_devices(struct kernel *kernel)
{
	if (open_config_space(kernel) != OK)
		fatal(kernel, "memory");
	for (unsigned int i = 0; i < kernel->accesses; i++) {
		const struct pci_access *a = &kernel->access[i];

		log_line("PCI segment %04x buses %02x-%02x by %s", a->segment, a->first_bus, a->last_bus, a->ops->name);
		if (pci_enumerate(&kernel->pci, a) != OK)
			kernel->failed = true;
	}
	for (unsigned int i = 0; i < kernel->pci.count; i++) {
		const struct driver *driver = find_driver(&kernel->pci.dev[i]);

		kernel->pci.dev[i].driver = driver ? &driver->pci : NULL;
	}
	scope_apply(&kernel->pci, kernel->in_qemu, !strcmp(kernel->options.scope, "bound"), kernel->options.allow);
	if (take_dma(kernel) != OK)
		fatal(kernel, "memory");
	report_inherited(kernel);
}

/* How many functions a policy is applied to. */
static unsigned int count_writable(const struct pci *pci)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < pci->count; i++)
		n += !pci->dev[i].read_only;
	return n;
}

void kernel_startup(struct kernel *kernel)
{
	pci_apply_forward(&kernel->pci, kernel->startup);
	log_line("startup %s: on %u of %u functions", kernel->startup->name, count_writable(&kernel->pci), kernel->pci.count);
}

/* After the reset: what the previous kernel left running has ended, so the device may access memory again. */
static enum status bring_up(struct kernel *kernel, struct pci_dev *dev, bool write)
{
	const struct pci_dev *blocking = pci_blocking_bridge(dev);
	struct driver_env env = { &kernel->heap, &kernel->dma };
	enum status s;

	if (blocking) {
		driver_line(dev, "upstream bridge " PCI_FMT " has bus master off and is read-only", PCI_ARGS(blocking));
		return ERR_ABSENT;
	}
	pci_set_master(dev);
	s = dev->driver->probe(dev, &env);
	if (s == OK)
		s = driver_of(dev)->work(dev, write);
	dev->working = s == OK;
	if (driver_of(dev)->dma)
		log_release(); /* the first I/O is done: the log need not be held any longer */
	return s;
}

static void fail(struct kernel *kernel, const struct pci_dev *dev, enum status s)
{
	driver_line(dev, "failed, %s", status_text(s));
	kernel->failed = true;
}

/* True when no request of the previous kernel can be in flight: the device has been reset, or bus master was inherited off. */
static bool drive(struct kernel *kernel, struct pci_dev *dev, bool write)
{
	enum status reset = kernel->interrupts ? dev->driver->reset(dev) : ERR_ABSENT;
	enum status s = reset == OK && dev->driver->probe ? bring_up(kernel, dev, write) : reset;

	if (s != OK && s != ERR_ABSENT) {
		fail(kernel, dev, s);
		pci_intx(dev, false); /* what it asserts, unhandled, would get the line disabled for the devices that share it */
	}
	return reset == OK || (reset == ERR_ABSENT && !(dev->inherited.command & PCI_COMMAND_MASTER));
}

static void finish(struct kernel *kernel, struct pci_dev *dev)
{
	enum status s = dev->working && driver_of(dev)->finish ? driver_of(dev)->finish(dev) : OK;

	dev->working &= s == OK;
	if (s != OK)
		fail(kernel, dev, s);
}

void kernel_drive(struct kernel *kernel, bool write)
{
	bool all_reset = true;

	for (const struct driver *const *driver = drivers; *driver; driver++)
		for (unsigned int i = 0; i < kernel->pci.count; i++)
			if (kernel->pci.dev[i].driver == &(*driver)->pci)
				all_reset &= drive(kernel, &kernel->pci.dev[i], write);
	for (unsigned int i = 0; i < kernel->pci.count; i++)
		finish(kernel, &kernel->pci.dev[i]);
	log_release();
	/* The previous kernel's DMA buffers are free again, ours must not be for the next one. */
	if (all_reset)
		memmap_retype(&kernel->memmap, E820_DMA, E820_RAM);
	if (kernel->dma.size && memmap_mark(&kernel->memmap, kernel->dma.base, kernel->dma.size, E820_DMA) != OK)
		kernel->failed = true;
}

/* --- the handoff --- */

bool kernel_prepare_next(struct kernel *kernel)
{
	const struct chain_env env = {
		.memmap = &kernel->memmap,
		.map = map_ram,
		.la57 = x86_la57(),
		.initrd = (const u8 *)(uintptr_t)boot_ramdisk_image(kernel->params),
		.initrd_size = boot_ramdisk_size(kernel->params),
		.rsdp = kernel->params->acpi_rsdp_addr,
		.screen = &kernel->params->screen_info,
		.setup_data = (u64)(uintptr_t)&handoff_data.node,
		.cmdline = kernel->cmdline,
	};
	struct chain *chain = &kernel->chain;
	char head[OPTIONS_ITEM_MAX + 1];

	if (!options_take(kernel->options.next, head))
		return false;
	if (chain_prepare(chain, head, kernel->options.next, &env) != OK) {
		log_line("next image %s refused, no device was shut down; %s continues", head, kernel->name);
		kernel->failed = true;
		return false;
	}
	log_line("next image %s: %lu KiB for 0x%lx, SHA-256 %.16s...", head, chain->image.load_size / KIB, chain->load_address,
		 chain->region[0].digest);
	return true;
}

void kernel_arm(struct kernel *kernel)
{
	if (kernel->chain.image.ours)
		log_hold(); /* only our images print it; a line takes longer than all that a policy does to a function */
	/*
	 * In the order of the walk that follows: of devices that share a line, the one that the next kernel reaches last is ready
	 * first. Drivers in their own order, because edu's 100 ms begin here.
	 */
	for (const struct driver *const *driver = drivers; *driver; driver++)
		for (unsigned int i = kernel->pci.count; i-- > 0;) {
			struct pci_dev *dev = &kernel->pci.dev[i];

			if (dev->working && dev->driver == &(*driver)->pci && (*driver)->arm && (*driver)->arm(dev) != OK)
				kernel->failed = true;
		}
	for (unsigned int i = 0; i < kernel->pci.count; i++) {
		const struct pci_dev *dev = &kernel->pci.dev[i];

		if (dev->working && driver_of(dev)->arm)
			log_line("load " PCI_FMT " %s: requests in flight: %u", PCI_ARGS(dev), dev->driver->name,
				 driver_of(dev)->in_flight(dev));
	}
}

void kernel_shutdown(struct kernel *kernel)
{
	log_line("shutdown %s: on %u of %u functions, children first", kernel->shutdown->name, count_writable(&kernel->pci),
		 kernel->pci.count);
	pci_apply_backward(&kernel->pci, kernel->shutdown);
	x86_irq_disable();
	i8259_mask_all();
	if (kernel->interrupts)
		lapic_disable();
}

_Noreturn void kernel_jump(struct kernel *kernel)
{
	const struct chain *chain = &kernel->chain;

	handoff_data.failed = kernel->failed || had_unexpected_interrupts();
	handoff_data.cleared = kernel->shutdown->clears_master;
	chain_place(chain);
	if (chain_verify(chain) != OK)
		fatal(kernel, "digest");
	log_line("jump to %s@0x%lx", chain->name, chain->load_address);
	image_enter(chain->load_address + SETUP_ENTRY64, chain->params);
}
