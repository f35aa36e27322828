# SPDX-License-Identifier: BSD-2-Clause
"""Tests of the witness itself: synthetic traces, no QEMU. A judge that cannot say no proves nothing, so each rule has a
story in which it holds and at least one in which it must not."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scene import Scene, handoff  # noqa: E402  (scene imports witness, which the line above makes found)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A complete hand-off under keep-msi in which every claim holds."""
    return handoff(Scene(tmp_path))
