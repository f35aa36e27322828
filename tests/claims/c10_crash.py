# SPDX-License-Identifier: BSD-2-Clause
"""C10: the crash path: nothing was shut down, and the next kernel is the first that can do anything."""

from __future__ import annotations

from tests.claims.loaded import DATA, EVERYTHING, Loaded, loaded_trial
from tests.claims.windows import TO_DRIVER, TO_INIT
from witness.lab.experiment import Experiment, Role

NO_MESSAGES = EVERYTHING._replace(messages=0)
UNUSABLE = EVERYTHING._replace(failing=1)  # edu: asked for INTx, it sends the message that was left enabled

EXPERIMENT = Experiment(
    title="After a crash devices go on until the next kernel silences them all",
    source="kdump, which calls no driver's shutdown (Linux: __crash_kexec); the patch leaves it to the new kernel, which "
    '"makes sure the original kexec problem is solved"',
    falsified_by="behind init a message, an INTx edge, a request fetched or returned; a byte outside the memory reserved for DMA; "
    "a device that fails",
    provoked_by="in a window edu's transfer ends, entropy falls due, eight reads of a disk end, and a frame arrives",
    reading="MSI off at init ends the messages and nothing else: requests are still fetched and returned, DMA lands, and where "
    "INTx is not disabled it takes the messages' place. INTx, bus master and messages off, in this order and on all functions "
    "before any driver, leave only the data of what was fetched already. Up to init no policy helps, only memory that no device "
    "was ever told of.",
    trials=(
        loaded_trial(Role.CLAIM, "none", "hardened", TO_DRIVER, Loaded(reserved=DATA)),
        loaded_trial(Role.CLAIM, "none", "hardened", TO_DRIVER, Loaded(reserved=DATA), "lab.intx=enabled"),
        loaded_trial(Role.CLAIM, "none", "hardened", TO_INIT, EVERYTHING),
        loaded_trial(Role.CONTROL, "none", "none", TO_INIT, UNUSABLE),
        loaded_trial(Role.CONTROL, "none", "none", TO_DRIVER, UNUSABLE),
        loaded_trial(Role.CONTROL, "none", "disable-msi", TO_DRIVER, NO_MESSAGES),
        loaded_trial(Role.CONTROL, "none", "disable-msi", TO_DRIVER, NO_MESSAGES._replace(edges=1), "lab.intx=enabled"),
    ),
)
