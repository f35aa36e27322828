# SPDX-License-Identifier: BSD-2-Clause
"""C9: the patch's answer: MSI stays enabled at shutdown, and the next kernel disables it."""

from __future__ import annotations

from tests.claims.loaded import DATA, EVERYTHING, Loaded, loaded_trial
from tests.claims.windows import TO_INIT, TO_JUMP, WINDOWS
from witness.lab.experiment import Experiment, Role

EXPERIMENT = Experiment(
    title="Bus master off, MSI left on: no interrupt comes, every device works",
    source='the patch: "stop disabling MSIs in PCI core at shutdown: it\'s simple, safe, removes code instead of adding more code"',
    falsified_by="a message, an INTx edge, a request fetched or returned, a byte outside the memory reserved for DMA, a device "
    "that fails",
    provoked_by="in each window edu's transfer ends, entropy falls due, eight reads of a disk end, and a frame arrives",
    reading="Nothing tells the next kernel of what the last had begun, and nothing new begins. Data of requests that a device had "
    "fetched may still land, so the memory for DMA has to stay reserved until each device has been reset. Where MSI is disabled "
    "at shutdown as well, the same work ends in an INTx that nobody serves. (INTx has to be disabled beside MSI: C8.)",
    trials=(
        *(loaded_trial(Role.CLAIM, "keep-msi", "disable-msi", window, Loaded(reserved=DATA)) for window in WINDOWS),
        *(loaded_trial(Role.CONTROL, "disable-msi", "disable-msi", window, Loaded(edges=1, reserved=DATA)) for window in WINDOWS),
        *(loaded_trial(Role.CONTROL, "none", "disable-msi", window, EVERYTHING) for window in (TO_JUMP, TO_INIT)),
    ),
)
