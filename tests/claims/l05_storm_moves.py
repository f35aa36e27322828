# SPDX-License-Identifier: BSD-2-Clause
"""L5: MSI disabled at init, with INTx enabled and the device at work, moves the storm into the new kernel.

The patch leaves it to the new kernel to disable MSI. Where INTx Disable is clear, that makes of a device at work what disable-msi
makes of it at shutdown: a device that asserts a line without a handler of its own. The limit does not exist if the line stays low
after init, or if the other device on it still works.

The images (out_windows.c, in_windows.c) have edu's transfer end between init and the drivers; the first driver is that of a serial
port on the same line. A failure is another number than one edge, one disabled line after 100000 interrupts, and two devices that
fail. In the controls INTx Disable was left set, or the new kernel leaves MSI on. The cure is to disable INTx before MSI
(hardened.c).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from tests.claims.measure import counted, master_on, switch
from tests.claims.shared_line import NOBODY_CARED
from tests.claims.windows import INTX_DISABLE, OUT, TO_DRIVER, failing, look, words
from witness.judge.hazards import disabled_lines
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.machines import CONSOLE
from witness.lab.observation import Observation
from witness.pci.topology import Bdf

EDU, GSI = Bdf(0, 9, 0), 21


class New(NamedTuple):
    """What the new kernel gets of edu between init and its drivers, and what becomes of them."""

    messages: int = 0
    edges: int = 0
    given_up: int = 0
    failing: int = 0


QUIET, STORM = New(), New(edges=1, given_up=1, failing=2)


def judge(master: str, new: New, seen: Observation) -> list[Value]:
    """master: edu's, when its transfer ends. Counted is from the point init, where the new kernel's policy has been applied, to the
    point driver; then what the new kernel disables, and which of its drivers fail."""
    lines, driver = seen.between(*TO_DRIVER), seen.mark("driver").line
    lost = disabled_lines(seen.case, seen.between("init"))
    storm = range(lines.start, lost[0].line) if lost else lines
    return [
        exactly("edu's bus master from init on", switch(master_on(seen, EDU, lines.start)), master, f"trace {lines.start}"),
        exactly("its transfers under way when drivers begin", seen.noted("edu runs"), 0),
        counted("messages between", seen.messages(lines), new.messages),
        counted("INTx edges between", seen.edges(lines), new.edges),
        exactly("level of the line when drivers begin", seen.level(GSI, driver), new.edges),
        exactly("lines that the new kernel gives up", len(lost), new.given_up, ", ".join(map(str, lost))),
        counted("interrupts up to there", seen.taken(storm), NOBODY_CARED * new.given_up),
        failing(seen, new.failing),
    ]


def trial(what: str, role: Role, shutdown: str, startup: str, new: New, intx: str = "clear") -> Trial:
    name = f"{what}: {shutdown}, then {startup}, INTx Disable {intx}"
    master = "off" if shutdown == "keep-msi" or startup == "hardened" else "on"
    command_line = words(shutdown, startup, TO_DRIVER, INTX_DISABLE[intx])
    return Trial(name, role, CONSOLE, OUT, partial(judge, master, new), command_line, {"window": look})


EXPERIMENT = Experiment(
    title="MSI disabled at init, with INTx enabled, moves the storm there",
    source="what the patch leaves open, which has the new kernel disable MSI (d5dea7d95c48); Linux: kernel/irq/spurious.c, and "
    "PCI_DEV_FLAGS_MSI_INTX_DISABLE_BUG, devices whose INTx Disable stays clear beside MSI",
    falsified_by="no edge behind init, or a line that goes on serving its other devices",
    provoked_by="edu's transfer ends between init and the drivers; the first driver is that of a serial port on the same line",
    reading="MSI off and INTx enabled is what the patch says not to leave behind at shutdown. Init makes just that, of a device "
    "that nobody has shut down, and of one whose bus master is off. The storm begins when the first driver on the line has "
    "its handler, long before the culprit's own. What protects the new kernel is INTx Disable, which the last one had set "
    "beside MSI, or had not: who sets it before MSI is disabled need not hope for it.",
    trials=(
        trial("device left running", Role.CLAIM, "none", "disable-msi", STORM),
        trial("bus master cleared at shutdown", Role.CLAIM, "keep-msi", "disable-msi", STORM),
        trial("device left running", Role.CONTROL, "none", "disable-msi", QUIET, "set"),
        trial("bus master cleared at shutdown", Role.CONTROL, "keep-msi", "disable-msi", QUIET, "set"),
        # edu fails: asked for INTx, it sends the message that was left enabled.
        trial("MSI left on", Role.CONTROL, "none", "none", New(messages=1, failing=1)),
        trial("device left running", Role.CURE, "none", "hardened", QUIET),
        trial("bus master cleared at shutdown", Role.CURE, "keep-msi", "hardened", QUIET),
    ),
)
