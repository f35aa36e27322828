# SPDX-License-Identifier: BSD-2-Clause
"""C8: the two cures for the problem of C7, each alone and both together.

The outgoing kernel has one cure: bus master off at shutdown. The incoming kernel has the other: MSI off at init. The claim is that
neither suffices alone. It is false if with bus master off a message or data arrives; if with MSI off a message arrives after init;
if the next kernel can use the device without the second cure; or if with both of them it cannot.

The images (out_windows.c, in_windows.c) let a DMA transfer of edu's end in each of the three windows, under one cure and under
both, with INTx Disable set along with MSI and with it clear. The trial fails if a cell of the table below comes out otherwise. In
the control neither cure is applied: message and data arrive in each window, and edu fails.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import NamedTuple

from tests.claims import apic
from tests.claims.dma import landed
from tests.claims.measure import counted
from tests.claims.windows import (
    INTX_DISABLE, TO_JUMP, WINDOWS, Window, edu_wrote, edu_trial, failing, intx_disable, lines_of,
)  # fmt: skip
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.observation import Observation, at


class Left(NamedTuple):
    """What edu does in a window, and whether the next kernel can use it."""

    messages: int = 0
    edges: int = 0
    size: int = 0  # bytes that its DMA writes
    failing: int = 0


NOTHING, ARRIVES, EVERYTHING = Left(), Left(messages=1, size=2048), Left(messages=1, size=2048, failing=1)

# In each window with INTx Disable set, and with it clear. The edge in the last window is the INTx that the latter allows.
CELLS = {
    ("bus master off at shutdown", "keep-msi", "none"): 6 * [Left(failing=1)],
    ("MSI off at init", "none", "disable-msi"): [*4 * [ARRIVES], Left(size=2048), Left(edges=1, size=2048)],
    ("both", "keep-msi", "disable-msi"): [*5 * [NOTHING], Left(edges=1)],
}


def judge(window: Window, intx: str, left: Left, seen: Observation) -> list[Value]:
    """The window's interrupts, by the trace from its beginning to its end; what is in RAM when it ends; and whether the next
    kernel's driver can use edu. A message that comes before the jump stays pending in the local APIC."""
    lines, early = lines_of(window, seen), window == TO_JUMP
    return [
        exactly("INTx Disable", intx_disable(seen), intx, at([seen.mark("shutdown")])),
        counted("messages", seen.messages(lines), left.messages),
        counted("INTx edges", seen.edges(lines), left.edges),
        *([apic.held("vectors pending in the local APIC at the jump", seen, "window", left.messages)] if early else []),
        landed("bytes that edu's DMA wrote", edu_wrote(seen), left.size),
        failing(seen, left.failing),
    ]


def cell(what: str, role: Role, shutdown: str, startup: str, window: Window, intx: str, left: Left) -> Trial:
    return edu_trial(what, role, shutdown, startup, window, intx, partial(judge, window, intx, left))


EXPERIMENT = Experiment(
    title="It takes both cures: bus master off at shutdown, MSI off at init",
    source='the patch: superseded by d5dea7d95c48 "PCI: msi: Disable msi interrupts when we initialize a pci device" and '
    'b566a22c23 "PCI: disable Bus Master on PCI device shutdown"',
    falsified_by="a message or data with bus master off, a message after init with MSI off, a device that fails under both",
    provoked_by="a DMA transfer of edu's ends from shutdown to the jump, from the jump to init, from init to the driver",
    reading="The cures are no alternatives. Without bus master nothing arrives, but MSI is still enabled when the driver sets bus "
    "master again. With MSI off at init the device works, but messages arrive before that, and data until its driver starts. INTx "
    "stays low after init because the old kernel had disabled it along with MSI, not because of either cure: otherwise bus master "
    "does not hold it back.",
    trials=(
        *(
            cell(what, Role.CLAIM, shutdown, startup, window, intx, left)
            for (what, shutdown, startup), cells in CELLS.items()
            for (window, intx), left in zip(product(WINDOWS, INTX_DISABLE), cells)
        ),
        *(cell("neither", Role.CONTROL, "none", "none", window, "set", EVERYTHING) for window in WINDOWS),
    ),
)
