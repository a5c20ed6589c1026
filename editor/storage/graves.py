"""Folders of deleted drives on their way out.

A drive's folder is renamed first: a drive is there or it is not, and its id cannot come back with old layers in it.
"""

import os
import re
from pathlib import Path

NAME = re.compile(r"deleted-([1-9][0-9]*)", re.ASCII)


def grave(pool: Path, drive: int) -> Path:
    """Where a deleted drive's folder goes, to be removed from there."""
    return pool / f"deleted-{drive}"


def graves(pool: Path) -> dict[int, Path]:
    """Those that are there, by the drive's id."""
    found = sorted(int(match[1]) for name in os.listdir(pool) if (match := NAME.fullmatch(name)))
    return {drive: grave(pool, drive) for drive in found}
