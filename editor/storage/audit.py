"""Finds what is in a pool's folder, and says what is strange about it. Changes nothing, takes no lock."""

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from editor.storage.base import Found, StorageError
from editor.storage.daemon import FILES
from editor.storage.layers import MERGING_NAME, NEW, DriveFolder, layer_id
from editor.storage.programs import Damaged

DRIVE_NAME = re.compile(r"drive-([1-9][0-9]*)", re.ASCII)


def drives_in(pool: Path) -> list[int]:
    """Drives that have a folder, by id."""
    names = os.listdir(pool) if pool.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := DRIVE_NAME.fullmatch(name)) and (pool / name).is_dir())


def find(pool: Path) -> Iterator[Found]:
    """Drives by id, then the pool itself if something in it is strange."""
    names = sorted(os.listdir(pool)) if pool.is_dir() else []
    drives = drives_in(pool)
    for drive in drives:
        folder = DriveFolder(pool, drive)
        with contextlib.suppress(StorageError):  # deleted since the listing
            yield folder.unlocked(functools.partial(_look, folder))
    known = {DriveFolder(pool, drive).path.name for drive in drives}
    if strange := tuple(f"{name} is not a drive." for name in names if name not in known):
        yield Found(None, None, frozenset(), strange)


def _look(folder: DriveFolder) -> Found:
    head, strange = None, []
    layers = folder.layer_ids()
    try:
        head = folder.head()
        folder.chain(head)
    except StorageError:
        strange.append("The drive has no head.")
    except Damaged as error:
        strange.append(f"Damaged: {error}.")
    for name in sorted(os.listdir(folder.path)):
        known = name in {"lock", "head", *FILES} or name.startswith(NEW) or MERGING_NAME.fullmatch(name)
        if not known and layer_id(name) is None:
            strange.append(f"{name} is not a layer.")
    return Found(folder.drive, head, layers, tuple(strange))
