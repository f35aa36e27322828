# SPDX-License-Identifier: BSD-2-Clause
"""Claim: tools/lint/layers finds every import that goes against the layers, and every name, comparison and length that it is there
for. Provoked by one file more in a tree of text, each beside twins in which the same is allowed.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Callable

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

TREE = {
    "__init__": "",
    "pci/registers": "class Register: pass\n",
    "devices/__init__": "from witness.devices import edu\nMODELS = (edu.Model,)\n",
    "devices/edu": 'class Model:\n    kind = "edu-dma"\n',
    "judge/engine": "from witness.devices import MODELS\nfrom witness.pci.registers import Register\n",
    "cli": "from witness.judge import engine\n",
}

Print = Callable[[dict[str, str]], list[str]]


@pytest.fixture
def offences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Print:
    """Of the tree with these files in it."""
    main = runpy.run_path(str(ROOT / "tools/lint/layers"))["main"]
    monkeypatch.chdir(tmp_path)

    def found(files: dict[str, str]) -> list[str]:
        for name, text in (TREE | files).items():
            path = Path("witness", f"{name}.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        failed = main()
        printed = capsys.readouterr().out.splitlines()
        assert failed == bool(printed)
        return [line.removeprefix("witness/") for line in printed]

    return found


def test_the_tree_itself(offences: Print) -> None:
    assert offences({}) == []


LATE = "def write():\n    from {} import x\n"


@pytest.mark.parametrize(
    "file, text, offence",
    [
        ("pci/topology", "from witness.trace import events\n", ""),  # of which there is none here
        ("devices/nvme", "import witness.judge.engine\n", "1: devices does not see judge: witness.judge.engine"),
        ("devices/nvme", "from witness.judge.engine import x\n", "1: devices does not see judge: witness.judge.engine"),
        ("devices/nvme", "from witness.pci import registers\n", ""),
        ("judge/rules", "from . import engine\n", "1: a module's whole name: ."),
        ("judge/rules", LATE.format("witness.pci.registers"), "2: imports stand at the head: witness.pci.registers"),
        ("judge/rules", "if TYPE_CHECKING:\n    import re\n", "2: imports stand at the head: re"),
        ("report/page", LATE.format("jinja2"), ""),
        ("report/table", LATE.format("jinja2"), "2: imports stand at the head: jinja2"),
        ("judge/rules", "from witness.devices import edu\n", "1: only witness.devices may be imported: witness.devices.edu"),
        ("devices/nvme", "from witness.devices import edu\n", ""),
        ("audit/rules", "", "1: tools/lint/layers does not list audit"),
        ("report/text", "class Register: pass\n", "1: Register is also at witness/pci/registers.py:1"),
        ("report/text", "_Register = int\n", "1: Register is also at witness/pci/registers.py:1"),
        ("report/text", "REGISTER = 1\ndef f():\n    class Register: pass\n", ""),
        ("judge/rules", 'f.kind == "edu-dma"\n', "1: tests a device's kind: edu-dma"),
        ("judge/rules", 'write.region == "edu-dma"\n', ""),
        ("judge/rules", 'NAMES = "x", "edu-dma"\nf.name == "edu"\n', ""),
        ("judge/rules", 'KIND = "edu-dma"\nf.kind in ("x", KIND)\n', "2: tests a device's kind: edu-dma"),
        ("judge/rules", 'match kind:\n    case "edu-dma": pass\n', "2: tests a device's kind: edu-dma"),
        ("judge/rules", "driving.is_edu(f)\n", "1: tests a device's kind: is_edu()"),
        ("judge/rules", "is_edu_dma(f)\n", "1: tests a device's kind: is_edu_dma()"),
        ("devices/nvme", "is_edu(f)\nkind = 'edu-dma'\nf.kind == kind\n", ""),
        ("judge/rules_out", "def rule():\n" + 40 * "    x = 1\n", "1: rule has more than 40 lines"),
        ("judge/rules_out", "def rule():\n" + 39 * "    x = 1\n", ""),
        ("judge/engine", "def rule():\n" + 40 * "    x = 1\n", ""),
    ],
)
def test_one_file_more(offences: Print, file: str, text: str, offence: str) -> None:
    found = offences({file: text})
    assert [line for line in found if not line.startswith("cli")] == ([f"{file}.py:{offence}"] if offence else [])


def test_an_upward_import_is_told_beside_its_circle(offences: Print) -> None:
    back = "from witness.cli import x\n"
    assert offences({"judge/engine": back}) == [
        "cli.py:1: witness.judge.engine leads back here",
        "judge/engine.py:1: judge does not see cli: witness.cli",
        "judge/engine.py:1: witness.cli leads back here",
    ]


def test_a_circle_of_three_within_a_layer(offences: Print) -> None:
    ring = {f"judge/{here}": f"from witness.judge import {there}\n" for here, there in zip("abc", "bca")}
    assert [line.rpartition(" leads")[0] for line in offences(ring)] == [
        "judge/a.py:1: witness.judge.b", "judge/b.py:1: witness.judge.c", "judge/c.py:1: witness.judge.a",
    ]  # fmt: skip
    assert offences(ring | {"judge/c": ""}) == []


@pytest.mark.parametrize("count, told", [(3, 0), (4, 1)])
def test_files_at_the_top(offences: Print, count: int, told: int) -> None:
    found = offences({f"a{number}": "" for number in range(count)})
    assert len([line for line in found if " files directly in witness/" in line]) == told
