"""What an engine that keeps drives in a folder can say of that folder without looking at a drive."""

import os
import shutil
import tempfile
from pathlib import Path

from editor.storage.base import Check, StorageError, Usage
from editor.storage.programs import missing_sentence

MIB = 1024 * 1024
SPARED_PERCENT = 1
"""Of a pool: what work behind servers leaves them to write in. A full pool makes their writes fail."""


NO_FOLDER = "The storage pool's folder does not exist. Mount the pool's disk, or make the folder."
"""Where its disk is not mounted there is no pool, not an empty one."""


def demand(folder: Path, state: str = "") -> None:
    """Raise StorageError when there is no pool; `state` is the sentence saying what is unchanged."""
    if not folder.is_dir():
        raise StorageError(f"{NO_FOLDER} {state}".strip(), detail=f"there is no folder {folder}")


def usage_of(folder: Path) -> Usage:
    """Room on the file system of a folder."""
    room = shutil.disk_usage(folder)
    # As df counts: what is kept back for root is nobody's room.
    return Usage(room.used + room.free, room.free)


def room_check(folder: Path) -> Check:
    """Whether there is room for more than a moment."""
    if not folder.is_dir():
        return Check("Room", NO_FOLDER)
    usage = usage_of(folder)
    if usage.free_bytes < usage.total_bytes * SPARED_PERCENT / 100:
        return Check("Room", f"The file system is full but for {usage.free_bytes // MIB} MB. Free some space.")
    return Check("Room")


def program_check(what: str, *programs: str) -> Check:
    """Whether the programs are installed."""
    return Check(what, missing_sentence(*programs))


def folder_check(folder: Path) -> Check:
    """Whether files can be made in a folder; makes one, which has no name, so that nothing can be left behind."""
    if not folder.is_dir():
        return Check("Folder", NO_FOLDER)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check("Folder", f"{folder} cannot be written to: {error.strerror}. Check its permissions and its disk.")
    return Check("Folder")
