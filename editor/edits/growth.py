"""What becomes of DriveArrays when the InstanceArray that they are attached to changes: drive k belongs to server k."""

from __future__ import annotations

from collections.abc import Collection

from editor.actions import demand
from editor.design_rules import why_not_count
from editor.models import Drive, DriveArray, InstanceArray
from editor.plan import with_count
from editor.rules import Refused
from editor.words import counted

from .draft import Draft
from .rows import whole

KEEP, DELETE = "keep", "delete"


class Undecided(Refused):
    """Servers go whose drives hold bytes: the person says whether these are kept, or deleted by the deploy."""


def attached_to(draft: Draft, array: InstanceArray) -> list[DriveArray]:
    """Answers the DriveArrays attached to an InstanceArray, and looks at them."""
    return draft.take(whole(DriveArray.objects.filter(instance_array=array, leaves=False)))


def follow(draft: Draft, array: InstanceArray, *, drives: str = "") -> None:
    """Fits the DriveArrays attached to an InstanceArray whose numbers are changed."""
    now = set(draft.drawn(array)["numbers"])
    gone = set((draft.before[array.topic] or {}).get("numbers", ())) - now
    attached = attached_to(draft, array)
    leaving = drives_to_leave(attached, gone, drives) if gone else {}
    for each in attached:
        numbers = set(draft.drawn(each)["numbers"]) - leaving.get(each.pk, set())
        if each.grows:
            numbers |= now
        set_numbers(draft, each, numbers)


def set_numbers(draft: Draft, array: DriveArray, numbers: Collection[int]) -> None:
    """Says which drives a DriveArray has."""
    demand(why_not_count(len(numbers), "drive"))
    draft.change(array, numbers=sorted(numbers))


def drives_to_leave(arrays: list[DriveArray], gone: Collection[int], drives: str) -> dict[int, set[int]]:
    """Answers the numbers of the drives that go with the servers that go, by the primary key of their DriveArray.

    Those that were never made go in any case: they hold nothing.
    """
    if not arrays:
        return {}
    numbers = {array.pk: set(array.numbers) & set(gone) for array in arrays}
    if drives == DELETE:
        return numbers
    real = set(Drive.objects.filter(drive_array__in=arrays, number__in=gone).values_list("drive_array_id", "number"))
    kept = {(pk, number) for pk, number in real if number in numbers[pk]}
    if kept and drives != KEEP:
        goes = "belongs to a server that goes" if len(kept) == 1 else "belong to servers that go"
        raise Undecided(f"{counted(len(kept), 'drive')} {goes}. Choose whether to keep or to delete what is on them.")
    return {pk: {number for number in found if (pk, number) not in kept} for pk, found in numbers.items()}


def grown(numbers: Collection[int], count: int, deployed: Collection[int], waiting: Collection[int]) -> list[int]:
    """Answers the numbers once an array has so many.

    Those that are there already and were to go stay instead, and partners that wait get theirs.
    """
    prefer = (set(deployed) | set(waiting)) - set(numbers)
    return with_count(numbers, count, prefer)
