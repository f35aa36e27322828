# SPDX-License-Identifier: BSD-2-Clause
"""The reasons for differences between the writes of Linux and of our images: data, checked against the source of Linux 6.1."""

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
    """The conditions of a reason."""

    device: str  # the function, with QEMU's name of its model
    shutdown: str  # our policy


@dataclass(frozen=True)
class Reason:
    """The reason for a sequence of writes that only one side makes, or in which both write different values."""

    side: Side
    phases: str  # one or more, separated by a space
    writes: str  # a regular expression: registers and meanings of the sequence, and values that differ, a line for each write
    where: str
    why: str
    times: int = 1  # how often it may apply
    device: str = ""  # a regular expression: QEMU's name of the device; empty: any
    shutdown: str = ""  # our policy; empty: any

    def applies(self, environment: Environment) -> bool:
        return bool(re.search(self.device, environment.device)) and self.shutdown in ("", environment.shutdown)

    def covers(self, side: Side, phase: str, text: str) -> int:
        """The number of these lines that it covers, from the first on."""
        match = re.match(self.writes, text) if side is self.side and phase in self.phases.split() else None
        return match[0].count("\n") if match and match[0].endswith("\n") else 0

    def text(self, again: bool) -> list[str]:
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
# Values that differ only in INTx Disable, which is set in ours, or in Linux's.
OURS_DISABLED, LINUX_DISABLED = (
    rf" 0x{linux}(..) -> 0x{linux}(..) \| 0x{ours}\1 -> 0x{ours}\2\n" for linux, ours in (("00", "04"), ("04", "00"))
)

# The writes of our edu driver.
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
        why="since 8bd2fa086a04 (2025) virtio's bus resets each device that has a driver, before the PCI function is shut down. "
        "Ours have no such callback, as virtio had none in 2015; handoff.shutdown=reset does the same.",
    ),
    Reason(
        Side.OURS, "out", rf"({MASKED})?msi[x]? control \(MSI(-X)? off\)\n" + INTX.format("off"), shutdown="disable-msi",
        where="handoff.shutdown=disable-msi, pci/msix.c:pci_msix_shutdown, pci/msi.c:pci_msi_shutdown",
        why="as Linux did from 2008 (d52877c7b1af) to 2017 (fda78d7a0ead): it masks the driver's vectors, disables MSI, enables "
        "INTx, and clears bus master last.",
    ),
    Reason(
        Side.OURS, "out", MASTER.format("off") + r"\n", device=UNBOUND,
        where="pci_device_shutdown(), drivers/pci/pci-driver.c",
        why="Linux leaves bus master on in a function that no driver has enabled, because its power state is PCI_UNKNOWN "
        "(6e0eda3c3898). Ours clear it in every function; handoff.scope=bound is close to Linux.",
    ),
    Reason(
        Side.OURS, "out", EDU_DMA.format("to RAM"), device=" edu",
        where="drivers/edu/edu.c:arm",
        why="a transfer is left in flight on purpose. Debian's Linux has no driver for edu.",
    ),
    Reason(
        Side.LINUX, "out", r"root control\nroot status\n", device=PORT,
        where="pcie_pme_remove(), drivers/pci/pcie/pme.c",
        why="pcieport's .shutdown is pcie_portdrv_remove(), which removes the port's services, PME first. Ours handle no PME, and "
        "have disabled the port's events after their work (drivers/port/port.c:fall_silent).",
    ),
    Reason(
        Side.LINUX, "out", r"device control\naer root command\naer root status\n", device=PORT,
        where="aer_disable_rootport(), drivers/pci/pcie/aer.c",
        why="then AER: error reporting is disabled, reported errors are cleared.",
    ),
    Reason(
        Side.LINUX, "out", MASKED + MESSAGE, device=PORT,
        where="free_irq(), kernel/irq/manage.c",
        why="after the last service its interrupt is shut down: masked, and its message cleared (msi_domain_deactivate()). Ours "
        "clear no message.",
    ),
    Reason(
        Side.LINUX, "out", MASKED + r"msix control \(MSI-X off\)\n" + INTX.format("off"), device=PORT,
        where="pci_msix_shutdown(), drivers/pci/msi/msi.c",
        why="by pci_free_irq_vectors() in pcie_port_device_remove(), drivers/pci/pcie/portdrv_core.c: masked, MSI-X off, INTx "
        "enabled. Here a driver does this; the core does not any more (fda78d7a0ead).",
    ),
    Reason(
        Side.VALUE, "out", MASTER.format("off") + LINUX_DISABLED, device=VIRTIO, shutdown="disable-msi",
        where="pci_device_shutdown(), drivers/pci/pci-driver.c",
        why="Linux clears only bus master, and INTx stays disabled, as it has been since MSI-X was enabled. Ours have just "
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
        why="toggles INTx Disable to see whether it can be written. If MSI or MSI-X was left on, the function raises no INTx "
        "meanwhile. Ours assume that the bit is writable, as it is since PCI 2.3.",
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
        why="d5dea7d95c48: the outgoing Linux left MSI-X on; first, under disable-msi, did not.",
    ),
    Reason(
        Side.OURS, "init", r"msi control \(MSI off\)\n", device=" edu",
        where="startup/disable_msi.c",
        why="as pci_msi_init(), drivers/pci/msi/pcidev_msi.c, does. In Linux MSI was never on: it has no driver for edu.",
    ),
    Reason(
        Side.OURS, "init", r"msix control \(MSI-X off\)\n", device=PORT,
        where="startup/disable_msi.c",
        why="as pci_msix_init(), drivers/pci/msi/pcidev_msi.c, does. In Linux pcieport's shutdown has disabled MSI-X.",
    ),
    Reason(
        Side.LINUX, "init", r"prefetchable base, upper half\nprefetchable base, upper half\n", device=PORT,
        where="pci_read_bridge_windows(), drivers/pci/probe.c",
        why="tests whether the upper half can be written, so whether the window has 64 bits. Ours write to no window: firmware has "
        "assigned the addresses.",
    ),
    Reason(
        Side.LINUX, "init", r"aer root status\naer correctable status\naer uncorrectable status\ndevice control\n", device=PORT,
        where="pci_aer_init(), drivers/pci/pcie/aer.c",
        why="clears old errors, enables reporting. Ours enumerate by reads only; their port driver clears Root Error Status when "
        "it resets the port, if anything is set.",
    ),
    Reason(
        Side.LINUX, "init", r"(bridge control\n){1,3}", device=PORT, times=2,
        where="pci_scan_bridge_extend(), drivers/pci/probe.c",
        why="called twice for each bridge: Master-Abort Mode is off while the bus below is scanned, then restored. Ours enumerate "
        "by reads only.",
    ),
    Reason(
        Side.LINUX, "init", r"link control\n", device=PORT,
        where="pcie_aspm_init_link_state(), drivers/pci/pcie/aspm.c",
        why="the function below this port is not PCI Express, so ASPM is disabled, as it was. Ours do no power management.",
    ),
    Reason(
        Side.LINUX, "init", r"I/O window, upper halves\nI/O window\nI/O window, upper halves\nmemory window\n"
        r"prefetchable limit, upper half\nprefetchable window\nprefetchable base, upper half\nprefetchable limit, upper half\n"
        r"bridge control\n", device=PORT,
        where="pci_setup_bridge(), drivers/pci/setup-bus.c",
        why="the windows are written once resources are assigned, changed or not; the I/O and the prefetchable window are closed "
        "meanwhile. Ours leave firmware's values.",
    ),
    Reason(
        Side.LINUX, "init", r"root control\n", device=PORT,
        where="get_port_device_capability(), drivers/pci/pcie/portdrv_core.c",
        why="disables the PME interrupt, because firmware may have enabled it. Ours handle no PME.",
    ),
    Reason(
        Side.LINUX, "init", r"(PIRQ[A-H] route\n){8}", device="ICH9-LPC",
        where="acpi_pci_link_add(), drivers/acpi/pci_link.c",
        why="_DIS of each link, which is enabled again when it is used; with the I/O APIC none is. Ours handle INTx by the 8259, "
        "as firmware has routed it.",
    ),
    # --- probe ---
    Reason(
        Side.OURS, "probe", SIZED, times=2, device=f"{VIRTIO}|{PORT}",
        where="pci/bar.c:pci_map_bar",
        why="sizes the BAR before the first access to it, both halves at once, with decoding off meanwhile. Linux has sized every "
        "BAR at enumeration.",
    ),
    Reason(
        Side.LINUX, "probe", INTX.format("off"), device=VIRTIO,
        where="do_pci_enable_device(), drivers/pci/pci.c",
        why="pci_enable_device() enables INTx if neither MSI nor MSI-X is on; the device is not reset yet. Ours enable it only for "
        "a driver that uses INTx (drivers/virtio/pci.c:virtio_connect_intx).",
    ),
    Reason(
        Side.OURS, "probe", r"device_status \(reset\)\n", device=VIRTIO,
        where="images/kernel.c:drive, drivers/virtio/pci.c:virtio_pci_reset",
        why="reset before bus master is set again, so that the previous kernel's requests do not continue.",
    ),
    Reason(
        Side.VALUE, "probe", MASTER.format("on") + OURS_DISABLED, device=f"{VIRTIO}|{PORT}", shutdown="keep-msi",
        where="do_pci_enable_device(), drivers/pci/pci.c",
        why="Linux sets bus master with INTx enabled, by pci_enable_device(). In ours it is still disabled, as the previous kernel "
        "left it, so that only messages can come.",
    ),
    Reason(
        Side.LINUX, "probe", r"latency timer\n", device=VIRTIO,
        where="pcibios_set_master(), drivers/pci/pci.c",
        why="pci_set_master() raises a latency timer below 16 to 64 if the function is not PCI Express. Ours leave firmware's "
        "value.",
    ),
    Reason(
        Side.LINUX, "probe", r"device_status \(reset\)\n", device=VIRTIO,
        where="register_virtio_device(), drivers/virtio/virtio.c",
        why="Linux resets the device, too, but virtio_pci_probe(), drivers/virtio/virtio_pci_common.c, calls pci_set_master() "
        "first.",
    ),
    Reason(
        Side.VALUE, "probe", r"driver_feature <- .* \| <- 0x00000(2[02]0|001)\n", device=VIRTIO, times=2,
        where="virtio_dev_probe(), drivers/virtio/virtio.c",
        why="accepts the features of the driver (drivers/block/virtio_blk.c: features[]), of the ring (INDIRECT_DESC, EVENT_IDX) "
        "and of the transport (RING_RESET); ours only those that they use: VERSION_1, FLUSH, RO (drivers/virtio/blk.c).",
    ),
    Reason(
        Side.LINUX, "probe", MASKED, device=VIRTIO,
        where="__pci_write_msi_msg(), drivers/pci/msi/msi.c",
        why="an entry that is still unmasked, as the outgoing Linux left it, is masked while its message is written. In ours "
        "Function Mask masks it.",
    ),
    Reason(
        Side.LINUX, "probe", MESSAGE + UNMASKED, device=VIRTIO,
        where="__pci_write_msi_msg(), drivers/pci/msi/msi.c",
        why="Linux uses an entry for configuration changes and one for each queue, ours one in all. Until request_irq() the "
        "message has vector 0xef, MANAGED_IRQ_SHUTDOWN_VECTOR (arch/x86/kernel/apic/vector.c). Ours mask this entry because "
        "they do not use it.",
    ),
    Reason(
        Side.LINUX, "probe", INTX.format("on"), device=f"{VIRTIO}|{PORT}",
        where="pci_intx_for_msi(), drivers/pci/msi/msi.c",
        why="INTx off while MSI-X is on. Ours do the same here (pci/msix.c:pci_enable_msix), but write nothing if it is off "
        "already.",
    ),
    Reason(
        Side.OURS, "probe", INTX.format("on"), device=f"{VIRTIO}|{PORT}", shutdown="disable-msi",
        where="pci/msix.c:pci_enable_msix",
        why="INTx off, once the messages are written; handoff.shutdown=disable-msi left it enabled.",
    ),
    Reason(
        Side.LINUX, "probe", rf"({MASKED}){{1,2}}", device=f"{VIRTIO}|{PORT}",
        where="msix_mask_all(), drivers/pci/msi/msi.c",
        why="masks every entry, so that none of a previous kernel's fires; one is unmasked when its interrupt is requested. Ours "
        "write each entry's mask bit once, with its final value, before Function Mask is cleared.",
    ),
    Reason(
        Side.LINUX, "probe", rf"({MASKED}{MESSAGE}{UNMASKED}){{2}}{UNMASKED}", device=VIRTIO, times=2,
        where="request_irq(), kernel/irq/manage.c",
        why="writes the message with its vector when it is activated (msi_domain_activate()), again when its CPU is chosen, each "
        "time masked; then irq_startup() unmasks it.",
    ),
    Reason(
        Side.LINUX, "probe", r"config_msix_vector\n", device=VIRTIO,
        where="vp_request_msix_vectors(), drivers/virtio/virtio_pci_common.c",
        why="a vector for configuration changes. Ours handle none; a reset leaves the field at NO_VECTOR.",
    ),
    Reason(
        Side.LINUX, "probe", r"(queue_select \(0\)\n)+", device=VIRTIO, times=5,
        where="vp_modern_*(), drivers/virtio/virtio_pci_modern_dev.c",
        why="each accessor of a queue's fields selects the queue; ours select it once (drivers/virtio/queue.c:virtqueue_init).",
    ),
    Reason(
        Side.VALUE, "probe", r"queue_size <- .* \| <- 0x0020\n", device=VIRTIO,
        where="vp_active_vq(), drivers/virtio/virtio_pci_modern.c",
        why="Linux uses the size that the device offers; ours at most 32 (drivers/virtio/queue.h:VIRTQUEUE_SIZE_MAX).",
    ),
    Reason(
        Side.OURS, "probe", r"queue_msix_vector\n", device=VIRTIO,
        where="drivers/virtio/queue.c:virtqueue_init",
        why="the vector before the addresses, Linux after them; both before queue_enable. It is entry 0 here, because there is "
        "none for configuration changes.",
    ),
    Reason(
        Side.LINUX, "probe", r"queue_msix_vector\n", device=VIRTIO,
        where="vp_active_vq(), drivers/virtio/virtio_pci_modern.c",
        why="the vector after the addresses.",
    ),
    Reason(
        Side.OURS, "probe", UNMASKED, device=PORT,
        where="pci/msix.c:pci_enable_msix",
        why="unmasks the entry once it is written, under Function Mask; Linux unmasks it when a service requests its interrupt.",
    ),
    Reason(
        Side.LINUX, "probe", rf"root control\nroot status\n({MESSAGE}){{2}}{UNMASKED}root control\n", device=PORT,
        where="pcie_pme_probe(), drivers/pci/pcie/pme.c",
        why="PME interrupt off, its status cleared, request_irq(), which writes the message twice and unmasks it, PME interrupt "
        "on. Ours handle no PME.",
    ),
    Reason(
        Side.LINUX, "probe", r"device status\nroot control\naer root status\naer correctable status\naer uncorrectable status\n"
        r"device control\n", device=PORT,
        where="aer_enable_rootport(), drivers/pci/pcie/aer.c",
        why="clears old errors, disables system errors (QEMU's Root Control reads 0, so PME's bit is not written back), enables "
        "reporting. Ours clear Root Error Status if anything is set (drivers/port/port.c:take_error); both enable the same "
        "interrupts next.",
    ),
    Reason(
        Side.OURS, "probe", r"(slot control\nslot status\n){2}aer root command\nslot control\nslot status\n", device=PORT,
        where="drivers/port/port.c:work",
        why="two commands to the slot, each of which reports its completion; then the port's events are disabled. In Linux ACPI "
        "handles hot-plug here: _OSC does not grant it.",
    ),
    Reason(
        Side.OURS, "probe", EDU_RESET + INTX.format("off") + EDU_WORK, device=" edu", shutdown="keep-msi",
        where="drivers/edu/edu.c:reset, drivers/edu/edu.c:work",
        why="the BAR is sized, the previous kernel's transfer has ended and is acknowledged, and only then bus master is set; then "
        "INTx, MSI, DMA out and back. Debian's Linux has no driver for edu.",
    ),
    Reason(
        Side.OURS, "probe", EDU_RESET + EDU_WORK, device=" edu", shutdown="disable-msi",
        where="drivers/edu/edu.c:reset, drivers/edu/edu.c:work",
        why="as under keep-msi, but INTx is enabled already: the BAR is sized, the previous kernel's interrupt is acknowledged, "
        "then bus master, INTx, MSI, DMA out and back. Debian's Linux has no driver for edu.",
    ),
    Reason(
        Side.OURS, "probe", EDU_RESET + RAISE + EDU_MSI, device=" edu", shutdown="disable-msi",
        where="drivers/edu/edu.c:work",
        why="two edu share this line, and the transfer that first had left on the second one ended in an INTx without a handler, "
        "until the line was disabled: INTx is lost, MSI works, and the driver ends. Debian's Linux has no driver for edu.",
    ),
    Reason(
        Side.OURS, "probe", SIZED + r"GHC \(AE, HR\)\nGHC \(AE\)\n" + MASTER.format("on") + r"\n(P\dCMD \(SUD, POD\)\n){6}",
        device=" ich9-ahci",
        where="drivers/ahci/ahci.c:reset, drivers/ahci/ahci.c:find_port",
        why="the controller is reset, and only then bus master is set; then each of its six ports is probed for a drive; there is "
        "none. Debian's cloud kernel has no driver for it (neither built in nor as a module).",
    ),
)  # fmt: skip
