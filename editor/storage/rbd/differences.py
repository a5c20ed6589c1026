"""What the layers of a drive in Ceph hold: which bytes were written between two snapshots of its images.

librbd's object maps tell without asking any OSD which objects changed, but also name objects that were only copied
from a parent; the OSDs tell the exact bytes, object by object. So both are asked, the first for where to look.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from editor.storage.rbd.generations import Drive, Frozen, Generation
from editor.storage.rbd.images import Images

EXACT_OBJECTS = 4096
"""Objects of one layer whose bytes are counted; in what is beyond, 16 GiB, a changed object counts whole."""
PIECE_OBJECTS = 256

Extent = tuple[int, int, bool]
"""Offset, length, and whether anything is there: not, when it was discarded."""


@dataclass(frozen=True)
class Segment:
    """What was written to one image between two of its snapshots: the layer, and those merged into it."""

    generation: Generation
    since: Frozen | None
    """None: since the image was made."""
    until: str | None
    """A snapshot's name; None: until now."""
    layer: int | None
    """The layer on top of the segment; None when that was removed, and only what stands on it is a layer."""


def segments(drive: Drive, live: Generation) -> Iterator[Segment]:
    """The segments of the head's chain, topmost first, as far down as images share data."""
    by_first = {found.first: found for found in drive.all}
    generation: Generation | None = live
    until: str | None = None
    while generation is not None:
        frozen = list(generation.frozen)
        layer: int | None = generation.head
        if until is not None:
            at = next((number for number, found in enumerate(frozen) if found.name == until), None)
            if at is None:
                # Removed, but cloned from: it lies above what is older.
                layer = None
                frozen = [found for found in frozen if found.layer < dict(live.ancestry or ())[generation.first]]
            else:
                layer = frozen[at].layer
                frozen = frozen[:at]
        for since in (*reversed(frozen), None):
            yield Segment(generation, since, until, layer)
            if since is not None:
                until, layer = since.name, since.layer
        if generation.parent is None:
            return
        until = generation.parent[1]
        generation = by_first.get(generation.parent[0])


def held(images: Images, drive: Drive, live: Generation) -> Iterator[tuple[Segment, list[Extent]]]:
    """The segments of the head's chain, and what each wrote, ascending."""
    for image_id, together in itertools.groupby(segments(drive, live), key=lambda segment: segment.generation.id):
        with images.opened(image_id=image_id) as image:
            for segment in together:
                if segment.until is not None:
                    image.set_snap_by_id(_snapshot_id(image, segment.until))
                yield segment, list(_changed(image, segment.since.name if segment.since else None))


def _snapshot_id(image: Any, name: str) -> int:
    """Of a removed snapshot too, which has another name now."""
    found: int = next(snapshot["id"] for snapshot in image.list_snaps() if snapshot["name"] == name)
    return found


def changed_objects(image: Any, since: str | None) -> Iterator[tuple[int, int]]:
    """Offset and length of the ranges of an open image whose objects may have changed since a snapshot; ascending."""
    return joined(_diff(image, 0, image.size(), since, whole=True))


def existing_objects(image: Any, length: int) -> Iterator[tuple[int, int]]:
    """Offset and length of the ranges of an open image's first bytes whose objects exist in it, as its map says."""
    return joined([found for found in _diff(image, 0, length, None, whole=True) if found[2]])


def _changed(image: Any, since: str | None) -> Iterator[Extent]:
    object_bytes: int = image.stat()["obj_size"]
    exact_bytes, piece_bytes = EXACT_OBJECTS * object_bytes, PIECE_OBJECTS * object_bytes
    any_bytes = False
    for offset, length in changed_objects(image, since):
        for at in range(offset, offset + length, piece_bytes):
            piece = min(piece_bytes, offset + length - at)
            if exact_bytes <= 0 and any_bytes:
                yield at, piece, True
                continue
            exact_bytes -= piece
            for found in _diff(image, at, piece, since, whole=False):
                any_bytes = True
                yield found


def _diff(image: Any, offset: int, length: int, since: str | None, *, whole: bool) -> list[Extent]:
    found: list[Extent] = []
    if length:
        image.diff_iterate(
            offset,
            length,
            since,
            lambda at, bytes_, exists: found.append((at, bytes_, bool(exists))),
            include_parent=False,
            whole_object=whole,
        )
    return found


def joined(extents: list[Extent]) -> Iterator[tuple[int, int]]:
    """Offsets and lengths of the ranges that extents cover together, ascending."""
    start = end = 0
    for offset, length, _exists in sorted(extents):
        if offset > end or end == start:
            if end > start:
                yield start, end - start
            start, end = offset, offset + length
        else:
            end = max(end, offset + length)
    if end > start:
        yield start, end - start
