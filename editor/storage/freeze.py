"""Opens a layer as it is at one moment, for a backup, while servers go on writing."""

import fcntl
import os
import shutil
import struct
import time
from typing import IO

from editor.storage.base import StorageError
from editor.storage.checks import SPARED_PERCENT
from editor.storage.layers import DriveFolder, layer_name, read_layer
from editor.storage.live import Live
from editor.storage.locks import DriveLocks
from editor.storage.programs import Stopped, run
from editor.storage.serving import Serving

SECONDS = 10
ATTEMPTS = 5
POLL_SECONDS = 0.1
COPY = "copy"
# QEMU locks one byte of an image for each thing that others may not do; this one is for writing (block/file-posix.c).
NO_WRITER = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0)


def opened(folder: DriveFolder, layer: int, locks: DriveLocks) -> IO[bytes]:
    """A layer, or what it holds now if a daemon writes to it.

    As long as the file is open, no daemon begins to write to that layer. The copy has no name, and is made without the
    drive's lock: a verb that wants the drive ends it, and it is begun again; after a snapshot none is needed. Raises
    StorageError, and what `run` does.
    """
    serving = Serving(folder.path.parent, seconds=SECONDS)
    for _ in range(ATTEMPTS):
        with locks.held(folder.path) as lock, serving.live(folder) as live:
            if live is None or live.top() != layer:
                original = folder.file(layer).open("rb")
                fcntl.fcntl(original, fcntl.F_OFD_SETLK, NO_WRITER)
                return original
            copy = _begun(folder, layer, lock, live)
        try:
            while not _is_whole(folder, serving, locks):
                time.sleep(POLL_SECONDS)
        except Stopped:
            copy.close()
        except BaseException:
            copy.close()
            raise
        else:
            return copy
    raise StorageError("The drive is in too much use to be copied. Nothing was changed. Try again later.")


def _begun(folder: DriveFolder, layer: int, lock: int, live: Live) -> IO[bytes]:
    found = read_layer(folder.file(layer))
    _check_room(folder, found.held_bytes)
    copy = folder.new_file(COPY)
    backing = () if found.parent is None else ("-u", "-b", layer_name(found.parent), "-F", "qcow2")
    words = ("create", "-q", "-f", "qcow2", *backing, copy.name, str(found.size_bytes))
    run("qemu-img", *words, folder=folder.path, lock=lock, seconds=SECONDS)
    try:
        live.begin_copy(copy.name)
        return copy.open("rb")
    finally:
        os.unlink(copy)


def _is_whole(folder: DriveFolder, serving: Serving, locks: DriveLocks) -> bool:
    with locks.held(folder.path), serving.live(folder, settled=False) as live:
        if live is None:
            raise Stopped
        return live.ends_copy()


def _check_room(folder: DriveFolder, copied_bytes: int) -> None:
    room = shutil.disk_usage(folder.path)
    if room.free - copied_bytes < room.total * SPARED_PERCENT / 100:
        raise StorageError(
            "The storage pool has too little room for a copy of a drive that a server writes to. "
            "Free some space in the pool, or shut the server down.",
            detail=f"{copied_bytes} bytes are to be copied, {room.free} are free",
        )
