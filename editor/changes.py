"""What is drawn differently from what is real, product by product, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from editor.design import AnyProduct, by_topic, decisions
from editor.models import DriveArray, InstanceArray, ServerType
from editor.plan import Drawn, topic_of_array
from editor.told import kind_name
from editor.words import numbered, size

NONE = "none"


@dataclass(frozen=True)
class Delta:
    """One thing that differs: what it was, empty for a new product, and what it becomes."""

    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Change:
    """What the next deploy does to one product."""

    topic: str
    kind: str
    """ "add", "edit", or "del": it goes, or becomes less."""
    label: str
    what: str
    """ "DriveArray, new"."""
    lines: tuple[Delta, ...]
    who: str
    at: datetime | None
    row: AnyProduct
    along: tuple[str, ...] = ()
    """The topics of DriveArrays that get more or fewer drives by it."""

    def as_json(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "kind": self.kind,
            "label": self.label,
            "what": self.what,
            "lines": [[line.name, line.old, line.new] for line in self.lines],
            "who": self.who,
            "at": self.at.isoformat() if self.at else None,
        }


def changes_of(rows: list[AnyProduct]) -> Iterator[Change]:
    """Answers what waits for a deploy: what is destroyed first, then changes, then additions. One query at most."""
    known = by_topic(rows)
    types = _types(rows)
    decided = decisions(rows)
    for kind, what, row in sorted(((*_kind(row), row) for row in decided), key=lambda one: one[0] != "del"):
        yield Change(
            topic=row.topic,
            kind=kind,
            label=row.label,
            what=f"{kind_name(row)}, {what}",
            lines=(*_lines(row, known, types), *map(_drives_along, decided[row])),
            who=str(row.changed_by) if row.changed_by else "",
            at=row.changed_at,
            row=row,
            along=tuple(each.topic for each in decided[row]),
        )


def _drives_along(drives: DriveArray) -> Delta:
    was = (drives.deployed or {})["numbers"]
    return Delta(f"Drives of {drives.label}", _numbers(was), _numbers(drives.numbers))


def _types(rows: Iterable[AnyProduct]) -> dict[int, str]:
    """Labels of server types by id. The type of what is real does not change, so mostly nothing is asked."""
    arrays = [row for row in rows if isinstance(row, InstanceArray)]
    known = {array.server_type_id: array.server_type.label for array in arrays}
    missing = {array.deployed["server_type"] for array in arrays if array.deployed} - known.keys()
    if missing:
        known.update(ServerType.objects.filter(pk__in=missing).values_list("pk", "label"))
    return known


def _kind(row: AnyProduct) -> tuple[str, str]:
    if row.change != "edit":
        return row.change, {"add": "new", "del": "deleted"}[row.change]
    if not isinstance(row, InstanceArray | DriveArray):
        return "edit", "changed"
    things = "servers" if isinstance(row, InstanceArray) else "drives"
    before, now = set((row.deployed or {})["numbers"]), set(row.numbers)
    if before - now:
        return "del", f"fewer {things}" if len(now) < len(before) else f"other {things}"
    return "edit", f"more {things}" if now - before else "changed"


def _lines(row: AnyProduct, known: Mapping[str, AnyProduct], types: Mapping[int, str]) -> Iterator[Delta]:
    after = row.drawn()
    before = row.deployed
    if row.change == "add":
        yield from (Delta(name, "", new) for name, new in _said(row, after, known, types).items() if new != NONE)
        return
    assert before is not None
    if row.leaves:
        yield from (Delta(name, old, "") for name, old in _said(row, before, known, types).items() if old != NONE)
        return
    old, new = _said(row, before, known, types), _said(row, after, known, types)
    if before["label"] != after["label"]:
        yield Delta("Name", before["label"], after["label"])
    for name in new:
        if old[name] != new[name]:
            yield Delta(name, old[name], new[name])
    if row.unsettled:
        yield Delta("Left by a stopped deploy", "", "put right")


def _said(row: AnyProduct, drawn: Drawn, known: Mapping[str, AnyProduct], types: Mapping[int, str]) -> dict[str, str]:
    """What a design says, by name."""
    if isinstance(row, InstanceArray):
        said = {"Servers": _numbers(drawn["numbers"]), "Server type": types.get(drawn["server_type"], NONE)}
        for index, pk in enumerate(drawn["interfaces"]):
            network = known.get(f"network-{pk}")
            said[f"if{index}"] = network.label if network else NONE
        return said
    if isinstance(row, DriveArray):
        array = known.get(topic_of_array(drawn["instance_array"]))
        return {
            "Drives": _numbers(drawn["numbers"]),
            "Size of each drive": size(drawn["size_mb"] * 1024 * 1024),
            "Storage class": drawn["storage_type"],
            "Attached to": array.label if array else NONE,
            "Grows with its servers": "yes" if drawn["grows"] else "no",
        }
    return {}


def _numbers(numbers: list[int]) -> str:
    """Answers "12", or "11 (1 to 10 and 12)" when they are not simply counted through."""
    if numbers == list(range(1, len(numbers) + 1)):
        return str(len(numbers))
    return f"{len(numbers)} ({numbered(numbers)})"
