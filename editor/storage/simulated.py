"""A storage engine without disks, for unit tests and fault injection; its drives are in memory, or in one JSON file.

It behaves as the real engine does, can be told to fail or to call back, and remembers what it was asked.
"""

import base64
import json
import os
import threading
from collections import ChainMap, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editor.storage.base import (
    HASH_BLOCK_BYTES,
    MAX_DEPTH,
    Check,
    Device,
    Found,
    StorageDriver,
    StorageError,
    UnknownDrive,
    Usage,
    content_hash,
    never,
)
from editor.storage.sentences import check_growth, check_size, check_window, in_use, other_head, taken
from editor.storage.tree import Unlink, chain, children, next_step

BLOCK_BYTES = 4096
ZEROS = bytes(BLOCK_BYTES)


@dataclass
class _Layer:
    parent: int | None
    blocks: dict[int, bytes] = field(default_factory=dict)
    """By offset, each BLOCK_BYTES long."""

    @property
    def held_bytes(self) -> int:
        return len(self.blocks) * BLOCK_BYTES


@dataclass
class _Drive:
    size_bytes: int
    head: int
    layers: dict[int, _Layer]

    @property
    def parents(self) -> dict[int, int | None]:
        return {layer: found.parent for layer, found in self.layers.items()}

    def chain(self) -> list[int]:
        return chain(self.parents, self.head)

    def blocks(self, offsets: range) -> Iterator[bytes]:
        """What the drive reads as at these offsets."""
        held = ChainMap(*(self.layers[layer].blocks for layer in self.chain()))
        return (held.get(offset, ZEROS) for offset in offsets)


class SimulatedStorage(StorageDriver):
    """Drives in memory; with a folder they are also in `simulated.json` there, and outlive the process."""

    def __init__(self, folder: Path | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """What was asked, in order: the verb and its arguments, failed calls included."""
        self._file = folder and folder / "simulated.json"
        self._lock = threading.RLock()
        self._failures: defaultdict[str, list[Exception]] = defaultdict(list)
        self._before: dict[str, Callable[[], None]] = {}
        self._after: dict[str, Callable[[], None]] = {}
        self._drives: dict[int, _Drive] = self._load()
        self._active: set[int] = set()
        self.room = Usage(total_bytes=1024**4, free_bytes=1024**4)
        """What `usage` answers."""

    # For tests

    def fail_next(self, verb: str, error: Exception) -> None:
        """Let the next call of a verb raise, having done nothing. Several are raised in turn."""
        self._failures[verb].append(error)

    def before(self, verb: str, call: Callable[[], None] | None) -> None:
        """Call this at the start of each such verb, outside the lock, until told otherwise."""
        _set(self._before, verb, call)

    def after(self, verb: str, call: Callable[[], None] | None) -> None:
        """Call this when such a verb has done its work and has not answered yet, until told otherwise."""
        _set(self._after, verb, call)

    def drives(self) -> frozenset[int]:
        """Drives that exist."""
        return frozenset(self._drives)

    # The seam

    def create_drive(self, drive: int, *, layer: int, size_bytes: int) -> None:
        with self._verb("create_drive", drive=drive, layer=layer, size_bytes=size_bytes):
            check_size(size_bytes)
            found = self._drives.setdefault(drive, _Drive(size_bytes, layer, {layer: _Layer(None)}))
            if found.size_bytes != size_bytes:
                raise StorageError("The storage pool already holds this drive with another size.", permanent=True)

    def grow(self, drive: int, *, size_bytes: int) -> None:
        with self._verb("grow", drive=drive, size_bytes=size_bytes):
            check_size(size_bytes)
            found = self._known(drive)
            self._demand_inactive(drive)
            check_growth(found.size_bytes, size_bytes)
            found.size_bytes = size_bytes

    def delete_drive(self, drive: int) -> None:
        with self._verb("delete_drive", drive=drive):
            self._demand_inactive(drive)
            self._drives.pop(drive, None)

    def clear(self, drive: int) -> bool:
        with self._verb("clear", drive=drive):
            return drive not in self._drives

    def clean(self, *, spare: Collection[int]) -> Iterator[str]:
        with self._verb("clean", spare=frozenset(spare)):
            yield from ()

    def head(self, drive: int) -> int:
        with self._verb("head", drive=drive):
            return self._known(drive).head

    def size_bytes(self, drive: int) -> int:
        with self._verb("size_bytes", drive=drive):
            return self._known(drive).size_bytes

    def layers(self, drive: int) -> frozenset[int]:
        with self._verb("layers", drive=drive):
            return frozenset(self._known(drive).layers)

    def snapshot(self, drive: int, *, frozen: int, new_layer: int) -> None:
        with self._verb("snapshot", drive=drive, frozen=frozen, new_layer=new_layer):
            found = self._known(drive)
            if found.head not in {frozen, new_layer}:
                raise StorageError("The drive has changed meanwhile. Look at the drive again.", permanent=True)
            self._top(found, frozen, new_layer)

    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        with self._verb("revert", drive=drive, onto=onto, new_layer=new_layer):
            self._demand_inactive(drive)
            self._top(self._known(drive), onto, new_layer)

    def abandon(self, drive: int, *, new_layer: int) -> bool:
        with self._verb("abandon", drive=drive, new_layer=new_layer):
            found = self._known(drive)
            if found.head == new_layer:
                return False
            if new_layer in found.layers:
                _check_new(found, new_layer)
                del found.layers[new_layer]
            return True

    def reclaim(
        self,
        drive: int,
        *,
        keep: Collection[int],
        head: int,
        should_stop: Callable[[], bool] = never,
    ) -> bool:
        with self._verb("reclaim", drive=drive, keep=frozenset(keep)):
            found = self._known(drive)
            if head != found.head:
                raise other_head(found.head)
            while (step := next_step(found.parents, head=found.head, keep=keep)) is not None:
                if should_stop():
                    return False
                if isinstance(step, Unlink):
                    del found.layers[step.layer]
                else:
                    below, above = found.layers.pop(step.parent), found.layers[step.child]
                    above.blocks = below.blocks | above.blocks
                    above.parent = below.parent
            return True

    def written_since(self, drive: int, layers: Collection[int]) -> dict[int, int]:
        with self._verb("written_since", drive=drive, layers=frozenset(layers)):
            found, answer, above = self._known(drive), {}, 0
            for layer in found.chain():
                if layer in layers:
                    answer[layer] = above
                above += found.layers[layer].held_bytes
            return answer

    def used_bytes(self, drive: int) -> int:
        with self._verb("used_bytes", drive=drive):
            found = self._known(drive)
            return sum(found.layers[layer].held_bytes for layer in found.chain())

    def read(self, drive: int, *, offset: int, length: int) -> bytes:
        with self._verb("read", drive=drive, offset=offset, length=length):
            found = self._known(drive)
            check_window(found.size_bytes, offset=offset, length=length)
            return self._content(found, offset, length)

    def write(self, drive: int, *, offset: int, data: bytes) -> None:
        with self._verb("write", drive=drive, offset=offset, data=data):
            found = self._known(drive)
            check_window(found.size_bytes, offset=offset, length=len(data))
            top = found.layers[found.head]
            starts = _blocks(offset, len(data))
            for start, before in zip(starts, list(found.blocks(starts)), strict=True):
                block = bytearray(before)
                first, last = max(start, offset), min(start + BLOCK_BYTES, offset + len(data))
                block[first - start : last - start] = data[first - offset : last - offset]
                top.blocks[start] = bytes(block)

    def sha256(self, drive: int) -> str:
        with self._verb("sha256", drive=drive):
            found = self._known(drive)
            held = {
                offset // HASH_BLOCK_BYTES * HASH_BLOCK_BYTES
                for layer in found.chain()
                for offset in found.layers[layer].blocks
            }
            blocks = (
                (offset, self._content(found, offset, min(HASH_BLOCK_BYTES, found.size_bytes - offset)))
                for offset in sorted(held)
            )
            return content_hash(found.size_bytes, blocks)

    def activate(self, drive: int) -> Device:
        with self._verb("activate", drive=drive):
            self._known(drive)
            self._active.add(drive)
            return _device(drive)

    def deactivate(self, drive: int) -> None:
        with self._verb("deactivate", drive=drive):
            self._active.discard(drive)

    def devices(self) -> dict[int, Device]:
        with self._verb("devices"):
            return {drive: _device(drive) for drive in self._active}

    def usage(self) -> Usage:
        with self._verb("usage"):
            return self.room

    def check(self) -> list[Check]:
        with self._verb("check"):
            return [Check("Memory")]

    def audit(self) -> list[Found]:
        with self._verb("audit"):
            return [
                Found(drive, found.head, frozenset(found.layers), ()) for drive, found in sorted(self._drives.items())
            ]

    # Shared

    @contextmanager
    def _verb(self, verb: str, **arguments: Any) -> Iterator[None]:
        with self._lock:
            self.calls.append((verb, arguments))
            failure = self._failures[verb].pop(0) if self._failures[verb] else None
        self._before.get(verb, _nothing)()
        if failure is not None:
            raise failure
        with self._lock:
            yield
            self._save()
        self._after.get(verb, _nothing)()

    def _demand_inactive(self, drive: int) -> None:
        if drive in self._active:
            raise in_use(drive)

    def _known(self, drive: int) -> _Drive:
        if drive not in self._drives:
            raise UnknownDrive
        return self._drives[drive]

    def _top(self, found: _Drive, onto: int, new_layer: int) -> None:
        if found.head == new_layer:
            if found.layers[new_layer].parent != onto:
                raise taken(new_layer)
            return
        if onto not in found.layers:
            raise StorageError("That snapshot does not exist in the storage pool any more.", permanent=True)
        if len(chain(found.parents, onto)) >= MAX_DEPTH:
            raise StorageError("The drive is still merging deleted snapshots. Try again in a minute.")
        if new_layer in found.layers:
            _check_new(found, new_layer)
        found.layers[new_layer] = _Layer(onto)
        found.head = new_layer

    def _content(self, found: _Drive, offset: int, length: int) -> bytes:
        blocks = _blocks(offset, length)
        first = offset - (blocks[0] if blocks else offset)
        return b"".join(found.blocks(blocks))[first : first + length]

    def _load(self) -> dict[int, _Drive]:
        if self._file is None or not self._file.exists():
            return {}
        return {
            int(drive): _Drive(
                found["size_bytes"],
                found["head"],
                {
                    int(layer): _Layer(parent, {int(at): base64.b64decode(block) for at, block in blocks.items()})
                    for layer, (parent, blocks) in found["layers"].items()
                },
            )
            for drive, found in json.loads(self._file.read_text()).items()
        }

    def _save(self) -> None:
        if self._file is None:
            return
        content = {
            drive: {
                "size_bytes": found.size_bytes,
                "head": found.head,
                "layers": {
                    layer: (held.parent, {at: base64.b64encode(block).decode() for at, block in held.blocks.items()})
                    for layer, held in found.layers.items()
                },
            }
            for drive, found in self._drives.items()
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(content))
        os.replace(new, self._file)


def _device(drive: int) -> Device:
    return Device("file", f"/simulated/drive-{drive}")


def _set(hooks: dict[str, Callable[[], None]], verb: str, call: Callable[[], None] | None) -> None:
    if call is None:
        hooks.pop(verb, None)
    else:
        hooks[verb] = call


def _nothing() -> None:
    """The hook of verbs without one."""


def _blocks(offset: int, length: int) -> range:
    return range(offset // BLOCK_BYTES * BLOCK_BYTES, offset + length, BLOCK_BYTES)


def _check_new(found: _Drive, layer: int) -> None:
    """Refuse a reserved layer that is not what an interrupted attempt leaves: empty, and nothing on it."""
    if found.layers[layer].blocks or children(found.parents, layer):
        raise StorageError("The storage pool already holds data under that name.", permanent=True)
