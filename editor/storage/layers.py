"""The files of one drive, and what their headers say. Reading starts no program and takes no lock.

    drive-7/lock               held by whoever works on the drive
    drive-7/layer-3.qcow2      a layer; its backing file is the layer under it, named relative to the folder
    drive-7/head               symbolic link to the layer on top
    drive-7/layer-2.merging    layer 2 is being merged into the one above: its content can no longer be trusted alone
    drive-7/new-...            not finished; removed by the next verb

A file counts under its final name only. It gets there by: make it as new-..., fsync it, rename it, fsync the folder.
The head is switched by a rename too, after the layer it is to name is durable; and a served drive is told to write to
that layer only then, so that at whatever moment the power fails, what the head names is the drive.
A drive grows in place: resize the head, fsync it, fsync the folder. A new layer is as large as the drive, so no layer
is smaller than one it stands on, and nothing under it has bytes beyond its end that a second growth could uncover.
"""

import array
import contextlib
import itertools
import os
import re
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from editor.storage.base import StorageError, UnknownDrive
from editor.storage.programs import Damaged
from editor.storage.tree import chain

LAYER_NAME = re.compile(r"layer-([1-9][0-9]*)\.qcow2", re.ASCII)
MERGING_NAME = re.compile(r"layer-([1-9][0-9]*)\.merging", re.ASCII)
NEW = "new-"

# Fixed part of the header, big-endian, and its incompatible features:
# https://www.qemu.org/docs/master/interop/qcow2.html
HEADER = struct.Struct(">4sIQIIQIIQQIIQQ")
MAGIC = b"QFI\xfb"
VERSION = 3
MAX_NAME_BYTES = 1023
MAX_L1_ENTRIES = 32 * 1024 * 1024 // 8
FIRST_CLUSTERS = 3  # header, refcount table, refcount block: what every image starts with
FILE_BLOCK_BYTES = 4096

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Layer:
    """What a layer's header says."""

    id: int
    parent: int | None
    size_bytes: int
    """Of the drive, not of the file."""
    held_bytes: int
    """Written while it was on top, in whole clusters and without qcow2's own tables; exactly 0 when nothing was."""


def layer_name(layer: int) -> str:
    """The file's name; derived from the id only."""
    return f"layer-{layer}.qcow2"


def layer_id(name: str) -> int | None:
    """The layer that a file name stands for, or None."""
    match = LAYER_NAME.fullmatch(name)
    return int(match[1]) if match else None


def read_layer(path: Path) -> Layer:
    """Read a layer's header and its first-level table. Raises Damaged, or FileNotFoundError when it is gone."""
    identity = layer_id(path.name)
    if identity is None:
        raise Damaged(f"{path.name} is not a layer's name")
    with path.open("rb") as file:
        head = file.read(HEADER.size)
        if len(head) < HEADER.size:
            raise Damaged(f"{path.name} is only {len(head)} bytes long")
        magic, version, name_offset, name_bytes, cluster_bits, size_bytes, *rest = HEADER.unpack(head)
        crypt, l1_entries, l1_offset, *_, unsafe = rest
        # Incompatible features: dirty, corrupt, external data, compression, extended L2. We make none, so any is
        # damage.
        sane = 9 <= cluster_bits <= 21 and name_bytes <= MAX_NAME_BYTES and l1_entries <= MAX_L1_ENTRIES
        if magic != MAGIC or version != VERSION or crypt or unsafe or not sane:
            raise Damaged(f"{path.name} is not an image we made, or is marked corrupt")
        parent = None
        if name_offset and name_bytes:  # a name is taken away by making it empty
            file.seek(name_offset)
            parent = layer_id(file.read(name_bytes).decode("ascii", errors="replace"))
            if parent is None or parent == identity:
                raise Damaged(f"{path.name} stands on something that is not a layer")
        file.seek(l1_offset)
        table = file.read(l1_entries * 8)
        if len(table) < l1_entries * 8:
            raise Damaged(f"{path.name} ends inside its first table")
        held = _held_bytes(os.fstat(file.fileno()), table, 1 << cluster_bits)
    return Layer(identity, parent, size_bytes, held)


def _held_bytes(file: os.stat_result, l1_table: bytes, cluster_bytes: int) -> int:
    """What the file takes, less qcow2's own tables: by the blocks it has on disk, or by its length if that is less.

    File systems count blocks in their own ways, and a copied file has fewer holes; an empty table is certain.
    """
    entries = array.array("Q", l1_table)
    if sys.byteorder == "little":
        entries.byteswap()
    l2_tables = sum(1 for entry in entries if entry)
    if not l2_tables:
        return 0
    own = (FIRST_CLUSTERS + l2_tables) * cluster_bytes
    by_blocks = file.st_blocks * 512 - own - _up(len(l1_table), FILE_BLOCK_BYTES)
    by_length = _up(file.st_size, cluster_bytes) - own - _up(len(l1_table), cluster_bytes)
    return max(min(by_blocks, by_length), cluster_bytes)


def _up(length: int, unit: int) -> int:
    return -(-length // unit) * unit


def fsync(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DriveFolder:
    """The folder of one drive. Methods that change it are called with the drive's lock held."""

    def __init__(self, pool: Path, drive: int) -> None:
        self.drive = drive
        self.path = pool / f"drive-{drive}"

    def unknown(self) -> StorageError:
        """What to raise when there is no such drive."""
        return UnknownDrive(detail=f"{self.path.name} has no head")

    def file(self, layer: int) -> Path:
        """Where a layer is, or would be."""
        return self.path / layer_name(layer)

    def head(self) -> int:
        """The layer on top. Raises StorageError for an unknown drive, Damaged when the pointer makes no sense."""
        try:
            target = os.readlink(self.path / "head")
        except FileNotFoundError:
            raise self.unknown() from None
        layer = layer_id(target)
        if layer is None:
            raise Damaged(f"head points at {target}")
        return layer

    def top(self) -> Layer:
        """The head, as its header says."""
        return read_layer(self.file(self.head()))

    def size_bytes(self) -> int:
        """The drive's size, that of its largest layer: the head, unless it is damaged and the drive is reverted."""
        sizes = []
        for layer in self.layer_ids():
            with contextlib.suppress(Damaged):
                sizes.append(read_layer(self.file(layer)).size_bytes)
        return max(sizes)

    def layer_ids(self) -> frozenset[int]:
        """Layers under their final names."""
        found = (layer_id(name) for name in os.listdir(self.path))
        return frozenset(layer for layer in found if layer is not None)

    def tree(self) -> dict[int, Layer]:
        """All layers by id."""
        return {layer: read_layer(self.file(layer)) for layer in self.layer_ids()}

    def chain(self, top: int) -> list[Layer]:
        """`top` and what is under it, in that order. Raises Damaged when one is missing."""
        try:
            found = [read_layer(self.file(top))]
            while (below := found[-1].parent) is not None:
                found.append(read_layer(self.file(below)))
                if len({layer.id for layer in found}) < len(found):
                    raise Damaged(f"layer {below} stands on itself")
        except FileNotFoundError as error:
            raise Damaged(f"{error.filename} is missing under layer {top}") from error
        return found

    def leftovers(self) -> list[str]:
        """Names of what an interrupted verb left. Its content was never part of the drive."""
        names = sorted(os.listdir(self.path))
        return [name for name in names if name.startswith(NEW) or _is_stale_mark(name, names)]

    def is_unfinished(self) -> bool:
        """Whether the drive was never made whole: without a head, there is at most its first, empty layer."""
        names = {*os.listdir(self.path)} - {*self.leftovers(), "lock"}
        layers = self.layer_ids()
        if "head" in names or names != {layer_name(layer) for layer in layers} or len(layers) > 1:
            return False
        return all(not layer.held_bytes and layer.parent is None for layer in self.tree().values())

    def tidy(self) -> None:
        """Remove what an interrupted verb left."""
        for name in self.leftovers():
            os.unlink(self.path / name)

    def new_file(self, name: str) -> Path:
        """Where to make a file before it gets its final name."""
        return self.path / f"{NEW}{name}"

    def finish(self, name: str) -> None:
        """Give a new file its final name, durably."""
        fsync(self.new_file(name))
        os.rename(self.new_file(name), self.path / name)
        fsync(self.path)

    def discard(self, name: str) -> None:
        """Remove a new file after a failure. When that fails too, the next verb's `tidy` does it."""
        with contextlib.suppress(OSError):
            os.unlink(self.new_file(name))

    def point_head(self, layer: int) -> None:
        """Switch the drive to a layer, atomically; `settle` makes it durable."""
        try:
            os.symlink(layer_name(layer), self.new_file("head"))
            os.rename(self.new_file("head"), self.path / "head")
        except OSError:
            self.discard("head")
            raise

    def is_merging(self, layer: int) -> bool:
        """Whether a merge of `layer` into the one above was begun."""
        return (self.path / f"layer-{layer}.merging").exists()

    def mark_merging(self, layer: int) -> None:
        """Remember, durably, that a layer's content is being given up."""
        os.close(os.open(self.path / f"layer-{layer}.merging", os.O_CREAT | os.O_CLOEXEC, 0o600))
        fsync(self.path)

    def unlink(self, layers: Iterable[int]) -> None:
        """Remove layers and their marks, in this order, durably."""
        for layer in layers:
            os.unlink(self.file(layer))
            (self.path / f"layer-{layer}.merging").unlink(missing_ok=True)
        fsync(self.path)

    def unlocked(self, look: Callable[[], Answer]) -> Answer:
        """Look at files without the lock: again, when a merge took one away in between."""
        for _ in range(10):
            before = self._names()
            try:
                return look()
            except (Damaged, FileNotFoundError):
                if self._names() == before:
                    raise
        return look()

    def _names(self) -> dict[str, int]:
        """Names and the files behind them: a merge changes either."""
        if not self.path.is_dir():
            raise self.unknown()
        with os.scandir(self.path) as entries:
            return {entry.name: entry.inode() for entry in entries}


def _is_stale_mark(name: str, names: list[str]) -> bool:
    """Whether it marks the merge of a layer that is gone."""
    merging = MERGING_NAME.fullmatch(name)
    return merging is not None and layer_name(int(merging[1])) not in names


def parents(tree: dict[int, Layer]) -> dict[int, int | None]:
    """The same tree, as `tree.next_step` wants it."""
    return {layer.id: layer.parent for layer in tree.values()}


def checked(tree: dict[int, Layer], tops: Iterable[int]) -> None:
    """Raise Damaged unless each top's chain is whole, and no layer in it is smaller than the one it stands on."""
    known = parents(tree)
    for top in tops:
        try:
            found = chain(known, top)
        except KeyError as error:
            raise Damaged(f"layer {error} is missing under layer {top}") from error
        for above, below in itertools.pairwise(found):
            if tree[above].size_bytes < tree[below].size_bytes:
                raise Damaged(f"layer {above} is smaller than layer {below} under it")
