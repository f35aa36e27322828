# SPDX-License-Identifier: BSD-2-Clause
"""The lab: experiments, each a claim and its control, run from snapshots and judged from QEMU's trace and from RAM.

An experiment is a file in tests/claims/ that defines EXPERIMENT (`experiment.py` has its types). `stage.py` runs one trial of it on
a machine, `observation.py` has the evidence for its judge, `lab.py` runs them all.

`matrix.py` runs every policy out with every policy in, for each of `devices.py`; `dma.py` finds which device wrote into RAM.
"""
