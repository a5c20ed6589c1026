"""What file system a folder is on, as the kernel tells."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

OCTAL = re.compile(r"\\([0-7]{3})", re.ASCII)


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    point: str
    type: str
    options: frozenset[str]
    """Of the mount and of the file system."""


def mount_of(folder: Path) -> Mount:
    """The mount that a folder is on, or would be if it does not exist.

    Fields: https://docs.kernel.org/filesystems/proc.html, 3.5 /proc/<pid>/mountinfo.
    """
    path = os.path.realpath(folder)
    found = Mount("/", "nothing", frozenset())
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        mount, _, system = line.partition(" - ")
        point, options = mount.split(" ")[4:6]
        point = OCTAL.sub(lambda match: chr(int(match[1], 8)), point)
        kind, _source, more = system.split(" ", 2)
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two at one place the later one covers the earlier.
        if inside and len(point) >= len(found.point):
            found = Mount(point, kind, frozenset(f"{options},{more}".split(",")))
    return found
