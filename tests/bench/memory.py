"""What processes take of memory and processor, as the kernel tells (proc_pid_smaps(5), proc_pid_stat(5))."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from pathlib import Path

PROC = Path("/proc")


def processor_seconds(pid: int) -> float:
    """What a process has used of processors."""
    words = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def processes_in(*folders: str) -> list[int]:
    """The processes whose working directory is in one of the folders, but not this one."""
    found = []
    for entry in PROC.iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                where = str((entry / "cwd").readlink())
                if any(where == folder or where.startswith(f"{folder}/") for folder in folders):
                    found.append(int(entry.name))
    return sorted(found)


def rss_bytes(pid: int) -> int:
    return _field(pid, "Rss")


def pss_bytes(pid: int) -> int:
    """A process's share of what it has in memory: what several have together counts in parts."""
    return _field(pid, "Pss")


def private_bytes(pid: int) -> int:
    """What would be free if only this process ended."""
    return _field(pid, "Private_Clean") + _field(pid, "Private_Dirty")


def _field(pid: int, name: str) -> int:
    text = (PROC / str(pid) / "smaps_rollup").read_text()
    return int(re.findall(rf"^{name}: +(\d+) kB", text, re.MULTILINE)[0]) * 1024


def threads(pid: int) -> int:
    return len(list((PROC / str(pid) / "task").iterdir()))


def of(pids: Collection[int], *, drives: int) -> dict[str, float]:
    """Of all helper processes together, and of one drive's: those of tgtd are everybody's, and divided."""
    found: dict[str, float] = {"helper processes": len(pids), "their threads": sum(map(threads, pids))}
    for name, measure in (("RSS", rss_bytes), ("PSS", pss_bytes), ("private", private_bytes)):
        total = sum(map(measure, pids)) / 1e6
        found[f"{name}, MB"] = total
        found[f"{name} per drive, MB"] = total / drives
    return found
