"""Looks at drives in Ceph as their images say; takes no lock, and changes nothing. Raises what librbd raises."""

import contextlib
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from editor.storage.base import Found, UnknownDrive
from editor.storage.rbd import ceph
from editor.storage.rbd.differences import held
from editor.storage.rbd.generations import (
    Drive,
    Generation,
    image_name,
    image_prefix,
    named,
    read_generation,
    siblings,
)
from editor.storage.rbd.images import Images
from editor.storage.tree import chain

Answer = TypeVar("Answer")

LOOKING_AT_ONCE = 8
MOVED = 5
"""How often to look again when an image went away between being listed and being opened."""


class Drives:
    """The drives of one pool. Thread-safe."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def read(self, drive: int) -> Drive:
        """The drive as its images say; without any when there is none."""

        def look() -> Drive:
            names = self._images.names_from(image_prefix(drive))
            return self._drive(drive, siblings(names).get(drive, []))

        return self._settled(look)

    def known(self, drive: int) -> tuple[Drive, Generation]:
        found = self.read(drive)
        if found.live is None:
            raise UnknownDrive(check="the pool is in the right Ceph cluster", detail=image_name(drive, 0))
        return found, found.live

    def written_since(self, drive: int, layers: Collection[int]) -> dict[int, int]:
        """As `StorageDriver.written_since`."""
        return self._settled(lambda: self._written_since(drive, layers))

    def _written_since(self, drive: int, layers: Collection[int]) -> dict[int, int]:
        found, live = self.known(drive)
        parents = found.parents()
        wanted = [layer for layer in chain(parents, live.head) if layer in layers]
        answer: dict[int, int] = {}
        above = 0
        if wanted == [live.head]:
            return {live.head: 0}
        for segment, extents in held(self._images, found, live):
            if segment.layer in wanted:
                answer[segment.layer] = above
            if len(answer) == len(wanted):
                return answer
            above += sum(length for _offset, length, _exists in extents)
        # The others are in images that this one was copied free of: all it holds may differ from them.
        return {layer: answer.get(layer, above) for layer in wanted}

    def used_bytes(self, drive: int) -> int:
        """As `StorageDriver.used_bytes`."""
        return self._settled(lambda: self._used_bytes(drive))

    def _used_bytes(self, drive: int) -> int:
        return sum(
            length
            for _segment, extents in held(self._images, *self.known(drive))
            for _offset, length, exists in extents
            if exists
        )

    def audit(self) -> list[Found]:
        """As `StorageDriver.audit`."""
        names = self._images.names()
        drives = siblings(names)
        with ThreadPoolExecutor(LOOKING_AT_ONCE) as looking:
            found = [one for one in looking.map(self._audited, drives, drives.values()) if one is not None]
        strange = tuple(sentence for one in found if one.drive is None for sentence in one.strange)
        strange += tuple(f"{name} is not a drive." for name in sorted(names) if named(name) is None)
        there = [one for one in found if one.drive is not None]
        return [*there, *([Found(None, None, frozenset(), strange)] if strange else [])]

    def _audited(self, drive: int, firsts: Iterable[int]) -> Found | None:
        try:
            found = self._drive(drive, firsts)
        except ceph.rbd().ImageNotFound:
            found = self.read(drive)  # it changed since the listing
        live = found.live
        strange = [f"{name} in {each.name} is not a layer." for each in found.all for name in each.strange]
        if live is not None:
            return Found(drive, live.head, found.layers, tuple(strange))
        if any(each.deleted for each in found.all):
            return Found(None, None, frozenset(), tuple(f"{each.name} is deleted in part." for each in found.all))
        return Found(drive, None, frozenset(), ("The drive has no head.", *strange)) if found.all else None

    def _drive(self, drive: int, firsts: Iterable[int]) -> Drive:
        return Drive(drive, tuple(self._generation(drive, first) for first in firsts))

    def _generation(self, drive: int, first: int) -> Generation:
        with self._images.opened(image_name(drive, first)) as image:
            return read_generation(drive, first, image)

    def _settled(self, look: Callable[[], Answer]) -> Answer:
        """Look again when an image went away meanwhile: reading takes no lock."""
        for _ in range(MOVED):
            with contextlib.suppress(ceph.rbd().ImageNotFound):
                return look()
        return look()
