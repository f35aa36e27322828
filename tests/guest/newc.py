# SPDX-License-Identifier: BSD-2-Clause
"""Archives for first: newc as cpio writes it, with the list of digests that `sha256sum` would print."""

from __future__ import annotations

import hashlib
from typing import Mapping

MAGIC = b"070701"
HEADER = 110
FILESIZE = 54  # offsets of 8 hexadecimal digits
NAMESIZE = 94
SUMS = "SHA256SUMS"


def member(name: str, data: bytes = b"") -> bytes:
    # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    fields = (0, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    header = MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name.encode() + b"\0") + _padded(data)


def archive(files: Mapping[str, bytes]) -> bytes:
    """The files, in order, and a trailer."""
    return b"".join(member(name, data) for name, data in files.items()) + member("TRAILER!!!")


def sums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


def checked(files: Mapping[str, bytes]) -> bytes:
    """With a correct SHA256SUMS."""
    return archive({SUMS: sums(files), **files})


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
