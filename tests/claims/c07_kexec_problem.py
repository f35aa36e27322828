# SPDX-License-Identifier: BSD-2-Clause
"""C7: the problem for which MSI was once disabled at shutdown: a device keeps running under the next kernel.

Neither kernel does anything about it: the old one leaves bus master and MSI on, the next one does not disable MSI. The claim is
false if there is a window, between the old kernel's shutdown and the next kernel's driver, in which neither the device's message
nor its data arrives; or if the next kernel can use the device all the same.

The images (out_windows.c, in_windows.c) let a DMA transfer of edu's end in each of the three windows. The trial fails if a window
lacks the message, or the 2048 bytes in RAM, or if the next kernel's driver gets edu's INTx. In the control both cures are applied,
bus master off at shutdown and MSI off at init: nothing arrives, and edu works.
"""

from __future__ import annotations

from functools import partial

from tests.claims import apic
from tests.claims.dma import landed
from tests.claims.measure import counted
from tests.claims.windows import (
    INTX_DISABLE, TO_JUMP, WINDOWS, Window, edu_wrote, edu_trial, failing, intx_disable, lines_of,
)  # fmt: skip
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.observation import Observation, at

SIZE = 2048  # of edu's transfer


def judge(window: Window, intx: str, arrives: bool, seen: Observation) -> list[Value]:
    """The window's interrupts, by the trace from its beginning to its end; what is in RAM when it ends; and whether the next
    kernel's driver can use edu. A message that comes before the jump stays pending in the local APIC."""
    lines, early = lines_of(window, seen), window == TO_JUMP
    return [
        exactly("INTx Disable", intx_disable(seen), intx, at([seen.mark("shutdown")])),
        counted("messages", seen.messages(lines), int(arrives)),
        counted("INTx edges", seen.edges(lines), 0),
        *([apic.held("vectors pending in the local APIC at the jump", seen, "window", int(arrives))] if early else []),
        landed("bytes that edu's DMA wrote", edu_wrote(seen), SIZE if arrives else 0),
        failing(seen, int(arrives)),
    ]


def neither(window: Window, intx: str) -> Trial:
    return edu_trial("neither", Role.CLAIM, "none", "none", window, intx, partial(judge, window, intx, True))


def both(window: Window) -> Trial:
    return edu_trial("both", Role.CONTROL, "keep-msi", "disable-msi", window, "set", partial(judge, window, "set", False))


EXPERIMENT = Experiment(
    title="With neither cure, the old kernel's messages and DMA reach the next",
    source='the patch: "the original kexec problem"; d52877c7b1af "pci/irq: let pci_device_shutdown to call pci_msi_shutdown v2"',
    falsified_by="a window in which neither edu's message nor its data arrives, or a next kernel that can use edu all the same",
    provoked_by="a DMA transfer of edu's ends from shutdown to the jump, from the jump to init, from init to the driver",
    reading="No window is safe by itself. The jump does not end what came before it: the local APIC keeps the message for the "
    "next kernel. And a driver that begins with INTx, as all did then, waits for it in vain: its device still sends messages, to "
    "a vector that no driver owns any more.",
    trials=(
        *(neither(window, intx) for window in WINDOWS for intx in INTX_DISABLE),
        *map(both, WINDOWS),
    ),
)
