# SPDX-License-Identifier: BSD-2-Clause
"""C9: the patch's answer: MSI stays enabled at shutdown, and the next kernel disables it.

With bus master off at shutdown and MSI off at init, work in flight on every device ends without an interrupt, and each device works
under the next kernel. The claim is false if a message or an INTx edge comes in a window; if a device fetches a request, or returns
one; if a byte lands outside of the memory that is reserved for DMA; or if a driver of the next kernel fails.

The images (out_windows.c, in_windows.c) have work of edu, a disk, an entropy generator and a network card in flight, and let all of
it end in one window. The trial fails if any number is not 0; only data of the eight reads that the disk had fetched lands, in the
reserved memory. In the controls the old kernel disables MSI as well, and edu asserts its line; or it shuts nothing down, and
everything arrives.
"""

from __future__ import annotations

from functools import partial

from tests.claims.dma import landed
from tests.claims.loaded import DATA, EVERYTHING, Load, loaded_trial, requests, written_to
from tests.claims.measure import counted
from tests.claims.windows import TO_INIT, TO_JUMP, WINDOWS, Window, edu_wrote, failing, lines_of
from witness.lab.experiment import Experiment, Role, Trial, Value, exactly
from witness.lab.observation import Observation


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
    title="Bus master off, MSI left on: no interrupt comes, every device works",
    source='the patch: "stop disabling MSIs in PCI core at shutdown: it\'s simple, safe, removes code instead of adding more code"',
    falsified_by="a message, an INTx edge, a request fetched or returned, a byte outside the memory reserved for DMA, a device "
    "that fails",
    provoked_by="in each window edu's transfer ends, entropy becomes available, eight reads of a disk end, and a frame arrives",
    reading="No interrupt reports to the next kernel what the old one had begun, and nothing new begins. Data of requests that a "
    "device had fetched may still land, so the memory for DMA has to stay reserved until each device has been reset. Where MSI is "
    "disabled at shutdown as well, the same work ends in an INTx that no handler serves. (INTx has to be disabled along with MSI: "
    "C8.)",
    trials=(
        *(handoff(Role.CLAIM, "keep-msi", "disable-msi", window, Load(reserved=DATA)) for window in WINDOWS),
        *(handoff(Role.CONTROL, "disable-msi", "disable-msi", window, Load(edges=1, reserved=DATA)) for window in WINDOWS),
        *(handoff(Role.CONTROL, "none", "disable-msi", window, EVERYTHING) for window in (TO_JUMP, TO_INIT)),
    ),
)
