"""What is on a canvas: reads an infrastructure in a fixed number of queries and lays its cards and cables out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from editor import canvas
from editor.design import decisions, numbers_shown
from editor.models import Drive, DriveArray, Infrastructure, Instance, InstanceArray, Power, shown_power
from editor.views.cards import (
    DriveRow,
    InstanceRow,
    Lamps,
    Node,
    drive_array_node,
    instance_array_node,
    network_node,
)

MANY_ARRAYS = 100
"""Above that many, cards come without bays; canvas.js asks for those that are in view when one comes near."""

MAX_ID_DIGITS = 18
"""Longer numbers are no ids, and some databases raise on them."""


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
    changes: int
    """So many decisions wait for a deploy."""
    is_deployed: bool

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but the two networks that every infrastructure has."""
        return all(node.net in {"wan", "san"} for node in self.nodes)


def draw(infrastructure: Infrastructure, *, selected: str = "") -> Scene:
    """Reads an infrastructure and lays it out. Six queries, however large it is."""
    products = _Products(infrastructure)
    many = products.many
    instances = _instances(infrastructure)
    drives = _drives(infrastructure)
    nodes = [network_node(network) for network in products.networks]
    nodes += [instance_array_node(array, instances[array.pk], with_bays=not many) for array in products.instance_arrays]
    nodes += [drive_array_node(array, drives[array.pk], with_bays=not many) for array in products.drive_arrays]
    for node in nodes:
        node.selected = node.topic == selected
    return Scene(
        nodes=_outline_order(nodes),
        drawing=products.drawing(),
        counts=_counts(instances, drives),
        changes=len(decisions(node.product for node in nodes)),
        is_deployed=any(node.product.is_deployed for node in nodes if not node.net),
    )


def draw_wiring(infrastructure: Infrastructure) -> Drawing:
    """Lays out the cables alone. Four queries."""
    return _Products(infrastructure).drawing()


def draw_cards(infrastructure: Infrastructure, topics: Collection[str]) -> list[Node]:
    """Answers the cards of these topics, with their bays; unknown topics are left out. Six queries."""
    ids: dict[str, list[int]] = defaultdict(list)
    for topic in topics:
        model, _, number = topic.rpartition("-")
        if number.isascii() and number.isdigit() and len(number) < MAX_ID_DIGITS:
            ids[model].append(int(number))
    instance_arrays = list(
        infrastructure.instance_arrays.filter(pk__in=ids["instance-array"])
        .select_related("server_type")
        .prefetch_related("interfaces")
    )
    drive_arrays = list(infrastructure.drive_arrays.filter(pk__in=ids["drive-array"]).select_related("instance_array"))
    instances = _instances(infrastructure, of=instance_arrays) if instance_arrays else defaultdict(list)
    drives = _drives(infrastructure, of=drive_arrays) if drive_arrays else defaultdict(list)
    return [
        *(network_node(network) for network in infrastructure.networks.filter(pk__in=ids["network"])),
        *(instance_array_node(array, instances[array.pk], with_bays=True) for array in instance_arrays),
        *(drive_array_node(array, drives[array.pk], with_bays=True) for array in drive_arrays),
    ]


def count(infrastructure: Infrastructure) -> Counts:
    """Answers what the footer says. Two queries."""
    return _counts(_instances(infrastructure), _drives(infrastructure))


def _counts(instances: dict[int, list[InstanceRow]], drives: dict[int, list[DriveRow]]) -> Counts:
    lamps = Lamps(Counter(row.shown for rows in instances.values() for row in rows))
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
        self.instance_arrays = list(
            infrastructure.instance_arrays.select_related("server_type").prefetch_related("interfaces")
        )
        self.drive_arrays = list(infrastructure.drive_arrays.all())
        owners = {array.pk: array for array in self.instance_arrays}
        for array in self.drive_arrays:  # as select_related would, without reading each of them once more
            array.instance_array = owners.get(array.instance_array_id or 0)

    @property
    def many(self) -> bool:
        return len(self.instance_arrays) + len(self.drive_arrays) > MANY_ARRAYS

    def drawing(self) -> Drawing:
        plates = [canvas.Plate(network.topic, network.kind, network.x, network.y) for network in self.networks]
        owners = [_owner_card(array) for array in self.instance_arrays]
        drives = [_drives_card(array) for array in self.drive_arrays]
        wiring = canvas.wire(plates, owners, drives)
        return Drawing(
            wiring=wiring,
            bounds=canvas.bounds(plates, [*owners, *drives]),
            map=canvas.minimap(plates, [*owners, *drives], wiring),
            many=self.many,
        )


def _owner_card(array: InstanceArray) -> canvas.Card:
    plugged = {one.index: f"network-{one.network_id}" for one in array.interfaces.all() if one.network_id}
    real = (array.deployed or {}).get("interfaces", ())
    was = {f"network-{network}" for network in real if network}
    return canvas.Card(
        array.topic,
        array.x,
        array.y,
        len(numbers_shown(array)),
        networks=tuple(plugged.values()),
        draft=not array.is_deployed,
        new=frozenset(plugged.values()) - was,
    )


def _drives_card(array: DriveArray) -> canvas.Card:
    of = f"instance-array-{array.instance_array_id}" if array.instance_array_id else ""
    was = (array.deployed or {}).get("instance_array")
    return canvas.Card(
        array.topic,
        array.x,
        array.y,
        len(numbers_shown(array)),
        of=of,
        draft=not array.is_deployed,
        new=frozenset({of}) if was != array.instance_array_id else frozenset(),
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
    for array, number, server, power, command, seen_at in (
        (found if of is None else found.filter(instance_array__in=of))
        .order_by("number")
        .values_list(
            *("instance_array_id", "number", "server_id"),
            *("server__power", "server__power_command", "server__power_seen_at"),
        )
    ):
        rows[array].append(InstanceRow(number, _power(server, power, command), server, seen_at))
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
