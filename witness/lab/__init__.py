# SPDX-License-Identifier: BSD-2-Clause
"""The lab: experiments, each a claim beside its control, run from snapshots and judged from QEMU's trace and from RAM.

An experiment is a file in tests/claims/ that defines EXPERIMENT (`experiment.py` has the vocabulary). `stage.py` runs one trial of
it on a machine, `observation.py` is what its judge sees, `lab.py` runs them all, and `page.py` and `table.py` show the results.

`matrix.py` sets every policy out against every policy in, for each of `devices.py`; `dma.py` says who wrote what into RAM.
"""
