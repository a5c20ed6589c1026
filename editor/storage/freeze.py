"""Opens a layer as it is at one moment, for a backup, while servers go on writing."""

import contextlib
import fcntl
import os
import shutil
import struct
from typing import IO

from editor.storage.base import StorageError
from editor.storage.layers import DriveFolder, layer_name, read_layer
from editor.storage.live import SPARED_PERCENT
from editor.storage.programs import run
from editor.storage.serving import Serving

SECONDS = 10
COPY = "copy"
# QEMU locks one byte of an image for each thing that others may not do; this one is for writing (block/file-posix.c).
NO_WRITER = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0)


def opened(folder: DriveFolder, layer: int, lock: int) -> IO[bytes]:
    """A layer, or what it holds now if a daemon writes to it. Called with the drive's lock held, read without it.

    As long as the file is open, no daemon begins to write to that layer. Raises StorageError, and what `run` does.
    """
    serving = Serving(folder.path.parent, seconds=SECONDS)
    with serving.live(folder) as live:
        if live is None or live.top() != layer:
            file = folder.file(layer).open("rb")
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, NO_WRITER)
            return file
        found = read_layer(folder.file(layer))
        _check_room(folder, found.held_bytes)
        copy = folder.new_file(COPY)
        backing = () if found.parent is None else ("-u", "-b", layer_name(found.parent), "-F", "qcow2")
        words = ("create", "-q", "-f", "qcow2", *backing, copy.name, str(found.size_bytes))
        run("qemu-img", *words, folder=folder.path, lock=lock, seconds=SECONDS)
        try:
            live.copy_top(copy.name)
            return copy.open("rb")
        finally:
            with contextlib.suppress(OSError):  # then the next verb's `tidy` does it
                os.unlink(copy)


def _check_room(folder: DriveFolder, copied_bytes: int) -> None:
    room = shutil.disk_usage(folder.path)
    if room.free - copied_bytes < room.total * SPARED_PERCENT / 100:
        raise StorageError(
            "The storage pool has too little room for a copy of a drive that a server writes to. "
            "Free some space in the pool, or shut the server down.",
            detail=f"{copied_bytes} bytes are to be copied, {room.free} are free",
        )
