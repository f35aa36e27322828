# SPDX-License-Identifier: BSD-2-Clause
"""C10: the crash path: nothing was shut down, and the next kernel is the first that can do anything.

A crash kernel is entered with every device running. The claim is that it can stop them at init, by INTx, bus master and messages
off on all functions before any driver (startup/hardened.c), and that nothing less does. It is false if after init a message or an
INTx edge comes, if a device fetches a request or returns one, if a byte lands outside of the memory that is reserved for DMA, or if
a driver of the next kernel fails.

The images (out_windows.c, in_windows.c) have work of edu, a disk, an entropy generator and a network card in flight, and let all of
it end before or after init. The trial fails if any number after init is not 0, but for the data of the eight reads that the disk
had fetched: it lands, in the reserved memory. In the controls the next kernel does nothing, or only disables MSI: then requests are
returned and DMA lands as under the old kernel, and where INTx Disable is clear edu asserts its line instead of sending its message.
"""

from __future__ import annotations

from functools import partial

from tests.claims.dma import landed
from tests.claims.loaded import DATA, EVERYTHING, Load, loaded_trial, requests, written_to
from tests.claims.measure import counted
from tests.claims.windows import TO_DRIVER, TO_INIT, Window, edu_wrote, failing, lines_of
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.observation import Observation

NO_MESSAGES = EVERYTHING._replace(messages=0)
UNUSABLE = EVERYTHING._replace(failing=1)  # edu: its driver uses INTx, and it sends the message that was left enabled


def judge(window: Window, load: Load, seen: Observation) -> list[Value]:
    """The window's interrupts, by the trace from its beginning to its end; requests as QEMU and the rings report them, from
    before the shutdown to the end of the wait in the window; bytes by RAM before and after that; and whether the next kernel's
    drivers work."""
    lines, (fetched, used), (reserved, elsewhere) = lines_of(window, seen), requests(seen), written_to(seen, window)
    return [
        counted("messages", seen.messages(lines), load.messages),
        counted("INTx edges", seen.edges(lines), load.edges),
        exactly("requests fetched", fetched, load.fetched),
        exactly("used-ring updates", used, load.used),
        landed("bytes that edu's DMA wrote", edu_wrote(seen), load.edu),
        landed("other bytes written in the old kernel's DMA memory", reserved, load.reserved),
        landed("bytes written elsewhere", elsewhere, 0),
        failing(seen, load.failing),
    ]


def handoff(role: Role, shutdown: str, startup: str, window: Window, load: Load, *more: str) -> Trial:
    return loaded_trial(role, shutdown, startup, window, partial(judge, window, load), *more)


EXPERIMENT = Experiment(
    title="After a crash devices keep running until the next kernel stops them all",
    source="kdump, which calls no driver's shutdown (Linux: __crash_kexec); the patch leaves it to the new kernel, which "
    '"makes sure the original kexec problem is solved"',
    falsified_by="after init a message, an INTx edge, a request fetched or returned; a byte outside the memory reserved for DMA; "
    "a device that fails",
    provoked_by="in a window edu's transfer ends, entropy becomes available, eight reads of a disk end, and a frame arrives",
    reading="MSI off at init ends the messages and nothing else: requests are still fetched and returned, DMA lands, and INTx "
    "takes the messages' place unless it is disabled. INTx, bus master and messages off, in this order and on all functions "
    "before any driver, leave only the data of what was fetched already. Before init no policy helps, only memory that was never "
    "given to a device.",
    trials=(
        handoff(Role.CLAIM, "none", "hardened", TO_DRIVER, Load(reserved=DATA)),
        handoff(Role.CLAIM, "none", "hardened", TO_DRIVER, Load(reserved=DATA), "lab.intx=enabled"),
        handoff(Role.CLAIM, "none", "hardened", TO_INIT, EVERYTHING),
        handoff(Role.CONTROL, "none", "none", TO_INIT, UNUSABLE),
        handoff(Role.CONTROL, "none", "none", TO_DRIVER, UNUSABLE),
        handoff(Role.CONTROL, "none", "disable-msi", TO_DRIVER, NO_MESSAGES),
        handoff(Role.CONTROL, "none", "disable-msi", TO_DRIVER, NO_MESSAGES._replace(edges=1), "lab.intx=enabled"),
    ),
)
