# SPDX-License-Identifier: BSD-2-Clause
"""Tests of the witness itself: synthetic traces, no QEMU. A judge that cannot say no proves nothing, so each rule has a
story in which it holds and at least one in which it must not."""

from pathlib import Path

import pytest

from tests.witness import lab_results
from tests.witness.scene import Scene, handoff


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A complete handoff under keep-msi in which every claim holds."""
    return handoff(Scene(tmp_path))


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> lab_results.Facts:
    """Of a lab, with all that results can have."""
    return lab_results.results(tmp_path_factory.mktemp("stories"))
