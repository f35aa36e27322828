# SPDX-License-Identifier: BSD-2-Clause
"""C7: the problem that MSI was once disabled for at shutdown: a device goes on under the next kernel."""

from __future__ import annotations

from tests.claims.windows import INTX_DISABLE, WINDOWS, Left, edu_trial
from witness.lab.experiment import Experiment, Role

EXPERIMENT = Experiment(
    title="With neither cure, the last kernel's messages and DMA reach the next",
    source='the patch: "the original kexec problem"; d52877c7b1af "pci/irq: let pci_device_shutdown to call pci_msi_shutdown v2"',
    falsified_by="a window in which neither edu's message nor its data arrives, or a next kernel that can use edu all the same",
    provoked_by="a DMA transfer of edu's ends from shutdown to the jump, from the jump to init, from init to the driver",
    reading="No window is safe by itself. What comes before the jump is not over with it: the local APIC keeps the message for the "
    "next kernel. And a driver that begins with INTx, as all did then, waits for it in vain: its device still sends messages, to a "
    "vector that is nobody's now.",
    trials=(
        *(
            edu_trial("neither", Role.CLAIM, "none", "none", window, intx, Left(messages=1, size=2048, failing=1))
            for window in WINDOWS
            for intx in INTX_DISABLE
        ),
        *(edu_trial("both", Role.CONTROL, "keep-msi", "disable-msi", window, "set", Left()) for window in WINDOWS),
    ),
)
