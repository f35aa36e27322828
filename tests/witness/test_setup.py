# SPDX-License-Identifier: BSD-2-Clause
"""Claim: what tools/setup fetches for `make linux` is all there or nothing is, it installs nothing, and what it cannot do it says
in one line, with exit status 2. A target needs no packages but its own.

It could be false where a fetch breaks off, where package lists are missing or older than the archive, and on other systems. A
made-up apt-get stands in for the archive: each test has the programs of a directory of its own, and no others.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Callable

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

PROGRAMS = "cat cut dirname env flock grep head mkdir mv readlink rm sed sh sort tail touch".split()

# What apt-cache says of a package, and of which there are no more libraries than these.
DEPENDS = {
    "linux-image-cloud-amd64": "  Depends: linux-image-6.1.0-1-cloud-amd64",
    "linux-image-6.1.0-1-cloud-amd64": "  Depends: kmod\n |Depends: linux-initramfs-tool\n  Depends: initramfs-tools",
    "kexec-tools": "  Depends: libc6\n  Depends: debconf\n |Depends: libxen\n  PreDepends: libgcc",
    "libxen": "  Depends: libc6",
    "libc6": "  Depends: libgcc",
}
NAMED = {"linux-image-cloud-amd64", "kexec-tools", "busybox-static"}
FETCHED = NAMED | {"linux-image-6.1.0-1-cloud-amd64", "libc6", "libxen", "libgcc"}

APT_CACHE = """#!/bin/sh
[ -e "$WORLD/lists" ] || { echo "E: No packages found" >&2; exit 100; }
shift 2
for name; do
    case "$(cat "$WORLD/lists")" in *" $name "*) ;; *) echo "E: No packages found" >&2; exit 100 ;; esac
    echo "$name"
    [ ! -e "$WORLD/depends/$name" ] || cat "$WORLD/depends/$name"
done
"""

# The archive has one version, of which the lists tell, or of the one before. It may be out of reach, or setup killed meanwhile.
APT_GET = """#!/bin/sh
echo "$(readlink -f .): $*" >>"$WORLD/asked"
while [ $# != 0 ]; do
    case $1 in update | download | install) verb=$1; shift; break ;; esac
    shift
done
case $verb in
update)
    [ ! -e "$WORLD/offline" ] || exit 0 # as apt-get does
    cat "$WORLD/archive" >"$WORLD/lists" ;;
download)
    version=$(head -n 1 "$WORLD/lists")
    for name; do
        [ "$version" = "$(head -n 1 "$WORLD/archive")" ] || { echo "E: Failed to fetch $name  404  Not Found"; exit 100; }
        [ ! -e "$WORLD/offline" ] || { echo "E: Failed to fetch http://archive/$name  Temporary failure resolving"; exit 100; }
        echo "$version" >"${name}_${version}_amd64.deb"
        [ ! -e "$WORLD/killed" ] || [ "$name" != kexec-tools ] || kill -KILL $PPID
    done ;;
esac
"""


class World:
    """A machine with a network, or none, and what setup does on it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.programs, self.build = directory, directory / "bin", directory / "build"
        self.programs.mkdir()
        for name in PROGRAMS:
            found = shutil.which(name)
            assert found
            (self.programs / name).symlink_to(found)
        self.program("apt-cache", APT_CACHE)
        self.program("apt-get", APT_GET)
        self.is_user(root=True)
        (directory / "depends").mkdir()
        for name, text in DEPENDS.items():
            (directory / "depends" / name).write_text(f"{text}\n")
        self.publish("1.0")
        self.has("lists", (directory / "archive").read_text())

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def is_user(self, root: bool) -> None:
        self.program("id", f"#!/bin/sh\necho {0 if root else 1000}\n")

    def publish(self, version: str) -> None:
        (self.directory / "archive").write_text(f"{version}\n {' '.join(FETCHED)} \n")

    def has(self, name: str, text: str = "") -> None:
        (self.directory / name).write_text(text)

    def lacks(self, name: str) -> None:
        (self.directory / name).unlink()

    def fetch(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.setup("--fetch", str(self.packages), **environment)

    def setup(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "tools" / "setup"), *arguments]
        known = {"PATH": str(self.programs), "WORLD": str(self.directory), "O": str(self.build)}
        return subprocess.run(
            command, env=known | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )

    @property
    def packages(self) -> Path:
        return self.build / "linux" / "packages"

    @property
    def found(self) -> set[str]:
        return {file.name for file in self.packages.glob("*")}

    @property
    def asked(self) -> list[str]:
        """The verbs that apt-get was given."""
        file = self.directory / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        return [next(word for word in line.split() if word in ("update", "download", "install")) for line in lines]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def whole(version: str) -> set[str]:
    return {f"{name}_{version}_amd64.deb" for name in FETCHED} | {"fetched"}


def refused(ended: subprocess.CompletedProcess[str], *texts: str) -> None:
    """One line of refusal, behind at most one that says what is being done."""
    lines = ended.stderr.splitlines()
    assert ended.returncode == 2 and lines[-1].startswith("setup: make linux needs linux-image-cloud-amd64 kexec-tools")
    assert len(lines) == 1 or len(lines) == 2 and lines[0].startswith("make linux: fetching ")
    for text in texts:
        assert text in lines[-1]


def test_what_is_needed_is_fetched_and_nothing_else(world: World) -> None:
    """Libraries, and theirs; but not what a package wants to be configured or installed by."""
    assert world.fetch().returncode == 0
    assert world.found == whole("1.0")
    assert set(world.asked) == {"download"}
    assert not (world.build / "linux" / "packages.part").exists()


def test_what_is_there_serves_offline(world: World) -> None:
    assert world.fetch().returncode == 0
    before = len(world.asked)
    world.has("offline")
    world.lacks("lists")
    assert world.fetch().returncode == 0
    assert len(world.asked) == before


@pytest.mark.parametrize("ci", ["", "true"])
def test_offline_with_nothing_there(world: World, ci: str) -> None:
    """In CI, too: nothing is passed over."""
    world.has("offline")
    refused(world.fetch(CI=ci), "; offline? E: Failed to fetch http://archive/", str(world.build / "setup.log"))
    assert not world.packages.exists()


def test_machine_without_package_lists_fetches_them(world: World) -> None:
    world.lacks("lists")
    assert world.fetch().returncode == 0
    assert world.asked[0] == "update" and world.found == whole("1.0")


def test_lists_older_than_the_archive_are_fetched(world: World) -> None:
    world.publish("2.0")
    assert world.fetch().returncode == 0
    assert world.asked.count("update") == 1 and world.found == whole("2.0")


def test_newer_kernel_comes_only_into_an_empty_place(world: World) -> None:
    """Two kernels are never beside each other."""
    assert world.fetch().returncode == 0
    world.publish("2.0")
    assert world.fetch().returncode == 0
    assert world.found == whole("1.0")
    shutil.rmtree(world.build / "linux")
    assert world.fetch().returncode == 0
    assert world.found == whole("2.0")


def test_fetch_that_is_killed_leaves_nothing_to_be_taken_for_all(world: World) -> None:
    world.has("killed")
    assert world.fetch().returncode != 0
    assert not world.packages.exists() and list((world.build / "linux" / "packages.part").glob("*.deb"))
    world.lacks("killed")
    world.publish("2.0")
    world.has("lists", (world.directory / "archive").read_text())
    assert world.fetch().returncode == 0
    assert world.found == whole("2.0")


def test_place_of_a_half_fetch_is_begun_anew(world: World) -> None:
    """A directory with packages and without the file that is written last."""
    world.packages.mkdir(parents=True)
    (world.packages / "kexec-tools_0.9_amd64.deb").write_text("half")
    assert world.fetch().returncode == 0
    assert world.found == whole("1.0")


def test_nothing_is_fetched_where_nothing_may_be_installed(world: World) -> None:
    refused(world.fetch(NO_INSTALL="1"), f", not installed: env NO_INSTALL= tools/setup --fetch {world.packages}")
    assert world.asked == []


def test_other_systems(world: World) -> None:
    for name in ("apt-get", "apt-cache"):
        (world.programs / name).unlink()
    refused(world.fetch(), "there is no apt-get to fetch them")


def test_system_whose_archive_has_no_such_kernel(world: World) -> None:
    """Ubuntu."""
    for name in ("archive", "lists"):
        world.has(name, f"1.0\n {' '.join(FETCHED - {'linux-image-cloud-amd64'})} \n")
    refused(world.fetch(), "apt-get knows no linux-image-cloud-amd64: no package lists, or not Debian (")
    assert not world.packages.exists()


def test_user_who_is_not_root_needs_no_root(world: World) -> None:
    world.is_user(root=False)
    assert world.fetch().returncode == 0
    assert world.found == whole("1.0")


def test_user_who_is_not_root_and_needs_lists(world: World) -> None:
    """Without a terminal nobody can be asked, and without sudo nothing can be done; in CI sudo asks nobody."""
    world.is_user(root=False)
    world.lacks("lists")
    refused(world.fetch(), "apt-get knows no linux-image-cloud-amd64")
    refused(world.fetch(CI="true"), "apt-get knows no linux-image-cloud-amd64")
    world.program("sudo", '#!/bin/sh\nexec "$@"\n')
    refused(world.fetch(), "apt-get knows no linux-image-cloud-amd64")
    assert world.asked == []
    assert world.fetch(CI="true").returncode == 0
    assert world.asked[0] == "update" and world.found == whole("1.0")


@pytest.fixture
def doctor(world: World) -> Callable[[], str]:
    def tell() -> str:
        environment = {"PATH": str(world.programs), "O": str(world.build)}
        told = subprocess.run([ROOT / "tools" / "setup", "--doctor"], env=environment, capture_output=True, text=True, check=False)
        return next(line for line in told.stdout.splitlines() if line.startswith("Linux "))

    return tell


def test_doctor_knows_whether_there_is_a_linux(world: World, doctor: Callable[[], str]) -> None:
    assert "not fetched yet" in doctor()
    assert world.fetch().returncode == 0
    assert doctor() == "Linux    1.0, fetched for make linux"
    shutil.rmtree(world.build)
    (world.programs / "apt-get").unlink()
    assert "make linux needs apt-get" in doctor()


@pytest.mark.parametrize("target, packages", [
    ("unit", "gcc binutils"),
    ("build", "gcc binutils cpio"),
    ("run", "gcc binutils cpio qemu-system-x86"),
    ("image", "gcc binutils cpio mtools"),
])
def test_a_target_needs_its_own_packages(world: World, target: str, packages: str) -> None:
    """Of those with commands in /usr/bin: the world has none of these, but this machine's headers and libraries."""
    ended = world.setup(target, NO_INSTALL="1")
    assert (ended.returncode, ended.stderr) == (
        2, f"setup: make {target} needs packages that are missing: apt-get install --no-install-recommends {packages}\n")


@pytest.mark.parametrize("goals, first", [(["unit"], "unit"), (["unit", "lint"], "build"), (["test"], "build")])
def test_make_begins_with_what_its_goals_need(goals: list[str], first: str, tmp_path: Path) -> None:
    """Only `make unit` alone does without what builds the images. Of several setups, one waits for the other."""
    planned = subprocess.run(["make", "-n", f"O={tmp_path}", *goals], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    setups = [line.split()[-1] for line in planned.splitlines() if "tools/setup " in line]
    assert setups[0] == first and ("unit" in setups) == (goals == ["unit"])
