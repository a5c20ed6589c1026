"""The folder of a pool whose drives are chains of layers: what drives are in it, and what is strange about them."""

import functools
import os

from editor.storage.base import Found, StorageError
from editor.storage.checks import demand
from editor.storage.daemon import FILES
from editor.storage.folders import Pool
from editor.storage.layers import MERGING_NAME, NEW, DriveFolder, layer_id
from editor.storage.programs import Damaged


class LayerPool(Pool[DriveFolder]):
    """A folder on any file system."""

    def demand(self, state: str = "") -> None:
        demand(self.path, state)

    def drive(self, drive: int) -> DriveFolder:
        return DriveFolder(self.path, drive)

    def look(self, folder: DriveFolder) -> Found:
        return folder.unlocked(functools.partial(_look, folder))


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
