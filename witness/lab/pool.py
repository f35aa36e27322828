# SPDX-License-Identifier: BSD-2-Clause
"""Many runs on few machines: each machine is booted once, and every run begins from its snapshot.

Runs are spread over the CPUs by processes, because reading the trace is half of each.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Generic, Iterator, Sequence, TypeVar

from witness.lab import performance
from witness.machine.description import Machine
from witness.machine.qemu import Settings, die_with_parent

T = TypeVar("T")


@dataclass(frozen=True)
class Job(Generic[T]):
    """A run from a snapshot of a machine. work is called in another process: it and its result are pickled."""

    machine: Machine
    work: Callable[[performance.Origin], T]
    done: Callable[[T], None]  # called in this process


def cpus() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """A process for each CPU. After an error no further job is started."""
    with ProcessPoolExecutor(cpus(), mp_context=get_context("fork"), initializer=die_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run_jobs(jobs: Sequence[Job[T]], build: Path, directory: Path, how: Settings) -> None:
    """Run all. Machines are booted in directory, which is removed."""
    waiting: dict[Machine, list[Job[T]]] = {}
    for job in jobs:
        waiting.setdefault(job.machine, []).append(job)
    # The machine with the most jobs first, so that no CPU waits for it at the end.
    machines = sorted(waiting, key=lambda machine: -len(waiting[machine]))
    with workers() as pool:
        boots = {pool.submit(performance.take, m, build, directory / str(i), how): m for i, m in enumerate(machines)}
        runs: dict[Future[T], Job[T]] = {}
        try:
            while boots or runs:
                pending: list[Future[Any]] = [*boots, *runs]
                ended = wait(pending, return_when=FIRST_COMPLETED).done
                for boot in [future for future in boots if future in ended]:
                    for job in waiting.pop(boots.pop(boot)):
                        runs[pool.submit(job.work, boot.result())] = job
                for run in [future for future in runs if future in ended]:
                    runs.pop(run).done(run.result())
        finally:
            shutil.rmtree(directory, ignore_errors=True)
