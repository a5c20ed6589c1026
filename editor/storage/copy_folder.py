"""The files of one drive whose layers are whole copies that share what is equal. Looking takes no lock.

    drive-7/lock             held by whoever works on the drive
    drive-7/drive.json       which copy holds which layer, what each layer stood on when it was made, and the head
    drive-7/live-3/disk      the disk as servers read and write it, from the revert (or the creation) that made layer 3
    drive-7/frozen-3/disk    layer 3 as it was when its snapshot was taken
    drive-7/active           instead of `inactive`: a device of the drive is open
    drive-7/new-drive.json   not finished

drive.json alone says what belongs to the drive, and is replaced by one rename. A copy that it does not name was not
finished, or is being removed; the next verb removes it. A snapshot copies the live disk, which stays where it is: who
has it open goes on with the same file under the same path. A revert copies a layer to a new live disk; the former one
stays as the layer it was, until it is reclaimed. Each disk is the drive's content byte for byte.

Removing and serving must work in a full pool, so they create as little as they can: what is reclaimed is removed first
and struck from drive.json later, and the mark of an active drive is a file that is renamed. What that takes in a pool
where there is nothing at all, and a revert, comes out of the pool's reserve (editor.storage.reserve).
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from editor.storage.base import Found, StorageError, UnknownDrive
from editor.storage.layers import fsync
from editor.storage.programs import Damaged, explained
from editor.storage.rawdisk import extents_of, size_of

COPY_NAME = re.compile(r"(?:live|frozen)-[1-9][0-9]*", re.ASCII)
TREE = "drive.json"
NEW_TREE = "new-drive.json"
ACTIVE = "active"
INACTIVE = "inactive"
KNOWN = {"lock", TREE, NEW_TREE, ACTIVE, INACTIVE}
UNCONFIRMED = "The drive was switched, but the disk did not confirm it; repeating this is safe."

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Copy:
    """Where a layer is."""

    name: str
    parent: int | None
    """The layer it stood on when it was made: what the user calls older. Its copy needs nothing of that one."""


@dataclass(frozen=True)
class Tree:
    """What drive.json says."""

    head: int
    copies: Mapping[int, Copy]

    @property
    def live(self) -> str:
        """The name of the head's copy."""
        return self.copies[self.head].name

    def chain(self) -> list[int]:
        """The head and what it stands on, newest first."""
        found: list[int] = []
        layer: int | None = self.head
        while layer is not None:
            found.append(layer)
            layer = self.copies[layer].parent
        return found

    def without(self, gone: Collection[int]) -> "Tree":
        """The same, less some layers; what stood on one stands on what that one stood on."""

        def below(layer: int) -> int | None:
            parent = self.copies[layer].parent
            while parent is not None and parent in gone:
                parent = self.copies[parent].parent
            return parent

        left = {layer: Copy(copy.name, below(layer)) for layer, copy in self.copies.items() if layer not in gone}
        return Tree(self.head, left)


def parsed(text: str) -> Tree:
    """Read drive.json. Raises Damaged when it makes no sense."""
    try:
        said: dict[str, Any] = json.loads(text)
        copies = {int(layer): Copy(name, parent) for layer, (name, parent) in said["layers"].items()}
        tree = Tree(said["head"], copies)
        # A parent is older, so that no chain is a circle.
        sane = all(
            COPY_NAME.fullmatch(copy.name) and (copy.parent is None or (copy.parent in copies and copy.parent < layer))
            for layer, copy in copies.items()
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{TREE} cannot be read: {error!r}") from error
    if not sane or tree.head not in copies:
        raise Damaged(f"{TREE} contradicts itself")
    return tree


def written(tree: Tree) -> str:
    """The text of drive.json."""
    layers = {str(layer): [copy.name, copy.parent] for layer, copy in sorted(tree.copies.items())}
    return json.dumps({"head": tree.head, "layers": layers}, indent=1) + "\n"


class CopyFolder:
    """The folder of one drive. Methods that change it are called with the drive's lock held."""

    def __init__(self, pool: Path, drive: int) -> None:
        self.drive = drive
        self.path = pool / f"drive-{drive}"

    def unknown(self) -> StorageError:
        """What to raise when there is no such drive."""
        return UnknownDrive(detail=f"{self.path.name} has no {TREE}")

    def exists(self) -> bool:
        """Whether the drive was made."""
        return (self.path / TREE).exists()

    def tree(self) -> Tree:
        """What belongs to the drive. Raises UnknownDrive, or Damaged."""
        try:
            return parsed((self.path / TREE).read_text(errors="replace"))
        except FileNotFoundError:
            raise self.unknown() from None

    def disk(self, name: str) -> Path:
        """The disk in a copy."""
        return self.path / name / "disk"

    def layer(self, tree: Tree, layer: int) -> Path:
        """The disk of a layer."""
        return self.disk(tree.copies[layer].name)

    def head(self, tree: Tree) -> Path:
        """The disk of the head. Raises Damaged when it is missing."""
        disk = self.layer(tree, tree.head)
        if not disk.exists():
            raise Damaged(f"{tree.live}, the head, is missing")
        return disk

    def present(self, tree: Tree) -> frozenset[int]:
        """Layers whose copies are there."""
        return frozenset(layer for layer in tree.copies if self.layer(tree, layer).exists())

    def size_bytes(self, tree: Tree) -> int:
        """The drive's size, that of its largest copy: the head, unless that is damaged and the drive is reverted."""
        sizes = []
        for layer in self.present(tree):
            with contextlib.suppress(Damaged):
                sizes.append(size_of(self.layer(tree, layer)))
        return max(sizes)

    def copies(self) -> list[str]:
        """Names of the copies that are there, whole or not."""
        return sorted(name for name in os.listdir(self.path) if COPY_NAME.fullmatch(name))

    def unnamed(self, tree: Tree) -> list[str]:
        """Names of the copies that an interrupted verb left: they are no part of the drive."""
        named = {copy.name for copy in tree.copies.values()}
        return [name for name in self.copies() if name not in named]

    def leftovers(self) -> list[str]:
        """Names of all that an interrupted verb left. Raises as `tree` does."""
        return [*self.unnamed(self.tree()), *([NEW_TREE] if (self.path / NEW_TREE).exists() else [])]

    def is_unfinished(self) -> bool:
        """Whether the drive was never made whole: without drive.json, there is at most its first, empty copy."""
        copies = self.copies()
        names = {*os.listdir(self.path)} - {"lock", NEW_TREE, INACTIVE}
        if names != {*copies} or len(copies) > 1:
            return False
        disks = [self.disk(name) for name in copies]
        return not any(disk.exists() and extents_of(disk) for disk in disks)

    def save(self, tree: Tree) -> None:
        """Replace drive.json, durably. Copies that it names must be durable before."""
        new = self.path / NEW_TREE
        try:
            new.write_text(written(tree))
            fsync(new)
            os.rename(new, self.path / TREE)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        with explained(UNCONFIRMED):
            fsync(self.path)

    # Whether a device is open

    @property
    def is_active(self) -> bool:
        return (self.path / ACTIVE).exists()

    def mark(self, *, active: bool) -> None:
        """Remember whether a device is open. What a power cut undoes of this it undoes of the device as well."""
        was, now = (INACTIVE, ACTIVE) if active else (ACTIVE, INACTIVE)
        try:
            os.rename(self.path / was, self.path / now)
        except FileNotFoundError:
            if not (self.path / now).exists():
                os.close(os.open(self.path / now, os.O_CREAT | os.O_CLOEXEC, 0o600))

    def found(self) -> Found:
        """What an audit says of the drive."""
        head, layers, strange = None, frozenset[int](), []
        try:
            tree = self.tree()
            head, layers = tree.head, self.present(tree)
            strange += [f"Damaged: layer {layer} is missing." for layer in sorted(tree.copies.keys() - layers)]
        except StorageError:
            strange.append("The drive has no head.")
        except Damaged as error:
            strange.append(f"Damaged: {error}.")
        names = sorted(os.listdir(self.path))
        strange += [f"{name} is not a layer." for name in names if name not in KNOWN and not COPY_NAME.fullmatch(name)]
        return Found(self.drive, head, layers, tuple(strange))

    def unlocked(self, look: Callable[[Tree], Answer]) -> Answer:
        """Look at the drive without the lock: again, when a verb took a copy away in between."""
        tree, there = self._now()
        for _ in range(10):
            try:
                return look(tree)
            except (Damaged, OSError):
                before = tree, there
                tree, there = self._now()
                if (tree, there) == before:
                    raise
        return look(tree)

    def _now(self) -> tuple[Tree, frozenset[int]]:
        tree = self.tree()
        return tree, self.present(tree)
