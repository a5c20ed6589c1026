"""Looks at the images of the engine in Ceph from outside, and breaks off its verbs at any point."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from editor.storage import StorageError
from editor.storage.rbd import RbdStorage
from editor.storage.rbd.generations import ONTO, image_name, key, named
from editor.storage.rbd.images import Images
from tests.ceph import CephCluster
from tests.killing import Killed

from .storage import BLOCK, MIB, content

EFFECTS = (
    *("create", "clone", "note", "forget", "create_snapshot", "remove_snapshot", "resize", "discard", "copy_up"),
    *("flatten", "move_to_trash", "remove_from_trash", "remove", "set_active", "set_inactive"),
)
SIZE = 16 * MIB
FAR, FARTHER = 100, 200
"""Blocks in other objects than the first."""

Marks = Mapping[int, int]
TRUTH: dict[int, Marks] = {
    1: {0: 1, FAR: 0, FARTHER: 1},
    2: {0: 2, FAR: 2, FARTHER: 1},
    3: {0: 3, FAR: 2, FARTHER: 1},
    4: {0: 2, FAR: 2, FARTHER: 4},
}
"""What the layers of `prepared` read as: two snapshots, then a revert to the second; 4 is the head."""


def prepared(driver: RbdStorage, drive: int) -> None:
    """A drive as the verbs make it, through fewer handles: half the time, and these tests make many."""
    images, first, second = driver._images, image_name(drive, 1), image_name(drive, 4)
    images.create(first, SIZE)
    with images.opened(first, writable=True) as image:
        images.note(image, key(1, ONTO), "-")
        for write, name in ({0: 1, FARTHER: 1}, "layer-1-2"), ({0: 2, FAR: 2}, "layer-2-3"):
            for block, mark in write.items():
                image.write(content(mark), block * BLOCK)
            images.create_snapshot(image, name)
        image.write(content(3), 0)
    images.clone(first, "layer-2-3", second)
    with images.opened(second, writable=True) as image:
        image.write(content(4), FARTHER * BLOCK)
        images.forget(image, key(1, ONTO))
        images.note(image, key(4, ONTO), "2@1")


def contents(driver: RbdStorage, drive: int) -> dict[int, Marks]:
    """What each layer that exists reads as at the blocks of TRUTH."""
    found = driver._drives.read(drive)
    answer: dict[int, Marks] = {}
    for generation in found.complete if found.live else ():
        for layer in generation.layers:
            name = next((each.name for each in generation.frozen if each.layer == layer), None)
            with driver._images.opened(generation.name) as image:
                image.set_snap(name)
                answer[layer] = {block: marked(image, block) for block in (0, FAR, FARTHER)}
    return answer


def marked(image: Any, block: int) -> int:
    if block * BLOCK >= image.size():
        return 0
    data: bytes = image.read(block * BLOCK, BLOCK)
    assert data.count(data[:1]) == BLOCK
    return data[0]


@dataclass
class Watch:
    """Effects so far; with `at`, the one after which all ends, 0 for before the first."""

    at: int | None = None
    act: Callable[[], None] | None = None
    seen: list[str] = field(default_factory=list)

    def before(self) -> None:
        if self.at == 0 and not self.seen:
            self.end()

    def after(self, name: str) -> None:
        self.seen.append(name)
        if len(self.seen) == self.at:
            self.end()

    def end(self) -> None:
        if self.act is None:
            raise Killed
        self.act()


@contextmanager
def effects(at: int | None = None, act: Callable[[], None] | None = None) -> Iterator[Watch]:
    """Watch what verbs do to images, and break them off (or `act`) after the `at`-th effect."""
    watch = Watch(at, act)
    with pytest.MonkeyPatch.context() as patch:
        for name in EFFECTS:
            patch.setattr(Images, name, _watched(watch, name, getattr(Images, name)))
        try:
            yield watch
        except Killed:
            return


def _watched(watch: Watch, name: str, effect: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named_arguments: Any) -> Any:
        if threading.current_thread().name == "trash":
            return effect(*arguments, **named_arguments)
        watch.before()
        answer = effect(*arguments, **named_arguments)
        watch.after(name)
        return answer

    return call


def at_last(attempt: Callable[[], Any], *, seconds: float = 20) -> Any:
    """Repeat what may have to wait until Ceph has forgotten a killed client; only that may stand in its way."""
    end = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except StorageError as error:
            if error.permanent or time.monotonic() > end:
                raise
        time.sleep(0.1)


def assert_nothing_left(driver: RbdStorage) -> None:
    """No image, nothing in the trash, and no object that held data."""
    end = time.monotonic() + 20
    while left := [*(name for name in driver._images.names() if named(name)), *_left(driver)]:
        if time.monotonic() > end:
            pytest.fail(f"{left} is left")
        time.sleep(0.1)


def _left(driver: RbdStorage) -> Iterator[object]:
    if not driver._trash.empty():
        yield driver._images.trash()
    with driver._connection.pool() as pool:
        for found in pool.list_objects():
            if found.key.startswith(("rbd_data", "rbd_header", "rbd_id", "rbd_object_map")):
                yield found.key


def emptied(driver: RbdStorage) -> None:
    """Leave the pool as it was found."""
    for name in driver._images.names():
        driver._trash.throw(name)
    for drive in driver._images.active():
        driver._images.set_inactive(drive)
    driver._trash.empty()
    driver.close()


def engine(cluster: CephCluster, folder: Path, **limits: float) -> RbdStorage:
    return RbdStorage(folder / "locks", cluster.cluster(), **limits)
