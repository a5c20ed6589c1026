"""What is on a canvas: reads an infrastructure in a fixed number of queries and says it in the words of the page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from django.urls import reverse

from editor import canvas, words
from editor.models import (
    MB,
    Drive,
    DriveArray,
    Infrastructure,
    Instance,
    InstanceArray,
    Interface,
    Network,
    NetworkKind,
    Power,
    shown_power,
)
from editor.templatetags.editor import POWER_WORD

MANY_ARRAYS = 100
"""Above that many, cards come without bays; canvas.js asks for those that are in view when one comes near."""
SHOWN_ORDER = (Power.ON, Power.POWERING_ON, Power.SHUTTING_DOWN, Power.OFF, Power.UNKNOWN)

MAX_ID_DIGITS = 18
"""Longer numbers are no ids, and some databases raise on them."""


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

    topic: str
    kind: str
    type_name: str
    label: str
    x: int
    y: int
    width: int
    height: int
    url: str
    card_url: str
    move_url: str
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


@dataclass
class Drawing:
    """What lies under and around the cards."""

    wiring: canvas.Wiring
    bounds: canvas.Bounds
    map: canvas.Map
    many: bool


@dataclass
class Counts:
    """What the footer says."""

    lamps: Lamps
    servers: int
    drives: int
    snapshots: int


@dataclass
class Scene:
    """All that is on one canvas."""

    nodes: list[Node]
    drawing: Drawing
    counts: Counts


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


def draw(infrastructure: Infrastructure, *, selected: str = "") -> Scene:
    """Reads an infrastructure and lays it out. Six queries, however large it is."""
    products = _Products(infrastructure)
    many = products.many
    instances = _instances(infrastructure)
    drives = _drives(infrastructure)
    nodes = [_network_node(network) for network in products.networks]
    nodes += [
        _instance_array_node(array, instances[array.pk], with_bays=not many) for array in products.instance_arrays
    ]
    nodes += [_drive_array_node(array, drives[array.pk], with_bays=not many) for array in products.drive_arrays]
    for node in nodes:
        node.selected = node.topic == selected
    return Scene(
        nodes=_outline_order(nodes),
        drawing=products.drawing(),
        counts=_counts(instances, drives),
    )


def draw_wiring(infrastructure: Infrastructure) -> Drawing:
    """Lays out the cables alone. Four queries."""
    return _Products(infrastructure).drawing()


def draw_cards(infrastructure: Infrastructure, topics: Collection[str]) -> list[Node]:
    """Answers the cards of these topics, with their bays; unknown topics are left out. Five queries."""
    ids: dict[str, list[int]] = defaultdict(list)
    for topic in topics:
        model, _, number = topic.rpartition("-")
        if number.isascii() and number.isdigit() and len(number) < MAX_ID_DIGITS:
            ids[model].append(int(number))
    instance_arrays = list(
        infrastructure.instance_arrays.filter(pk__in=ids["instance-array"]).select_related("server_type")
    )
    drive_arrays = list(infrastructure.drive_arrays.filter(pk__in=ids["drive-array"]).select_related("instance_array"))
    instances = _instances(infrastructure, of=instance_arrays) if instance_arrays else defaultdict(list)
    drives = _drives(infrastructure, of=drive_arrays) if drive_arrays else defaultdict(list)
    return [
        *(_network_node(network) for network in infrastructure.networks.filter(pk__in=ids["network"])),
        *(_instance_array_node(array, instances[array.pk], with_bays=True) for array in instance_arrays),
        *(_drive_array_node(array, drives[array.pk], with_bays=True) for array in drive_arrays),
    ]


def count(infrastructure: Infrastructure) -> Counts:
    """Answers what the footer says. Two queries."""
    return _counts(_instances(infrastructure), _drives(infrastructure))


def _counts(instances: dict[int, list[InstanceRow]], drives: dict[int, list[DriveRow]]) -> Counts:
    lamps = Lamps(Counter(shown for rows in instances.values() for _, shown in rows))
    return Counts(
        lamps=lamps,
        servers=sum(lamps.counts.values()),
        drives=sum(map(len, drives.values())),
        snapshots=sum(row.snapshots for rows in drives.values() for row in rows),
    )


class _Products:
    """Everything of an infrastructure that has a place, as rows and as the geometry takes it. Four queries."""

    def __init__(self, infrastructure: Infrastructure) -> None:
        self.networks = list(infrastructure.networks.all())
        self.instance_arrays = list(infrastructure.instance_arrays.select_related("server_type"))
        self.drive_arrays = list(infrastructure.drive_arrays.select_related("instance_array"))
        self.plugged: dict[int, list[str]] = defaultdict(list)
        for array, network in (
            Interface.objects.filter(instance_array__infrastructure=infrastructure, network__isnull=False)
            .order_by("index")
            .values_list("instance_array_id", "network_id")
        ):
            self.plugged[array].append(f"network-{network}")

    @property
    def many(self) -> bool:
        return len(self.instance_arrays) + len(self.drive_arrays) > MANY_ARRAYS

    def drawing(self) -> Drawing:
        plates = [canvas.Plate(network.topic, network.kind, network.x, network.y) for network in self.networks]
        owners = [
            canvas.Card(
                array.topic,
                array.x,
                array.y,
                array.count,
                networks=tuple(self.plugged[array.pk]),
                draft=not array.is_deployed,
            )
            for array in self.instance_arrays
        ]
        drives = [
            canvas.Card(
                array.topic,
                array.x,
                array.y,
                array.count,
                of=f"instance-array-{array.instance_array_id}" if array.instance_array_id else "",
                draft=not array.is_deployed,
            )
            for array in self.drive_arrays
        ]
        wiring = canvas.wire(plates, owners, drives)
        return Drawing(
            wiring=wiring,
            bounds=canvas.bounds(plates, [*owners, *drives]),
            map=canvas.minimap(plates, [*owners, *drives], wiring),
            many=self.many,
        )


def _power(server: int | None, power: str | None, command: str | None) -> Power:
    """As Instance.shown_power, for rows that are not read as objects."""
    return _shown_power(power or "", command or "") if server else Power.OFF


_shown_power = cache(shown_power)


def _instances(
    infrastructure: Infrastructure, *, of: list[InstanceArray] | None = None
) -> dict[int, list[InstanceRow]]:
    """Answers the instances of each array, by number; of some arrays only, if named."""
    found = Instance.objects.filter(instance_array__infrastructure=infrastructure)
    rows: dict[int, list[InstanceRow]] = defaultdict(list)
    for array, number, server, power, command in (
        (found if of is None else found.filter(instance_array__in=of))
        .order_by("number")
        .values_list("instance_array_id", "number", "server_id", "server__power", "server__power_command")
    ):
        rows[array].append(InstanceRow(number, _power(server, power, command)))
    return rows


def _drives(infrastructure: Infrastructure, *, of: list[DriveArray] | None = None) -> dict[int, list[DriveRow]]:
    """Answers the drives of each array, by number; of some arrays only, if named."""
    found = Drive.objects.filter(drive_array__infrastructure=infrastructure)
    rows: dict[int, list[DriveRow]] = defaultdict(list)
    for array, pk, number, snapshots, used, size_mb, hold, owner, on, server, power, command in (
        (found if of is None else found.filter(drive_array__in=of))
        .order_by("number")
        .values_list(
            "drive_array_id",
            "pk",
            "number",
            "snapshot_count",
            "used_bytes",
            "size_mb",
            "hold",
            "instance__instance_array__label",
            "instance__number",
            "instance__server_id",
            "instance__server__power",
            "instance__server__power_command",
        )
    ):
        whose = ""
        if owner:
            shown = _power(server, power, command)
            whose = f"{owner}-{on} is {'in an unknown state' if shown == Power.UNKNOWN else shown.label.lower()}."
        rows[array].append(DriveRow(pk, number, snapshots, used, size_mb, hold, whose))
    return rows


def _network_node(network: Network) -> Node:
    return Node(
        topic=network.topic,
        kind="network",
        type_name=f"{NetworkKind(network.kind).label} network",
        label=network.label,
        x=network.x,
        y=network.y,
        width=canvas.PLATE_W,
        height=canvas.PLATE_H,
        url=_address("network", network.pk),
        card_url=_address("network_card", network.pk),
        move_url=_address("network_move", network.pk),
        spec=network.addresses,
        net=network.kind,
    )


def _instance_array_node(array: InstanceArray, rows: list[InstanceRow], *, with_bays: bool) -> Node:
    kind = array.server_type
    url = _address("instance_array_instances", array.pk)
    node = Node(
        topic=array.topic,
        kind="instance_array",
        type_name="InstanceArray",
        label=array.label,
        x=array.x,
        y=array.y,
        width=canvas.CARD_W,
        height=canvas.card_height(array.count),
        url=_address("instance_array", array.pk),
        card_url=_address("instance_array_card", array.pk),
        move_url=_address("instance_array_move", array.pk),
        spec=f"{array.count} × {kind.label} · {kind.cores} cores · {kind.ram_gb} GB",
        count=array.count,
        draft=not array.is_deployed,
        lamps=Lamps(Counter(row.shown for row in rows)),
    )
    if with_bays:
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


def _drive_array_node(array: DriveArray, rows: list[DriveRow], *, with_bays: bool) -> Node:
    whole = sum(row.size_mb for row in rows) * MB
    used = sum(row.used_bytes for row in rows)
    each = words.size(array.size_mb * MB)
    node = Node(
        topic=array.topic,
        kind="drive_array",
        type_name="DriveArray",
        label=array.label,
        x=array.x,
        y=array.y,
        width=canvas.CARD_W,
        height=canvas.card_height(array.count),
        url=_address("drive_array", array.pk),
        card_url=_address("drive_array_card", array.pk),
        move_url=_address("drive_array_move", array.pk),
        spec=f"{array.count} × {each} · {array.storage_type}" + ("" if array.instance_array else " · Detached"),
        count=array.count,
        attached_to=str(array.instance_array) if array.instance_array else "",
        detached=array.instance_array is None,
        draft=not array.is_deployed,
        used=_percent(used, whole),
        snapshots=words.counted(sum(row.snapshots for row in rows), "snapshot"),
        holds=sum(bool(row.hold) for row in rows),
    )
    if with_bays:
        shown_rows, node.more = _shown(rows)
        twin = f"instance-array-{array.instance_array_id}" if array.instance_array_id else array.topic
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


def _shown(rows: list[Any]) -> tuple[list[Any], int]:
    """The bays there is room for, and how many more there are."""
    if len(rows) <= canvas.BAYS_SHOWN:
        return rows, 0
    kept = canvas.BAYS_SHOWN - 1
    return rows[:kept], len(rows) - kept


def _outline_order(nodes: list[Node]) -> list[Node]:
    """Networks, then each InstanceArray followed by its DriveArrays, then detached ones: the order of the outline."""
    followers: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        if node.kind == "drive_array":
            followers[node.attached_to].append(node)
    ordered = [node for node in nodes if node.kind == "network"]
    for node in nodes:
        if node.kind == "instance_array":
            ordered += [node, *followers.pop(node.label, [])]
    return ordered + [node for rest in followers.values() for node in rest]
