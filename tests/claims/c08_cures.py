# SPDX-License-Identifier: BSD-2-Clause
"""C8: the two cures of the problem of C7, each alone and both together."""

from __future__ import annotations

from tests.claims.windows import TO_DRIVER, TO_INIT, TO_JUMP, WINDOWS, Left, edu_trial
from witness.lab.experiment import Experiment, Role

# With bus master off at shutdown, with MSI off at init, with both. The edge in the last window is the one of INTx Disable clear.
MASTER_OFF = {window: (Left(failing=1), Left(failing=1)) for window in WINDOWS}
MSI_OFF = {
    TO_JUMP: (Left(messages=1, size=2048), Left(messages=1, size=2048)),
    TO_INIT: (Left(messages=1, size=2048), Left(messages=1, size=2048)),
    TO_DRIVER: (Left(size=2048), Left(edges=1, size=2048)),
}
BOTH = {TO_JUMP: (Left(), Left()), TO_INIT: (Left(), Left()), TO_DRIVER: (Left(), Left(edges=1))}

CELLS = (
    ("bus master off at shutdown", "keep-msi", "none", MASTER_OFF),
    ("MSI off at init", "none", "disable-msi", MSI_OFF),
    ("both", "keep-msi", "disable-msi", BOTH),
)

EXPERIMENT = Experiment(
    title="It takes both cures: bus master off at shutdown, MSI off at init",
    source='the patch: superseded by d5dea7d95c48 "PCI: msi: Disable msi interrupts when we initialize a pci device" and '
    'b566a22c23 "PCI: disable Bus Master on PCI device shutdown"',
    falsified_by="a message or data in spite of bus master, a message behind init in spite of MSI, a device that fails under both",
    provoked_by="a DMA transfer of edu's ends from shutdown to the jump, from the jump to init, from init to the driver",
    reading="The cures are no alternatives. Without bus master nothing comes, but MSI is still enabled when the driver sets bus "
    "master again. With MSI off at init the device works, but messages come before, and data until its driver does. INTx stays "
    "quiet behind init because the last kernel had disabled it beside MSI, not because of either cure: where it has not, bus "
    "master holds nothing back.",
    trials=(
        *(
            edu_trial(what, Role.CLAIM, shutdown, startup, window, intx, left)
            for what, shutdown, startup, cell in CELLS
            for window, by_intx in cell.items()
            for intx, left in zip(("set", "clear"), by_intx)
        ),
        *(
            edu_trial("neither", Role.CONTROL, "none", "none", window, "set", Left(messages=1, size=2048, failing=1))
            for window in WINDOWS
        ),
    ),
)
