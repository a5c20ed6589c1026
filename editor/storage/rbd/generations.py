"""A drive in Ceph: a row of images, its generations, whose snapshots are the drive's layers.

`drive-7.1` is made with drive 7, and its number is the layer it begins with. Each snapshot freezes the layer on top
and begins the next: `layer-3-4` froze layer 3 under layer 4. A revert clones the image from the snapshot that is the
layer to go back to, into a new generation; the highest one that is complete is what the drive is now. In the older
ones nobody writes any more.

Facts are noted in the metadata of an image, each in one atomic write. The keys carry the generation's number, here 4,
since a clone is made with a copy of what was noted on its parent:

    drive_4_onto      this generation is complete; what it stands on: "-", or as "3@2 1@1" on layer 3 in generation 2,
                      and that on layer 1 in generation 1
    drive_4_head      the layer on top, when the snapshot that began it has been removed
    drive_4_given_up  the layer on top was given up: what was written to it is garbage
    drive_4_trimmed   the snapshot since which that garbage was given back, 0 for none
    drive_4_deleted   the drive was deleted, or this generation: the image is garbage
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from editor.storage.rbd import ceph
from editor.storage.tree import Parents

ONTO, HEAD, GIVEN_UP, TRIMMED, DELETED = "onto", "head", "given_up", "trimmed", "deleted"
KEY = re.compile(r"drive_([1-9][0-9]*)_[a-z_]+", re.ASCII)
NOTHING = "-"
IMAGE_NAME = re.compile(r"drive-([1-9][0-9]*)\.([1-9][0-9]*)", re.ASCII)
SNAPSHOT_NAME = re.compile(r"layer-([1-9][0-9]*)-([1-9][0-9]*)", re.ASCII)


def image_prefix(drive: int) -> str:
    """How the names of a drive's images begin, and of no other's."""
    return f"drive-{drive}."


def image_name(drive: int, first: int) -> str:
    return f"{image_prefix(drive)}{first}"


def snapshot_name(frozen: int, above: int) -> str:
    """The name of the snapshot that freezes a layer under the next; under itself, when nothing comes after it."""
    return f"layer-{frozen}-{above}"


def key(first: int, fact: str) -> str:
    """The key in an image's metadata under which a fact of this generation is noted."""
    return f"drive_{first}_{fact}"


def inherited(first: int, noted: Iterable[str]) -> list[str]:
    """Which keys are those of other generations."""
    return [name for name in noted if (match := KEY.fullmatch(name)) and int(match[1]) != first]


def named(name: str) -> tuple[int, int] | None:
    """The drive and the first layer of an image; None when it is not one of ours."""
    match = IMAGE_NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True)
class Frozen:
    """A snapshot of a generation that is a layer."""

    id: int
    name: str
    layer: int
    above: int
    size_bytes: int


@dataclass(frozen=True)
class Generation:
    """What was read of one image."""

    drive: int
    first: int
    id: str
    size_bytes: int
    ancestry: tuple[tuple[int, int], ...] | None
    """What it stands on, nearest first: the generation's first layer, and the layer in it. None while incomplete."""
    deleted: bool
    given_up: bool
    trimmed: int | None
    """The snapshot since which nothing is held any more, 0 for all; None when what was given up was not given back."""
    head: int
    frozen: tuple[Frozen, ...]
    """Oldest first."""
    parent: tuple[int, str] | None
    """The generation it still shares data with, and the snapshot there, by the name it has now."""
    strange: tuple[str, ...]
    """Names of snapshots that are not layers."""

    @property
    def name(self) -> str:
        return image_name(self.drive, self.first)

    @property
    def complete(self) -> bool:
        return self.ancestry is not None and not self.deleted

    @property
    def open_head(self) -> bool:
        """Whether the image itself is a layer, beside its snapshots."""
        return not self.given_up and self.head not in {found.layer for found in self.frozen}

    @property
    def holds_garbage(self) -> bool:
        """Whether something was given up in it since the newest snapshot and not given back."""
        return self.given_up and self.trimmed != (self.frozen[-1].id if self.frozen else 0)

    @property
    def layers(self) -> list[int]:
        """Its layers, lowest first."""
        return [*(found.layer for found in self.frozen), *([self.head] if self.open_head else [])]


def notes(image: Any) -> dict[str, str]:
    """What is noted in an open image's metadata."""
    try:
        return dict(image.metadata_list())
    except AttributeError as error:
        # So python3-rbd fails while it makes its sentence (`self.image.name` in its MetadataIterator); why, is lost.
        raise ceph.rbd().Error("error listing an image's metadata") from error


def read_generation(drive: int, first: int, image: Any) -> Generation:
    """What an open image says of itself."""
    noted = notes(image)
    frozen, strange = [], []
    for snapshot in image.list_snaps():
        match = SNAPSHOT_NAME.fullmatch(snapshot["name"])
        if "trash" in snapshot:
            continue  # removed; something cloned from it is still there
        if match is None:
            strange.append(snapshot["name"])
            continue
        frozen.append(Frozen(snapshot["id"], snapshot["name"], int(match[1]), int(match[2]), snapshot["size"]))
    frozen.sort(key=lambda found: found.id)
    return Generation(
        drive=drive,
        first=first,
        id=image.id(),
        size_bytes=image.size(),
        ancestry=parse_ancestry(noted[key(first, ONTO)]) if key(first, ONTO) in noted else None,
        deleted=key(first, DELETED) in noted,
        given_up=key(first, GIVEN_UP) in noted,
        trimmed=int(noted[key(first, TRIMMED)]) if key(first, TRIMMED) in noted else None,
        head=max(first, int(noted.get(key(first, HEAD), "0")), *(found.above for found in frozen)),
        frozen=tuple(frozen),
        parent=_parent(image),
        strange=tuple(strange),
    )


def _parent(image: Any) -> tuple[int, str] | None:
    try:
        spec = image.get_parent_image_spec()
    except ceph.rbd().ImageNotFound:
        return None
    found = named(spec["image_name"])
    return None if found is None else (found[1], spec["snap_name"])


def parse_ancestry(text: str) -> tuple[tuple[int, int], ...]:
    pairs = (word.split("@") for word in text.split() if word != NOTHING)
    return tuple((int(first), int(layer)) for layer, first in pairs)


def written_ancestry(ancestry: Iterable[tuple[int, int]]) -> str:
    return " ".join(f"{layer}@{first}" for first, layer in ancestry) or NOTHING


@dataclass(frozen=True)
class Drive:
    """The generations of one drive, oldest first; the unfinished and the deleted ones too."""

    id: int
    all: tuple[Generation, ...]

    @property
    def live(self) -> Generation | None:
        """The generation that the drive is now; None for one that does not exist."""
        finished = [found for found in self.all if found.ancestry is not None]
        return finished[-1] if finished and not finished[-1].deleted else None

    @property
    def is_going(self) -> bool:
        """Whether its deletion was begun, and its images are not all gone yet."""
        return self.live is None and any(found.ancestry is not None for found in self.all)

    @property
    def complete(self) -> tuple[Generation, ...]:
        return tuple(found for found in self.all if found.complete)

    @property
    def leftovers(self) -> tuple[Generation, ...]:
        """Images to remove, newest first, so that what was cloned goes before what it was cloned from."""
        return tuple(found for found in reversed(self.all) if not found.complete)

    @property
    def layers(self) -> frozenset[int]:
        return frozenset(layer for found in self.complete for layer in found.layers)

    @property
    def highest(self) -> int:
        """The highest layer that was ever on top."""
        return max(found.head for found in self.complete)

    def holding(self, layer: int) -> Generation:
        """The generation that a layer is in. Raises KeyError."""
        for found in self.complete:
            if layer in found.layers:
                return found
        raise KeyError(layer)

    def parents(self) -> Parents:
        """Each layer, and the one it stands on: the next lower one that is still there."""
        answer: dict[int, int | None] = {}
        for found in self.complete:
            below = self._under(found)
            for layer in found.layers:
                answer[layer], below = below, layer
        return answer

    def _under(self, generation: Generation) -> int | None:
        """The highest layer that is still there under a generation."""
        by_first = {found.first: found for found in self.complete}
        for first, onto in generation.ancestry or ():
            below = by_first.get(first)
            under = [found.layer for found in below.frozen if found.layer <= onto] if below else []
            if under:
                return under[-1]
        return None

    def ancestry_on(self, layer: int) -> tuple[tuple[int, int], ...]:
        """What a new generation on top of `layer` stands on. Raises KeyError."""
        below = self.holding(layer)
        there = {found.first for found in self.complete}
        return ((below.first, layer), *(step for step in below.ancestry or () if step[0] in there))

    def children(self, generation: Generation) -> tuple[Generation, ...]:
        """Images that share data with a generation because they were cloned from it."""
        return tuple(found for found in self.all if found.parent and found.parent[0] == generation.first)

    def shares_layers(self, generation: Generation) -> bool:
        """Whether a generation shares data with older ones in which there are layers."""
        by_first = {found.first: found for found in self.complete}
        below = generation.parent and by_first.get(generation.parent[0])
        return below is not None and (bool(below.layers) or self.shares_layers(below))

    def depth(self) -> int:
        """Generations whose images are opened with the live one: it, and those under it that it shares data with."""
        by_first = {found.first: found for found in self.all}
        below, answer = self.live, 0
        while below is not None:
            answer += 1
            below = by_first.get(below.parent[0]) if below.parent else None
        return answer


def siblings(names: Iterable[str]) -> Mapping[int, list[int]]:
    """Each drive, and the first layers of its generations, ascending; by drive."""
    answer: dict[int, list[int]] = {}
    for drive, first in sorted(found for name in names if (found := named(name))):
        answer.setdefault(drive, []).append(first)
    return answer
