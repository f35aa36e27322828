# SPDX-License-Identifier: BSD-2-Clause
"""Claim: a lint refuses what it is there to refuse, and says where.

False if an offence passes, or if a tree without one is refused. Each tree is made here, or is a copy of the rooms with one change.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def said(tree: Path, lint: str, *arguments: str) -> tuple[int, str]:
    ended = subprocess.run([ROOT / "tools/lint" / lint, *arguments], cwd=tree, capture_output=True, text=True, check=False)
    assert not ended.stderr
    return ended.returncode, ended.stdout


# --- rooms ---


@pytest.mark.parametrize(
    "files, complaint",
    [
        ({"irq/a.h": "", "irq/a.c": "irq/a.h irq/b.h", "irq/b.h": "", "irq/b.c": "irq/b.h"}, ""),
        ({"irq/a.h": "", "irq/a.c": "irq/b.h", "irq/b.h": "", "irq/b.c": "irq/a.h"}, "a circle: irq/a includes irq/b includes"),
        ({"pci/a.h": "pci/b.h", "pci/b.h": "pci/c.h", "pci/c.h": "pci/a.h"}, "includes pci/c includes pci/a"),
        ({"irq/a.c": "pci/b.h", "pci/b.h": ""}, "irq/a.c:1: irq/ does not see pci/: pci/b.h"),
    ],
)
def test_rooms(files: dict[str, str], complaint: str, tmp_path: Path) -> None:
    for name, includes in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(f'#include "{included}"\n' for included in includes.split()))
    code, out = said(tmp_path, "rooms")
    assert (code, complaint in out, out.count("\n")) == (int(bool(complaint)), True, int(bool(complaint)))


# --- policies ---

HELPED = "static void help(struct pci_dev *dev) { pci_intx(dev, false); }\nstatic void apply(struct pci_dev *dev)\n{\n\thelp(dev);"


def compiled(tree: Path, source: Path) -> None:
    target = (Path("objects") / source).with_suffix(".o")
    subprocess.run(["gcc", "-std=c11", "-ffreestanding", "-I.", "-c", "-o", target, source], cwd=tree, check=True)


@pytest.fixture(name="rooms", scope="module")
def rooms_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rooms of the policies, and their objects."""
    tree = tmp_path_factory.mktemp("rooms")
    for folder in ("tools", "pci", "lib"):
        (tree / folder).symlink_to(ROOT / folder)
    for room in ("shutdown", "startup"):
        shutil.copytree(ROOT / room, tree / room)
        (tree / "objects" / room).mkdir(parents=True)
        for source in (tree / room).glob("*.c"):
            compiled(tree, source.relative_to(tree))
    return tree


@pytest.mark.parametrize(
    "file, before, after, complaint",
    [
        ("shutdown/none.c", "", "", ""),
        ("shutdown/policies.h", "\trow(shutdown_drain) ", "", "rows of shutdown/policies.h:"),
        ("startup/none.c", '"none"', '"nothing"', "startup/none.c:"),
        ("shutdown/none.c", "static void apply(struct pci_dev *dev)\n{", HELPED, "shutdown/none.c refers to:\npci_intx\n"),
        ("shutdown/keep_msi.c", "\tpci_clear", "\tpci_intx(dev, false);\n\tpci_clear", "shutdown/keep_msi.c refers to:"),
        ("shutdown/disable_msi.c", "\tpci_msi_shutdown(dev);\n", "", "tools/patch:"),
    ],
)
def test_policies(file: str, before: str, after: str, complaint: str, rooms: Path, tmp_path: Path) -> None:
    tree = shutil.copytree(rooms, tmp_path / "tree", symlinks=True)
    text = (tree / file).read_text()
    assert before in text
    (tree / file).write_text(text.replace(before, after, 1))
    if file.endswith(".c"):
        compiled(tree, Path(file))
    code, out = said(tree, "policies", "objects")
    assert (code, out.startswith(complaint), bool(out)) == (int(bool(complaint)), True, bool(complaint))


def test_the_list_of_policies_is_that_of_the_rows() -> None:
    listed = said(ROOT, "policies")[1].splitlines()
    assert (listed[0], listed[-1]) == ("shutdown keep-msi", "startup hardened")
    assert len(listed) == len(set(listed)) == sum(len([*(ROOT / room).glob("*.c")]) - 1 for room in ("shutdown", "startup"))


# --- docs ---


@pytest.mark.parametrize(
    "document, text, complaint",
    [
        ("README.md", "", ""),
        ("README.md", "\n" * 150, "README.md has "),
        ("README.md", "x" * 101, ": 101 columns, at most 100"),
        ("docs/architecture.md", "`pci/absent.c`", "docs/architecture.md names pci/absent.c, which is not there"),
        ("docs/architecture.md", "`pci/command.c:absent`", "names pci/command.c:absent"),
        ("docs/architecture.md", "`pci/command.c:pci_clear_master`, `absent`", "names pci/command.c:absent"),
        ("docs/architecture.md", "`absent/`", "names absent/"),
        ("docs/architecture.md", "[there](absent.md#so)", "names absent.md"),
        ("docs/architecture.md", "`drivers/NAME/NAME.c`, `drivers/NAME/`, `build/absent/`", ""),
        ("docs/usage.md", None, "docs/usage.md has no row for keep-msi"),
    ],
)
def test_docs(document: str, text: str | None, complaint: str, tmp_path: Path) -> None:
    for path in (path for path in ROOT.iterdir() if path.name != "docs"):
        (tmp_path / path.name).symlink_to(path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    before = (ROOT / document).read_text()
    (tmp_path / document).unlink()
    (tmp_path / document).write_text(before.replace("| `keep-msi` |", "") if text is None else f"{before}\n{text}\n")
    code, out = said(tmp_path, "docs")
    assert (code, complaint in out, out.count("\n")) == (int(bool(complaint)), True, int(bool(complaint)))
