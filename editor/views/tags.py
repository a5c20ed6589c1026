"""What the next deploy changes, product by product, in the fewest words: for cards and beside forms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from editor import words
from editor.models import MB, DriveArray, InstanceArray, Network


class Tag(NamedTuple):
    """What the next deploy does to a product, in the fewest words: "−2 servers". `change` is its kind."""

    change: str
    text: str

    @property
    def sign(self) -> str:
        return self.text[0]

    @property
    def rest(self) -> str:
        return self.text[1:]


def tags_of(product: InstanceArray | DriveArray | Network) -> tuple[Tag, ...]:
    """Everything that changes, what destroys first; a change that has no words of its own is "~ changed"."""
    change = product.change
    if change == "add":
        return (Tag("add", "+ new"),)
    if change == "del":
        return (Tag("del", "− deleted"),)
    if not change:
        return ()
    found: list[Tag] = []
    if isinstance(product, InstanceArray):
        found += _instance_array_edits(product)
    elif isinstance(product, DriveArray):
        found += _drive_array_edits(product)
    if product.deployed and product.deployed.get("label") != product.label:
        found.append(Tag("edit", "~ renamed"))
    if not found:
        found.append(Tag("edit", "~ unfinished" if product.unsettled else "~ changed"))
    return tuple(sorted(found, key=lambda tag: tag.change != "del"))


def _count_edits(array: InstanceArray | DriveArray, thing: str) -> Iterator[Tag]:
    real, drawn = set((array.deployed or {}).get("numbers", ())), set(array.numbers)
    if gone := len(real - drawn):
        yield Tag("del", f"−{words.counted(gone, thing)}")
    if new := len(drawn - real):
        yield Tag("edit", f"+{words.counted(new, thing)}")


def _instance_array_edits(array: InstanceArray) -> Iterator[Tag]:
    real = array.deployed or {}
    yield from _count_edits(array, "server")
    if real.get("server_type", array.server_type_id) != array.server_type_id:
        yield Tag("edit", f"~ {array.server_type.label}")
    if real.get("interfaces") != array.drawn()["interfaces"]:
        yield Tag("edit", "~ networks")


def _drive_array_edits(array: DriveArray) -> Iterator[Tag]:
    real = array.deployed or {}
    yield from _count_edits(array, "drive")
    if real.get("size_mb") != array.size_mb:
        yield Tag("edit", f"~ {words.size(array.size_mb * MB)}")
    if real.get("instance_array") != array.instance_array_id:
        yield Tag("edit", f"~ to {array.instance_array}" if array.instance_array else "~ detached")
    if real.get("grows") != array.grows:
        yield Tag("edit", "~ grows along" if array.grows else "~ grows alone")


# ── Servers and drives, one by one ───────────────────────────────────────────


def numbers_that_stay(array: InstanceArray | DriveArray) -> set[int]:
    """Answers the numbers that are there after the next deploy."""
    return set() if array.leaves else set(array.numbers)


def coming(array: InstanceArray | DriveArray, there: Iterable[int]) -> str:
    """Answers "+2 with the next deploy: web-5 and web-6", or "" when it adds nothing to those that are there."""
    new = numbers_that_stay(array) - set(there)
    return f"+{len(new)} with the next deploy: {words.numbered(new, sign=f'{array.label}-')}" if new else ""
