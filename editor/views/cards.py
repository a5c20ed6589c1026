"""The cards on a canvas: an array or a network in the words of the page, with its servers or drives as bays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from typing import NamedTuple, TypeVar

from django.urls import reverse

from editor import canvas, words
from editor.design import numbers_shown
from editor.models import MB, DriveArray, InstanceArray, Network, NetworkKind, Power
from editor.templatetags.editor import POWER_WORD
from editor.views.tags import Tag, tags_of

SHOWN_ORDER = (Power.ON, Power.POWERING_ON, Power.SHUTTING_DOWN, Power.OFF, Power.UNKNOWN)

R = TypeVar("R")


class Bay(NamedTuple):
    """One server or drive in a card. Bays of the same `twin` belong together; `says` is its tip and its name."""

    url: str
    number: int
    says: str
    twin: str
    power: str = ""
    snapshots: int | None = None
    held: bool = False
    change: str = ""
    server: str = ""
    """The topic of the server whose power it shows, and when its BMC last said so, if ever."""
    seen_at: str = ""


@dataclass
class Lamps:
    """How many servers are in each state; only states that occur, in one fixed order."""

    counts: Counter[Power] = field(default_factory=Counter)

    @property
    def shown(self) -> list[tuple[Power, int, str]]:
        return [(power, self.counts[power], power.label.lower()) for power in SHOWN_ORDER if self.counts[power]]

    @property
    def in_words(self) -> bool:
        """Whether there is room to say the words beside the lamps."""
        return len(self.shown) < 3


@dataclass
class Node:
    """A card as the template draws it."""

    kind: str
    type_name: str
    product: InstanceArray | DriveArray | Network
    width: int
    height: int
    spec: str
    count: int = 0
    net: str = ""
    attached_to: str = ""
    detached: bool = False
    tags: tuple[Tag, ...] = ()
    bays: list[Bay] | None = None
    more: int = 0
    lamps: Lamps = field(default_factory=Lamps)
    used: str = ""
    snapshots: str = ""
    holds: int = 0
    selected: bool = False

    @property
    def topic(self) -> str:
        return self.product.topic

    @property
    def label(self) -> str:
        return self.product.label

    @cached_property
    def change(self) -> str:
        """What the next deploy does to it: "add", "edit", "del", or ""."""
        return self.product.change

    @property
    def tag(self) -> Tag | None:
        """The one there is room for."""
        return self.tags[0] if self.tags else None

    @property
    def more_tags(self) -> str:
        """The others, in words: ", ~ renamed"."""
        return "".join(f", {tag.text}" for tag in self.tags[1:])

    @property
    def foot(self) -> str:
        """What stands in place of the readout while there is none, or none any more."""
        if self.product.leaves and self.product.is_deployed:
            return "Deleted on deploy"
        return "" if self.product.is_deployed else "Created on deploy"

    @property
    def x(self) -> int:
        return self.product.x

    @property
    def y(self) -> int:
        return self.product.y

    @property
    def url(self) -> str:
        return _address(self.kind, self.product.pk)

    @property
    def card_url(self) -> str:
        return _address(f"{self.kind}_card", self.product.pk)

    @property
    def move_url(self) -> str:
        return _address(f"{self.kind}_move", self.product.pk)

    @property
    def name(self) -> str:
        """What a screen reader says: "InstanceArray web"."""
        return f"{self.type_name} {self.label}"

    @property
    def icon(self) -> str:
        return "server" if self.kind == "instance_array" else "hard-drive"

    @property
    def port(self) -> str:
        return f"port-{self.net}"

    @property
    def net_name(self) -> str:
        """What stands on a network's plate: its kind, unless it has a name of its own."""
        return self.label if self.label.lower() != self.net else self.net.upper()

    @property
    def bays_name(self) -> str:
        return f"{'Instances' if self.kind == 'instance_array' else 'Drives'} of {self.label}"


class InstanceRow(NamedTuple):
    """An instance, as a bay shows it."""

    number: int
    shown: Power
    server: int | None
    seen_at: datetime | None
    """When the BMC of its server last said so; null when it never did."""


class DriveRow(NamedTuple):
    """A drive, as a bay shows it; `whose` says how its server is: "web-2 is on."."""

    pk: int
    number: int
    snapshots: int
    used_bytes: int
    size_mb: int
    hold: str
    whose: str


def network_node(network: Network) -> Node:
    return Node(
        kind="network",
        type_name=f"{NetworkKind(network.kind).label} network",
        product=network,
        width=canvas.PLATE_W,
        height=canvas.PLATE_H,
        spec=network.addresses,
        net=network.kind,
        tags=tags_of(network),
    )


def instance_array_node(array: InstanceArray, rows: list[InstanceRow], *, with_bays: bool) -> Node:
    kind = array.server_type
    node = _array_node("InstanceArray", array, f"{kind.label} · {kind.cores} cores · {kind.ram_gb} GB")
    node.tags = tags_of(array)
    node.lamps = Lamps(Counter(row.shown for row in rows))
    if with_bays:
        url = _address("instance_array_instances", array.pk)
        real = {row.number: row for row in rows}
        drawn = set() if array.leaves else set(array.numbers)
        numbers, node.more = _shown(sorted(drawn | real.keys()))
        node.bays = [
            _server_bay(array, url, number, real.get(number), change=_bay_change(number, drawn, real, array))
            for number in numbers
        ]
    return node


def _server_bay(array: InstanceArray, url: str, number: int, row: InstanceRow | None, *, change: str) -> Bay:
    state = ", ".join(piece for piece in (row.shown.label.lower() if row else "", ON_DEPLOY[change]) if piece)
    says, twin = f"{array.label}-{number}, {state}", f"{array.topic}:{number}"
    if row is None:
        return Bay(url, number, says, twin, change=change)
    seen_at = row.seen_at.isoformat(timespec="seconds") if row.seen_at else ""
    power, server = POWER_WORD[row.shown], f"server-{row.server}"
    return Bay(url, number, says, twin, power=power, change=change, server=server, seen_at=seen_at)


def drive_array_node(array: DriveArray, rows: list[DriveRow], *, with_bays: bool) -> Node:
    owner = array.instance_array
    real_mb = (array.deployed or {}).get("size_mb", array.size_mb)
    each = words.size(real_mb * MB)
    node = _array_node("DriveArray", array, f"{each} · {array.storage_type}" + ("" if owner else " · Detached"))
    node.attached_to = str(owner) if owner else ""
    node.detached = owner is None
    node.tags = tags_of(array)
    node.used = _percent(sum(row.used_bytes for row in rows), sum(row.size_mb for row in rows) * MB)
    node.snapshots = words.counted(sum(row.snapshots for row in rows), "snapshot")
    node.holds = sum(bool(row.hold) for row in rows)
    if with_bays:
        twin = owner.topic if owner else array.topic
        real = {row.number: row for row in rows}
        drawn = set() if array.leaves else set(array.numbers)
        numbers, node.more = _shown(sorted(drawn | real.keys()))
        node.bays = [
            _drive_bay(
                array, number, real.get(number), f"{twin}:{number}", change=_bay_change(number, drawn, real, array)
            )
            for number in numbers
        ]
    return node


def _drive_bay(array: DriveArray, number: int, row: DriveRow | None, twin: str, *, change: str) -> Bay:
    label = f"{array.label}-{number}"
    if row is None:
        return Bay(
            _address("drive_array_drives", array.pk), number, f"{label}, {ON_DEPLOY[change]}", twin, change=change
        )
    says = _says(label, row) + (f" {ON_DEPLOY[change].capitalize()}." if change else "")
    url = _address("snapshots:list", row.pk)
    return Bay(url, number, says, twin, snapshots=row.snapshots, held=bool(row.hold), change=change)


def _array_node(type_name: str, array: InstanceArray | DriveArray, each: str) -> Node:
    """What the cards of both kinds of arrays have in common; `each` says what one of its members is.

    A card says what is real, and its tag what the next deploy makes of it.
    """
    count = len((array.deployed or {}).get("numbers") or array.numbers)
    return Node(
        kind="instance_array" if isinstance(array, InstanceArray) else "drive_array",
        type_name=type_name,
        product=array,
        width=canvas.CARD_W,
        height=canvas.card_height(len(numbers_shown(array))),
        spec=f"{count} × {each}",
        count=count,
    )


# ── What the next deploy changes ─────────────────────────────────────────────

ON_DEPLOY = {"": "", "add": "created on deploy", "del": "destroyed on deploy"}


def _bay_change(number: int, drawn: set[int], real: Container[int], array: InstanceArray | DriveArray) -> str:
    if number not in drawn:
        return "del"
    return "" if number in real and array.is_deployed else "add"


def _says(label: str, row: DriveRow) -> str:
    """ "web-data-2: 3 of 5 snapshots, 31.1 of 40 GB. web-2 is on." """
    used, whole = words.size_of(row.used_bytes, row.size_mb * MB)
    pieces = [f"{label}: {row.snapshots} of 5 snapshots, {used} of {whole}.", row.hold, row.whose]
    return " ".join(piece for piece in pieces if piece)


@cache
def _pattern(name: str) -> str:
    return reverse(name, args=[0]).replace("/0/", "/{}/")


def _address(name: str, pk: int) -> str:
    """As reverse(), which would cost more than drawing when a page has thousands of links."""
    return _pattern(name).format(pk)


def _percent(part: int, whole: int) -> str:
    """ "45 % used"; a little is not nothing."""
    if not whole or not part:
        return "0 % used"
    share = 100 * part / whole
    return "under 1 % used" if share < 1 else f"{share:.0f} % used"


def _shown(rows: list[R]) -> tuple[list[R], int]:
    """The bays there is room for, and how many more there are."""
    if len(rows) <= canvas.BAYS_SHOWN:
        return rows, 0
    kept = canvas.BAYS_SHOWN - 1
    return rows[:kept], len(rows) - kept
