# SPDX-License-Identifier: BSD-2-Clause
"""L5: MSI disabled at init, with INTx enabled and the device running, moves the storm into the new kernel.

The patch leaves it to the new kernel to disable MSI. Where INTx Disable is clear, that does to a running device what disable-msi
does to it at shutdown: it asserts a line for which it has no handler. The limit does not exist if the line stays low after init, or
if the other device on it still works.

The images (out_windows.c, in_windows.c) have edu's transfer end between init and the drivers; the first driver is that of a serial
port on the same line. The trial fails unless there are one edge, one line disabled after 100000 interrupts, and two devices that
fail. In the controls INTx Disable was left set, or the new kernel leaves MSI on. The cure is to disable INTx before MSI
(hardened.c).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from tests.claims.measure import counted, master_on, switch
from tests.claims.shared_line import NOBODY_CARED
from tests.claims.windows import INTX_DISABLE, OUT, TO_DRIVER, failing, look, options
from witness.judge.hazards import disabled_lines
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.machines import CONSOLE
from witness.lab.observation import Observation
from witness.pci.topology import Bdf

EDU, GSI = Bdf(0, 9, 0), 21


class New(NamedTuple):
    """What edu sends between init and the new kernel's drivers, and what that does to them."""

    messages: int = 0
    edges: int = 0
    disabled: int = 0  # lines
    failing: int = 0


NOTHING, STORM = New(), New(edges=1, disabled=1, failing=2)


def judge(master: str, new: New, seen: Observation) -> list[Value]:
    """master: edu's, when its transfer ends. Interrupts are counted from the point init, where the new kernel's policy has been
    applied, to the point driver; then the lines that the new kernel disables, and its drivers that fail."""
    lines, driver = seen.between(*TO_DRIVER), seen.mark("driver").line
    lost = disabled_lines(seen.case, seen.between("init"))
    storm = range(lines.start, lost[0].line) if lost else lines
    return [
        exactly("edu's bus master from init on", switch(master_on(seen, EDU, lines.start)), master, f"trace {lines.start}"),
        exactly("its transfers under way when drivers start", seen.noted("edu runs"), 0),
        counted("messages from init to the drivers", seen.messages(lines), new.messages),
        counted("INTx edges from init to the drivers", seen.edges(lines), new.edges),
        exactly("level of the line when drivers start", seen.level(GSI, driver), new.edges),
        exactly("lines that the new kernel disables", len(lost), new.disabled, ", ".join(map(str, lost))),
        counted("interrupts until then", seen.taken(storm), NOBODY_CARED * new.disabled),
        failing(seen, new.failing),
    ]


def trial(what: str, role: Role, shutdown: str, startup: str, new: New, intx: str = "clear") -> Trial:
    name = f"{what}: {shutdown}, then {startup}, INTx Disable {intx}"
    master = "off" if shutdown == "keep-msi" or startup == "hardened" else "on"
    command_line = options(shutdown, startup, TO_DRIVER, INTX_DISABLE[intx])
    return Trial(name, role, CONSOLE, OUT, partial(judge, master, new), command_line, {"window": look})


EXPERIMENT = Experiment(
    title="Disabling MSI at init, with INTx enabled, moves the storm into the new kernel",
    source="what the patch leaves open, which has the new kernel disable MSI (d5dea7d95c48); Linux: kernel/irq/spurious.c, and "
    "PCI_DEV_FLAGS_MSI_INTX_DISABLE_BUG, devices on which INTx Disable stays clear along with MSI",
    falsified_by="no edge after init, or a line that keeps serving its other devices",
    provoked_by="edu's transfer ends between init and the drivers; the first driver is that of a serial port on the same line",
    reading="MSI off and INTx enabled is what the patch says not to leave at shutdown. Init creates just that, on a device that "
    "was never shut down and on one with bus master off. The storm begins when the first driver on the line installs its handler, "
    "long before the culprit's own. Only INTx Disable protects the new kernel. The old one may have set it along with MSI, or "
    "not: a kernel that sets it before it disables MSI does not depend on that.",
    trials=(
        trial("device left running", Role.CLAIM, "none", "disable-msi", STORM),
        trial("bus master cleared at shutdown", Role.CLAIM, "keep-msi", "disable-msi", STORM),
        trial("device left running", Role.CONTROL, "none", "disable-msi", NOTHING, "set"),
        trial("bus master cleared at shutdown", Role.CONTROL, "keep-msi", "disable-msi", NOTHING, "set"),
        # edu fails: its driver uses INTx, and it sends the message that was left enabled.
        trial("MSI left on", Role.CONTROL, "none", "none", New(messages=1, failing=1)),
        trial("device left running", Role.CURE, "none", "hardened", NOTHING),
        trial("bus master cleared at shutdown", Role.CURE, "keep-msi", "hardened", NOTHING),
    ),
)
