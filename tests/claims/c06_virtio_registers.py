# SPDX-License-Identifier: BSD-2-Clause
"""C6: the functions of virtio's legacy registers change with MSI-X: what was a vector becomes part of a MAC address.

With MSI-X enabled, virtio's legacy interface has two vector registers at offset 20; with MSI-X disabled, the device's own
configuration begins there (virtio 1.2, 4.1.4.10). A PCI core that disables MSI-X under the driver moves the registers under it. The
claim is false if the card's address does not change although the driver writes its vectors with MSI-X off.

The image (c06_virtio_registers.c) is a driver that sets its vectors a second time. QEMU reports the card's address before and
after. The trial fails if the address did not change, or if the driver wrote other registers than those below. In the controls MSI-X
is on, or the driver uses the modern interface: then the address does not change, and a change of the configuration is reported by
the new entry's message with MSI-X on, by INTx with MSI-X off.
"""

from __future__ import annotations

from functools import partial

from tests.claims.measure import counted, messages_on
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.machines import CARDS
from witness.lab.observation import Observation, at
from witness.lab.stage import Stage
from witness.machine.description import Nic
from witness.pci.registers import Register
from witness.pci.topology import Bdf

TRANSITIONAL, MODERN = CARDS.nics

# <linux/virtio_pci.h>: queue select and the two vectors. With MSI-X off the device's own configuration begins at 20, in a network
# card with the MAC address. Then where the modern interface has the same three (virtio 1.2, 4.1.4.3).
LEGACY_REGISTERS, MODERN_REGISTERS = "14 20 22", "22 16 26"
REGISTERS = 0x1F

# As the driver writes it the second time, to each of the two, with 16 bits, little-endian.
ENTRY = 1
OVERWRITTEN = "01:00:01:00"

# In the MSI-X table.
PCI_MSIX_ENTRY_SIZE = 16
PCI_MSIX_ENTRY_DATA = 8


def keep_mac(nic: Nic, name: str, stage: Stage) -> None:
    """The address that the card answers to, as QEMU reports it."""
    (rx,) = stage.session.qmp.command("query-rx-filter", name=nic.name)
    stage.kept[name] = str(rx["main-mac"]).encode()


def finish(nic: Nic, stage: Stage) -> None:
    """And changes its configuration: a message reports it with MSI-X on, else INTx."""
    keep_mac(nic, "after", stage)
    stage.session.qmp.command("set_link", name=nic.name, up=False)


def judge(nic: Nic, registers: str, msix: int, mac: str, seen: Observation) -> list[Value]:
    """Between the points disabled and written, the driver's writes; after that, how a change of the configuration is reported."""
    bdf = Bdf(0, nic.slot, 0)
    again, then = seen.between("disabled", "written"), seen.between("written", "end")
    writes, messages = seen.writes_to(bdf, again), seen.messages(then)
    entries = [str(entry) for m in messages for entry, data in table(seen, bdf).items() if data == m.data]
    return [
        exactly("MSI-X on", int(messages_on(seen, bdf, Register.MSIX, again.start)), msix),
        exactly("registers that the driver writes", " ".join(str(w.address & REGISTERS) for w in writes), registers, at(writes)),
        exactly("MAC address before", seen.kept["before"].decode(), nic.mac),
        exactly("MAC address after", seen.kept["after"].decode(), mac),
        exactly("MSI-X entry that reports a change", " ".join(entries) or "none", str(ENTRY) if msix else "none", at(messages)),
        counted("INTx edges", seen.edges(then), 1 - msix),
    ]


def table(seen: Observation, bdf: Bdf) -> dict[int, int]:
    """The data of each entry, as the driver wrote it before the point up: to nothing else, with 32 bits, in the table's own BAR."""
    writes = seen.writes_to(bdf, range(seen.mark("up").line))
    data = [w for w in writes if w.region == "msix-table" and w.address % PCI_MSIX_ENTRY_SIZE == PCI_MSIX_ENTRY_DATA]
    return {w.address % 0x1000 // PCI_MSIX_ENTRY_SIZE: w.value for w in data}


def trial(what: str, role: Role, nic: Nic, registers: str, msix: int, mac: str) -> Trial:
    options = [
        "lab.virtio-net.1" if nic is MODERN else "lab.virtio-net",
        "lab.modern" if registers == MODERN_REGISTERS else "",
        "" if msix else "lab.disable-msix",
    ]
    points = {"up": partial(keep_mac, nic, "before"), "written": partial(finish, nic)}
    check = partial(judge, nic, registers, msix, mac)
    return Trial(what, role, CARDS, "c06_virtio_registers", check, " ".join(filter(None, options)), points)


BROKEN = OVERWRITTEN + TRANSITIONAL.mac[len(OVERWRITTEN) :]

EXPERIMENT = Experiment(
    title="Disabling MSI-X under a virtio driver changes what its registers do",
    source='the patch: "virtio specifically has another issue: register functions change between msi enabled and disabled modes"; '
    "virtio 1.2, 4.1.4.10",
    falsified_by="a MAC address that does not change although vectors are written with MSI-X off",
    provoked_by="a driver sets its vectors a second time; QEMU reports the card's address before and after",
    reading="Disabling MSI-X under a legacy virtio driver moves its registers by four bytes: the next vector that it writes "
    "overwrites the card's address. The modern interface has no such shift; its driver gets INTx where it expects a message.",
    trials=(
        trial("legacy interface, MSI-X disabled", Role.CLAIM, TRANSITIONAL, LEGACY_REGISTERS, 0, BROKEN),
        trial("legacy interface, MSI-X on", Role.CONTROL, TRANSITIONAL, LEGACY_REGISTERS, 1, TRANSITIONAL.mac),
        trial("the same card, modern interface, MSI-X disabled", Role.CONTROL, TRANSITIONAL, MODERN_REGISTERS, 0, TRANSITIONAL.mac),
        trial("a modern card, MSI-X disabled", Role.CONTROL, MODERN, MODERN_REGISTERS, 0, MODERN.mac),
        trial("a modern card, MSI-X on", Role.CONTROL, MODERN, MODERN_REGISTERS, 1, MODERN.mac),
    ),
)
