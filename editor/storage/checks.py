"""What an engine that keeps drives in a folder can say of that folder without looking at a drive."""

import os
import shutil
import tempfile
from pathlib import Path

from editor.storage.base import Check, Usage
from editor.storage.programs import missing_sentence

MIB = 1024 * 1024
SPARED_PERCENT = 1
"""Of a pool: what work behind servers leaves them to write in. A full pool makes their writes fail."""


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def usage_of(folder: Path) -> Usage:
    """Room on the file system of a folder, which need not exist yet."""
    room = shutil.disk_usage(existing(folder))
    # As df counts: what is kept back for root is nobody's room.
    return Usage(room.used + room.free, room.free)


def room_check(folder: Path) -> Check:
    """Whether there is room for more than a moment."""
    usage = usage_of(folder)
    if usage.free_bytes < usage.total_bytes * SPARED_PERCENT / 100:
        return Check("Room", f"The file system is full but for {usage.free_bytes // MIB} MB. Free some space.")
    return Check("Room")


def program_check(what: str, *programs: str) -> Check:
    """Whether the programs are installed."""
    return Check(what, missing_sentence(*programs))


def folder_check(folder: Path) -> Check:
    """Whether files can be made in a folder; makes one, which has no name, so that nothing can be left behind."""
    place = existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check("Folder", f"{place} cannot be written to: {error.strerror}. Check its permissions and its disk.")
    return Check("Folder")
