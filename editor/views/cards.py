"""The cards on a canvas: an array or a network in the words of the page, with its servers or drives as bays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, TypeVar

from django.urls import reverse

from editor import canvas, words
from editor.models import MB, DriveArray, InstanceArray, Network, NetworkKind, Power
from editor.templatetags.editor import POWER_WORD

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
    draft: bool = False


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
    draft: bool = False
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
    def bays_name(self) -> str:
        return f"{'Instances' if self.kind == 'instance_array' else 'Drives'} of {self.label}"


class InstanceRow(NamedTuple):
    """An instance, as a bay shows it."""

    number: int
    shown: Power


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
    )


def instance_array_node(array: InstanceArray, rows: list[InstanceRow], *, with_bays: bool) -> Node:
    kind = array.server_type
    node = _array_node("InstanceArray", array, f"{kind.label} · {kind.cores} cores · {kind.ram_gb} GB")
    node.lamps = Lamps(Counter(row.shown for row in rows))
    if with_bays:
        url = _address("instance_array_instances", array.pk)
        shown_rows, node.more = _shown(rows)
        node.bays = [
            Bay(
                url,
                number,
                f"{array.label}-{number}, {shown.label.lower()}",
                f"{array.topic}:{number}",
                power=POWER_WORD[shown],
                draft=node.draft,
            )
            for number, shown in shown_rows
        ]
    return node


def drive_array_node(array: DriveArray, rows: list[DriveRow], *, with_bays: bool) -> Node:
    owner = array.instance_array
    each = words.size(array.size_mb * MB)
    node = _array_node("DriveArray", array, f"{each} · {array.storage_type}" + ("" if owner else " · Detached"))
    node.attached_to = str(owner) if owner else ""
    node.detached = owner is None
    node.used = _percent(sum(row.used_bytes for row in rows), sum(row.size_mb for row in rows) * MB)
    node.snapshots = words.counted(sum(row.snapshots for row in rows), "snapshot")
    node.holds = sum(bool(row.hold) for row in rows)
    if with_bays:
        shown_rows, node.more = _shown(rows)
        twin = owner.topic if owner else array.topic
        node.bays = [
            Bay(
                _address("snapshots:list", row.pk),
                row.number,
                _says(f"{array.label}-{row.number}", row),
                f"{twin}:{row.number}",
                snapshots=row.snapshots,
                held=bool(row.hold),
                draft=node.draft,
            )
            for row in shown_rows
        ]
    return node


def _array_node(type_name: str, array: InstanceArray | DriveArray, each: str) -> Node:
    """What the cards of both kinds of arrays have in common; `each` says what one of its members is."""
    return Node(
        kind="instance_array" if isinstance(array, InstanceArray) else "drive_array",
        type_name=type_name,
        product=array,
        width=canvas.CARD_W,
        height=canvas.card_height(array.count),
        spec=f"{array.count} × {each}",
        count=array.count,
        draft=not array.is_deployed,
    )


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
