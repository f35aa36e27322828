# SPDX-License-Identifier: BSD-2-Clause
"""Why Linux and our images tell a function different things: data, checked against the source of Linux 6.1."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from enum import Enum

WIDTH, INDENT = 109, 6 * " "


class Side(Enum):
    LINUX = "<"
    OURS = ">"
    VALUE = "|"


@dataclass(frozen=True)
class Environment:
    """What a reason may depend on."""

    device: str  # the function, with QEMU's name of its model
    shutdown: str  # our policy


@dataclass(frozen=True)
class Reason:
    """A row of writes that only one side makes, or in which both write another value, and why."""

    side: Side
    phases: str  # one or more, with a space between
    writes: str  # a regular expression: the registers and meanings of such a row, and values that differ, a line for each write
    where: str
    why: str
    times: int = 1  # that it may be given
    device: str = ""  # a regular expression: QEMU's name of the device; empty: any
    shutdown: str = ""  # the policy under which it is so; empty: under any

    def applies(self, environment: Environment) -> bool:
        return bool(re.search(self.device, environment.device)) and self.shutdown in ("", environment.shutdown)

    def covers(self, side: Side, phase: str, text: str) -> int:
        """Of these lines, how many from the first on."""
        match = re.match(self.writes, text) if side is self.side and phase in self.phases.split() else None
        return match[0].count("\n") if match and match[0].endswith("\n") else 0

    def told(self, again: bool) -> list[str]:
        text = f"{self.where}: {'as above' if again else self.why}"
        return textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


# --- parts of regular expressions ---

VIRTIO, PORT, UNBOUND = r" virtio-", r" pcie-root-port$", r" (edu|ich9-ahci|ICH9-|mch)"
ENTRY = r"msix table\[\d\]"
MESSAGE = rf"{ENTRY} address\n{ENTRY} address, upper half\n{ENTRY} data\n"
MASKED, UNMASKED = rf"{ENTRY} control \(masked\)\n", rf"{ENTRY} control \(unmasked\)\n"
BAR = r"(BAR \d|ROM BAR)"
DECODE_OFF, DECODE_ON = (rf"command \((I/O {word}, memory|I/O|memory) {word}\)\n" for word in ("off", "on"))
SIZED = (
    rf"{DECODE_OFF}{BAR} \(size\?\)\n({BAR}, upper half \(size\?\)\n)?{BAR} \(address\)\n"
    rf"({BAR}, upper half \(address\)\n)?{DECODE_ON}"
)
INTX, MASTER = r"command \(INTx Disable {}\)\n", r"command \(bus master {}\)"
# Values that differ in INTx Disable alone, which is on where ours write them, or where Linux does.
OURS_DISABLED, LINUX_DISABLED = (
    rf" 0x{linux}(..) -> 0x{linux}(..) \| 0x{ours}\1 -> 0x{ours}\2\n" for linux, ours in (("00", "04"), ("04", "00"))
)

# What our driver of edu does.
RAISE, ACKNOWLEDGE = r"interrupt raise \(driver\)\n", r"interrupt acknowledge \({}\)\n"
EDU_RESET = SIZED + ACKNOWLEDGE.format("DMA") + MASTER.format("on") + r"\n"
EDU_MSI = (
    r"msi address\nmsi address, upper half\nmsi data\n" + INTX.format("on") + r"msi control \(MSI on\)\n"
    + RAISE + ACKNOWLEDGE.format("driver")
)  # fmt: skip
EDU_DMA = r"DMA source\nDMA destination\nDMA count\nDMA command \({}\)\n"
EDU_OUT_AND_BACK = "".join(EDU_DMA.format(to) + ACKNOWLEDGE.format("DMA") for to in ("to edu", "to RAM"))
EDU_WORK = RAISE + ACKNOWLEDGE.format("driver") + EDU_MSI + EDU_OUT_AND_BACK

REASONS = (
    # --- out ---
    Reason(
        Side.LINUX, "out", r"device_status \(reset\)\n", device=VIRTIO,
        where="virtio_dev_shutdown(), drivers/virtio/virtio.c",
        why="since 8bd2fa086a04 (2025) virtio's bus resets each device that has a driver, before it is the PCI function's turn. "
        "Ours have no such callback, as virtio had none in 2015; handoff.shutdown=reset does so.",
    ),
    Reason(
        Side.OURS, "out", rf"({MASKED})?msi[x]? control \(MSI(-X)? off\)\n" + INTX.format("off"), shutdown="disable-msi",
        where="handoff.shutdown=disable-msi, pci/msix.c:pci_msix_shutdown, pci/msi.c:pci_msi_shutdown",
        why="what Linux did from 2008 (d52877c7b1af) to 2017 (fda78d7a0ead): the driver's vectors masked, MSI off, and INTx "
        "enabled, bus master last.",
    ),
    Reason(
        Side.OURS, "out", MASTER.format("off") + r"\n", device=UNBOUND,
        where="pci_device_shutdown(), drivers/pci/pci-driver.c",
        why="Linux leaves bus master on in a function that no driver has enabled, for its power state is PCI_UNKNOWN "
        "(6e0eda3c3898). Ours reach every function; handoff.scope=bound comes near to Linux.",
    ),
    Reason(
        Side.OURS, "out", EDU_DMA.format("to RAM"), device=" edu",
        where="drivers/edu/edu.c:arm",
        why="a transfer is left in flight on purpose. Debian's Linux has no driver for edu.",
    ),
    Reason(
        Side.LINUX, "out", r"root control\nroot status\n", device=PORT,
        where="pcie_pme_remove(), drivers/pci/pcie/pme.c",
        why="pcieport's .shutdown is pcie_portdrv_remove(), which takes the port's services down, PME first. Ours take no PME, "
        "and have left the port deaf when their work was done (drivers/port/port.c:fall_silent).",
    ),
    Reason(
        Side.LINUX, "out", r"device control\naer root command\naer root status\n", device=PORT,
        where="aer_disable_rootport(), drivers/pci/pcie/aer.c",
        why="then AER: no error is reported any more, what was reported is forgotten.",
    ),
    Reason(
        Side.LINUX, "out", MASKED + MESSAGE, device=PORT,
        where="free_irq(), kernel/irq/manage.c",
        why="the last service gone, its interrupt is shut down: masked, and its message cleared (msi_domain_deactivate()). Ours "
        "clear no message.",
    ),
    Reason(
        Side.LINUX, "out", MASKED + r"msix control \(MSI-X off\)\n" + INTX.format("off"), device=PORT,
        where="pci_msix_shutdown(), drivers/pci/msi/msi.c",
        why="by pci_free_irq_vectors() in pcie_port_device_remove(), drivers/pci/pcie/portdrv_core.c: masked, MSI-X off, INTx "
        "enabled. It is a driver that does so here, and no longer the core (fda78d7a0ead).",
    ),
    Reason(
        Side.VALUE, "out", MASTER.format("off") + LINUX_DISABLED, device=VIRTIO, shutdown="disable-msi",
        where="pci_device_shutdown(), drivers/pci/pci-driver.c",
        why="Linux clears bus master alone, and INTx stays disabled, as it has been since MSI-X was enabled. Ours have just "
        "enabled it.",
    ),
    Reason(
        Side.VALUE, "out", MASTER.format("off") + OURS_DISABLED, device=PORT, shutdown="keep-msi",
        where="do_pci_disable_device(), drivers/pci/pci.c",
        why="by pci_disable_device() in pcie_port_device_remove(), which has just enabled INTx. In ours it stays disabled.",
    ),
    # --- init ---
    Reason(
        Side.LINUX, "init", INTX.format("off") + INTX.format("on") + "|" + INTX.format("on") + INTX.format("off"),
        where="pci_intx_mask_broken(), drivers/pci/probe.c",
        why="toggles INTx Disable to learn whether it can be written. Where MSI or MSI-X was left on, the function raises no INTx "
        "meanwhile. Ours take the bit for writable, as it is since PCI 2.3.",
    ),
    Reason(
        Side.LINUX, "init", rf"(({DECODE_OFF})?{BAR} \(size\?\)\n{BAR} \(address\)\n({BAR}, upper half \(size\?\)\n"
        rf"{BAR}, upper half \(address\)\n)?({DECODE_ON})?){{1,7}}",
        where="__pci_read_base(), drivers/pci/probe.c",
        why="sizes every BAR and the ROM, one half at a time, with decoding off meanwhile except in a host bridge "
        "(quirk_mmio_always_on()). Ours size a BAR when a driver maps it.",
    ),
    Reason(
        Side.LINUX, "init", r"msix control \(MSI-X off\)\n", shutdown="disable-msi", device=VIRTIO,
        where="pci_msix_init(), drivers/pci/msi/pcidev_msi.c",
        why="d5dea7d95c48: the first Linux left MSI-X on; our first, under disable-msi, did not.",
    ),
    Reason(
        Side.OURS, "init", r"msi control \(MSI off\)\n", device=" edu",
        where="startup/disable_msi.c",
        why="as pci_msi_init(), drivers/pci/msi/pcidev_msi.c, does. Under Linux MSI was never on: edu has no driver there.",
    ),
    Reason(
        Side.OURS, "init", r"msix control \(MSI-X off\)\n", device=PORT,
        where="startup/disable_msi.c",
        why="as pci_msix_init(), drivers/pci/msi/pcidev_msi.c, does. Linux finds MSI-X off: pcieport's shutdown switched it off.",
    ),
    Reason(
        Side.LINUX, "init", r"prefetchable base, upper half\nprefetchable base, upper half\n", device=PORT,
        where="pci_read_bridge_windows(), drivers/pci/probe.c",
        why="whether the upper half can be written, so whether the window is one of 64 bits. Ours write to no window: firmware "
        "has decided what lies where.",
    ),
    Reason(
        Side.LINUX, "init", r"aer root status\naer correctable status\naer uncorrectable status\ndevice control\n", device=PORT,
        where="pci_aer_init(), drivers/pci/pcie/aer.c",
        why="old errors cleared, reporting enabled. Ours enumerate by reads alone; their port driver clears Root Error Status "
        "when it resets the port, where anything is set.",
    ),
    Reason(
        Side.LINUX, "init", r"(bridge control\n){1,3}", device=PORT, times=2,
        where="pci_scan_bridge_extend(), drivers/pci/probe.c",
        why="called twice for each bridge: Master-Abort Mode off while what is behind it is looked for, then as it was. Ours "
        "enumerate by reads alone.",
    ),
    Reason(
        Side.LINUX, "init", r"link control\n", device=PORT,
        where="pcie_aspm_init_link_state(), drivers/pci/pcie/aspm.c",
        why="what is behind this port is no PCI Express function, so ASPM is switched off, which it is. Ours manage no power.",
    ),
    Reason(
        Side.LINUX, "init", r"I/O window, upper halves\nI/O window\nI/O window, upper halves\nmemory window\n"
        r"prefetchable limit, upper half\nprefetchable window\nprefetchable base, upper half\nprefetchable limit, upper half\n"
        r"bridge control\n", device=PORT,
        where="pci_setup_bridge(), drivers/pci/setup-bus.c",
        why="the windows are written once resources are assigned, changed or not; the I/O and the prefetchable window are closed "
        "meanwhile. Ours leave them as firmware did.",
    ),
    Reason(
        Side.LINUX, "init", r"root control\n", device=PORT,
        where="get_port_device_capability(), drivers/pci/pcie/portdrv_core.c",
        why="the PME interrupt off, for firmware may have enabled it. Ours take no PME.",
    ),
    Reason(
        Side.LINUX, "init", r"(PIRQ[A-H] route\n){8}", device="ICH9-LPC",
        where="acpi_pci_link_add(), drivers/acpi/pci_link.c",
        why="_DIS of each link, which is enabled again when it is used; with the I/O APIC none is. Ours take INTx by the 8259, as "
        "firmware has routed it.",
    ),
    # --- probe ---
    Reason(
        Side.OURS, "probe", SIZED, times=2, device=f"{VIRTIO}|{PORT}",
        where="pci/bar.c:pci_map_bar",
        why="the BAR's size is asked for before anything in it is touched, both halves at once, with decoding off meanwhile. "
        "Linux has done so for every BAR at enumeration.",
    ),
    Reason(
        Side.LINUX, "probe", INTX.format("off"), device=VIRTIO,
        where="do_pci_enable_device(), drivers/pci/pci.c",
        why="pci_enable_device() enables INTx as long as neither MSI nor MSI-X is on; the device is not reset yet. Ours do so "
        "only where a driver interrupts by INTx (drivers/virtio/pci.c:virtio_connect_intx).",
    ),
    Reason(
        Side.OURS, "probe", r"device_status \(reset\)\n", device=VIRTIO,
        where="images/kernel.c:drive, drivers/virtio/pci.c:virtio_pci_reset",
        why="reset before bus master comes back, so that nothing the previous kernel left undone gets out.",
    ),
    Reason(
        Side.VALUE, "probe", MASTER.format("on") + OURS_DISABLED, device=f"{VIRTIO}|{PORT}", shutdown="keep-msi",
        where="do_pci_enable_device(), drivers/pci/pci.c",
        why="Linux sets bus master with INTx enabled, which pci_enable_device() sees to. In ours it is still disabled, as the "
        "previous kernel left it, so that nothing but a message can come.",
    ),
    Reason(
        Side.LINUX, "probe", r"latency timer\n", device=VIRTIO,
        where="pcibios_set_master(), drivers/pci/pci.c",
        why="pci_set_master() raises a latency timer below 16 to 64 where a function is not PCI Express. Ours leave it as "
        "firmware did.",
    ),
    Reason(
        Side.LINUX, "probe", r"device_status \(reset\)\n", device=VIRTIO,
        where="register_virtio_device(), drivers/virtio/virtio.c",
        why="Linux resets the device, too, but virtio_pci_probe(), drivers/virtio/virtio_pci_common.c, calls pci_set_master() "
        "before.",
    ),
    Reason(
        Side.VALUE, "probe", r"driver_feature <- .* \| <- 0x00000(2[02]0|001)\n", device=VIRTIO, times=2,
        where="virtio_dev_probe(), drivers/virtio/virtio.c",
        why="accepts what the driver knows (drivers/block/virtio_blk.c: features[]), the ring (INDIRECT_DESC, EVENT_IDX) and the "
        "transport (RING_RESET); ours no more than they use: VERSION_1, FLUSH, RO (drivers/virtio/blk.c).",
    ),
    Reason(
        Side.LINUX, "probe", MASKED, device=VIRTIO,
        where="__pci_write_msi_msg(), drivers/pci/msi/msi.c",
        why="an entry that was found unmasked, as the first Linux left it, is masked while its message is written. In ours "
        "Function Mask alone covers that.",
    ),
    Reason(
        Side.LINUX, "probe", MESSAGE + UNMASKED, device=VIRTIO,
        where="__pci_write_msi_msg(), drivers/pci/msi/msi.c",
        why="Linux takes an entry for configuration changes and one for each queue, ours one in all. Until request_irq() the "
        "message has vector 0xef, MANAGED_IRQ_SHUTDOWN_VECTOR (arch/x86/kernel/apic/vector.c). Ours mask this entry because "
        "they do not use it.",
    ),
    Reason(
        Side.LINUX, "probe", INTX.format("on"), device=f"{VIRTIO}|{PORT}",
        where="pci_intx_for_msi(), drivers/pci/msi/msi.c",
        why="INTx off while MSI-X is on. Ours do so at this place, too (pci/msix.c:pci_enable_msix): nothing is written where it "
        "is off already.",
    ),
    Reason(
        Side.OURS, "probe", INTX.format("on"), device=f"{VIRTIO}|{PORT}", shutdown="disable-msi",
        where="pci/msix.c:pci_enable_msix",
        why="INTx off, once the messages are written; handoff.shutdown=disable-msi left it enabled.",
    ),
    Reason(
        Side.LINUX, "probe", rf"({MASKED}){{1,2}}", device=f"{VIRTIO}|{PORT}",
        where="msix_mask_all(), drivers/pci/msi/msi.c",
        why="every entry, so that none of a previous kernel's fires; one is unmasked when its interrupt is requested. Ours write "
        "each entry's mask bit once, as it is to be, before Function Mask goes.",
    ),
    Reason(
        Side.LINUX, "probe", rf"({MASKED}{MESSAGE}{UNMASKED}){{2}}{UNMASKED}", device=VIRTIO, times=2,
        where="request_irq(), kernel/irq/manage.c",
        why="the message with its vector when it is activated (msi_domain_activate()), once more when its CPU is chosen, each "
        "time masked; then irq_startup() unmasks it.",
    ),
    Reason(
        Side.LINUX, "probe", r"config_msix_vector\n", device=VIRTIO,
        where="vp_request_msix_vectors(), drivers/virtio/virtio_pci_common.c",
        why="a vector for configuration changes. Ours listen to none; a reset leaves the field at NO_VECTOR.",
    ),
    Reason(
        Side.LINUX, "probe", r"(queue_select \(0\)\n)+", device=VIRTIO, times=5,
        where="vp_modern_*(), drivers/virtio/virtio_pci_modern_dev.c",
        why="each accessor of a queue's fields selects the queue; ours select it once (drivers/virtio/queue.c:virtqueue_init).",
    ),
    Reason(
        Side.VALUE, "probe", r"queue_size <- .* \| <- 0x0020\n", device=VIRTIO,
        where="vp_active_vq(), drivers/virtio/virtio_pci_modern.c",
        why="Linux takes the size that the device offers; ours take 32 at most (drivers/virtio/queue.h:VIRTQUEUE_SIZE_MAX).",
    ),
    Reason(
        Side.OURS, "probe", r"queue_msix_vector\n", device=VIRTIO,
        where="drivers/virtio/queue.c:virtqueue_init",
        why="the vector before the addresses, Linux behind them; both before queue_enable. It is entry 0 here, where there is "
        "none for configuration changes.",
    ),
    Reason(
        Side.LINUX, "probe", r"queue_msix_vector\n", device=VIRTIO,
        where="vp_active_vq(), drivers/virtio/virtio_pci_modern.c",
        why="the vector behind the addresses.",
    ),
    Reason(
        Side.OURS, "probe", UNMASKED, device=PORT,
        where="pci/msix.c:pci_enable_msix",
        why="the entry is unmasked as soon as it is ready, under Function Mask; Linux does so when a service requests its "
        "interrupt.",
    ),
    Reason(
        Side.LINUX, "probe", rf"root control\nroot status\n({MESSAGE}){{2}}{UNMASKED}root control\n", device=PORT,
        where="pcie_pme_probe(), drivers/pci/pcie/pme.c",
        why="PME interrupt off, its status cleared, request_irq(), which writes the message twice and unmasks it, PME interrupt "
        "on. Ours take no PME.",
    ),
    Reason(
        Side.LINUX, "probe", r"device status\nroot control\naer root status\naer correctable status\naer uncorrectable status\n"
        r"device control\n", device=PORT,
        where="aer_enable_rootport(), drivers/pci/pcie/aer.c",
        why="old errors cleared, no system error for one (QEMU's Root Control reads 0, which is why PME's bit is not written "
        "back), reporting on. Ours clear Root Error Status where anything is set (drivers/port/port.c:take_error); both "
        "enable the same interrupts next.",
    ),
    Reason(
        Side.OURS, "probe", r"(slot control\nslot status\n){2}aer root command\nslot control\nslot status\n", device=PORT,
        where="drivers/port/port.c:work",
        why="two commands to the slot, each of which tells of its end; then the port is left deaf. In Linux hot-plug is ACPI's "
        "here: _OSC does not grant it.",
    ),
    Reason(
        Side.OURS, "probe", EDU_RESET + INTX.format("off") + EDU_WORK, device=" edu", shutdown="keep-msi",
        where="drivers/edu/edu.c:reset, drivers/edu/edu.c:work",
        why="the BAR is sized, the transfer that the previous kernel left has ended and is acknowledged, and only then bus master "
        "comes; then INTx, MSI, DMA out and back. Debian's Linux has no driver for edu.",
    ),
    Reason(
        Side.OURS, "probe", EDU_RESET + EDU_WORK, device=" edu", shutdown="disable-msi",
        where="drivers/edu/edu.c:reset, drivers/edu/edu.c:work",
        why="as under keep-msi, but that INTx is enabled already: the BAR is sized, what the previous kernel left is acknowledged, "
        "then bus master, INTx, MSI, DMA out and back. Debian's Linux has no driver for edu.",
    ),
    Reason(
        Side.OURS, "probe", EDU_RESET + RAISE + EDU_MSI, device=" edu", shutdown="disable-msi",
        where="drivers/edu/edu.c:work",
        why="two edu share this line, and the transfer that first had left on the second ended in an INTx that nobody took, until "
        "the line was given up: INTx is raised in vain, MSI works, and the driver ends. Debian's Linux has no driver for edu.",
    ),
    Reason(
        Side.OURS, "probe", SIZED + r"GHC \(AE, HR\)\nGHC \(AE\)\n" + MASTER.format("on") + r"\n(P\dCMD \(SUD, POD\)\n){6}",
        device=" ich9-ahci",
        where="drivers/ahci/ahci.c:reset, drivers/ahci/ahci.c:find_port",
        why="the controller is reset, and only then bus master comes; then each of its six ports is looked through for a drive; "
        "there is none. Debian's cloud kernel has no driver for it (neither built in nor as a module).",
    ),
)  # fmt: skip
