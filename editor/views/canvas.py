"""The canvas: every array and network as a card, the cables between them, and the counts below."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Sum
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from editor import actions, canvas, words
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
from editor.rules import Refused
from editor.templatetags.editor import POWER_WORD
from editor.views.page import Request, is_partial, last_event_id, member_context, visible

MANY_ARRAYS = 100
"""Above that many, cards come without bays; canvas.js asks for those that are in view when one comes near."""
SHOWN_ORDER = (Power.ON, Power.POWERING_ON, Power.SHUTTING_DOWN, Power.OFF, Power.UNKNOWN)

Bay = tuple[str, str, str, str, str, str, str, str]


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


@dataclass
class Scene:
    """All that is on one canvas."""

    nodes: list[Node]
    wiring: canvas.Wiring
    bounds: canvas.Bounds
    lamps: Lamps
    servers: int
    drives: int
    snapshots: int
    many: bool

    @property
    def plates(self) -> list[Node]:
        return [node for node in self.nodes if node.kind == "network"]


def draw(infrastructure: Infrastructure, *, selected: str = "", only: set[str] | None = None) -> Scene:
    """Reads an infrastructure and lays it out. Seven queries, however large it is.

    With `only`, nodes are built for these topics alone, and with their bays (places and counts are still complete).
    """
    networks = list(infrastructure.networks.all())
    instance_arrays = list(infrastructure.instance_arrays.select_related("server_type"))
    drive_arrays = list(infrastructure.drive_arrays.select_related("instance_array"))
    plugged: dict[int, list[int]] = defaultdict(list)
    for array, network in (
        Interface.objects.filter(instance_array__infrastructure=infrastructure, network__isnull=False)
        .order_by("index")
        .values_list("instance_array_id", "network_id")
    ):
        plugged[array].append(network or 0)
    instances, lamps = _instances(infrastructure)
    drives = _drives(infrastructure)
    many = len(instance_arrays) + len(drive_arrays) > MANY_ARRAYS

    plates = [canvas.Plate(network.topic, network.kind, network.x, network.y) for network in networks]
    owner_cards = [
        canvas.Card(
            array.topic,
            array.x,
            array.y,
            array.count,
            networks=tuple(f"network-{pk}" for pk in plugged[array.pk]),
            draft=not array.is_deployed,
        )
        for array in instance_arrays
    ]
    drive_cards = [
        canvas.Card(
            array.topic,
            array.x,
            array.y,
            array.count,
            of=f"instance-array-{array.instance_array_id}" if array.instance_array_id else "",
            draft=not array.is_deployed,
        )
        for array in drive_arrays
    ]
    nodes = [_network_node(network) for network in networks if only is None or network.topic in only]
    for array, card in zip(instance_arrays, owner_cards, strict=True):
        if only is None or array.topic in only:
            nodes.append(_instance_array_node(array, card, instances[array.pk], with_bays=bool(only) or not many))
    for drive_array, card in zip(drive_arrays, drive_cards, strict=True):
        if only is None or drive_array.topic in only:
            nodes.append(_drive_array_node(drive_array, card, drives[drive_array.pk], with_bays=bool(only) or not many))
    for node in nodes:
        node.selected = node.topic == selected
    return Scene(
        nodes=_outline_order(nodes),
        wiring=canvas.wire(plates, owner_cards, drive_cards),
        bounds=canvas.bounds(plates, [*owner_cards, *drive_cards]),
        lamps=lamps,
        servers=sum(lamps.counts.values()),
        drives=sum(map(len, drives.values())),
        snapshots=sum(row[2] for rows in drives.values() for row in rows),
        many=many,
    )


InstanceRow = tuple[int, Power, str]
"""Number, shown power, server topic."""
DriveRow = tuple[int, int, int, int, int, str, str]
"""Id, number, snapshots, used bytes, size in MB, hold, the label of its instance and how that is."""


def _instances(infrastructure: Infrastructure) -> tuple[dict[int, list[InstanceRow]], Lamps]:
    rows: dict[int, list[InstanceRow]] = defaultdict(list)
    lamps = Lamps()
    for array, number, server, power, command in (
        Instance.objects.filter(instance_array__infrastructure=infrastructure)
        .order_by("number")
        .values_list("instance_array_id", "number", "server_id", "server__power", "server__power_command")
    ):
        shown = shown_power(power, command) if server else Power.OFF
        rows[array].append((number, shown, f"server-{server}" if server else ""))
        lamps.counts[shown] += 1
    return rows, lamps


def _drives(infrastructure: Infrastructure) -> dict[int, list[DriveRow]]:
    rows: dict[int, list[DriveRow]] = defaultdict(list)
    for array, pk, number, snapshots, used, size_mb, hold, owner, on, server, power, command in (
        Drive.objects.filter(drive_array__infrastructure=infrastructure)
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
            shown = shown_power(power, command) if server else Power.OFF
            whose = f"{owner}-{on} is {'in an unknown state' if shown == Power.UNKNOWN else shown.label.lower()}."
        rows[array].append((pk, number, snapshots, used, size_mb, hold, whose))
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
        url=network.get_absolute_url(),
        card_url=reverse("network_card", args=[network.pk]),
        move_url=reverse("network_move", args=[network.pk]),
        spec=network.addresses,
        net=network.kind,
    )


def _instance_array_node(array: InstanceArray, card: canvas.Card, rows: list[InstanceRow], *, with_bays: bool) -> Node:
    kind = array.server_type
    url = reverse("instance_array_instances", args=[array.pk])
    node = Node(
        topic=array.topic,
        kind="instance_array",
        type_name="InstanceArray",
        label=array.label,
        x=array.x,
        y=array.y,
        width=canvas.CARD_W,
        height=card.height,
        url=array.get_absolute_url(),
        card_url=reverse("instance_array_card", args=[array.pk]),
        move_url=reverse("instance_array_move", args=[array.pk]),
        spec=f"{array.count} × {kind.label} · {kind.cores} cores · {kind.ram_gb} GB",
        count=array.count,
        draft=not array.is_deployed,
        lamps=Lamps(Counter(shown for _, shown, _ in rows)),
    )
    if with_bays:
        shown_rows, node.more = _shown(rows)
        node.bays = [
            (
                url,
                "",
                POWER_WORD[shown],
                str(number),
                f"{array.label}-{number}, {shown.label.lower()}",
                f"{array.topic}:{number}",
                "",
                "",
            )
            for number, shown, _ in shown_rows
        ]
    return node


def _drive_array_node(array: DriveArray, card: canvas.Card, rows: list[DriveRow], *, with_bays: bool) -> Node:
    whole = sum(row[4] for row in rows) * MB
    used = sum(row[3] for row in rows)
    each = words.size(array.size_mb * MB)
    node = Node(
        topic=array.topic,
        kind="drive_array",
        type_name="DriveArray",
        label=array.label,
        x=array.x,
        y=array.y,
        width=canvas.CARD_W,
        height=card.height,
        url=array.get_absolute_url(),
        card_url=reverse("drive_array_card", args=[array.pk]),
        move_url=reverse("drive_array_move", args=[array.pk]),
        spec=f"{array.count} × {each} · {array.storage_type}",
        count=array.count,
        attached_to=str(array.instance_array) if array.instance_array else "",
        detached=array.instance_array is None,
        draft=not array.is_deployed,
        used=_percent(used, whole),
        snapshots=words.counted(sum(row[2] for row in rows), "snapshot"),
        holds=sum(bool(row[5]) for row in rows),
    )
    if with_bays:
        shown_rows, node.more = _shown(rows)
        twin = f"instance-array-{array.instance_array_id}" if array.instance_array_id else array.topic
        # Reversing one pattern for thousands of drives costs more than drawing them.
        pattern = reverse("snapshots:list", args=[0]).replace("/0/", "/{}/")
        node.bays = [
            (
                pattern.format(pk),
                "drive",
                "",
                str(number),
                f"{array.label}-{number}: {snapshots} of 5 snapshots, {' of '.join(words.size_of(used, size_mb * MB))}."
                + (f" {hold}" if hold else "")
                + (f" {whose}" if whose else ""),
                f"{twin}:{number}",
                str(snapshots),
                hold,
            )
            for pk, number, snapshots, used, size_mb, hold, whose in shown_rows
        ]
    return node


def _percent(part: int, whole: int) -> str:
    """"45 % used"; a little is not nothing."""
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


# ── Pages and fragments ──────────────────────────────────────────────────────


def canvas_context(request: HttpRequest, infrastructure: Infrastructure, *, selected: str = "") -> dict[str, Any]:
    """What templates/editor/canvas.html needs, alone or behind a panel."""
    event = last_event_id()
    context = member_context(request, infrastructure)
    return context | {"event": event, "scene": draw(infrastructure, selected=selected)}


@require_GET
def page(request: Request, pk: int) -> HttpResponse:
    """The canvas without a panel; asked for as a fragment it is a closed panel: nothing."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    if is_partial(request):
        return HttpResponse("", headers={"Vary": "HX-Request, HX-Request-Type"})
    return render(request, "editor/canvas.html", canvas_context(request, infrastructure))


@require_GET
def nodes(request: Request, pk: int) -> HttpResponse:
    """The whole world anew; with ?of=drive-array-3,instance-array-2 these cards alone, with their bays."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    of = {topic for topic in request.GET.get("of", "").split(",") if topic}
    context = member_context(request, infrastructure)
    context["scene"] = draw(infrastructure, selected=request.GET.get("selected", ""), only=of or None)
    return render(request, "editor/canvas.html#" + ("cards" if of else "world"), context)


@require_GET
def wiring(request: Request, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    context = member_context(request, infrastructure) | {"scene": draw(infrastructure, only=set("-"))}
    return render(request, "editor/canvas.html#wiring", context)


@require_GET
def status(request: Request, pk: int) -> HttpResponse:
    """The counts in the footer."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    _, lamps = _instances(infrastructure)
    drives = Drive.objects.filter(drive_array__infrastructure=infrastructure)
    totals = drives.aggregate(snapshots=Sum("snapshot_count", default=0))
    counts = {
        "lamps": lamps,
        "servers": sum(lamps.counts.values()),
        "drives": drives.count(),
        "snapshots": totals["snapshots"],
    }
    return render(
        request, "editor/canvas.html#counts", member_context(request, infrastructure) | {"scene": counts}
    )


@require_GET
def instance_array_card(request: Request, pk: int) -> HttpResponse:
    return _card(request, visible(request, InstanceArray.objects.select_related("infrastructure"), pk))


@require_GET
def drive_array_card(request: Request, pk: int) -> HttpResponse:
    return _card(request, visible(request, DriveArray.objects.select_related("infrastructure"), pk))


@require_GET
def network_card(request: Request, pk: int) -> HttpResponse:
    return _card(request, visible(request, Network.objects.select_related("infrastructure"), pk))


def _card(request: Request, product: InstanceArray | DriveArray | Network) -> HttpResponse:
    scene = draw(product.infrastructure, selected=request.GET.get("selected", ""), only={product.topic})
    context = member_context(request, product.infrastructure) | {"node": scene.nodes[0]}
    return render(request, "editor/canvas.html#card", context)


@require_POST
def move_instance_array(request: Request, pk: int) -> HttpResponse:
    return _move(request, visible(request, InstanceArray.objects.select_related("infrastructure"), pk))


@require_POST
def move_drive_array(request: Request, pk: int) -> HttpResponse:
    return _move(request, visible(request, DriveArray.objects.select_related("infrastructure"), pk))


@require_POST
def move_network(request: Request, pk: int) -> HttpResponse:
    return _move(request, visible(request, Network.objects.select_related("infrastructure"), pk))


def _move(request: Request, product: InstanceArray | DriveArray | Network) -> HttpResponse:
    """Saves the place of a card. Answers 204: the live update draws it, for everyone alike."""
    try:
        x, y = float(request.POST.get("x", "")), float(request.POST.get("y", ""))
        place = canvas.snap(x), canvas.snap(y)
    except (ValueError, OverflowError):
        return HttpResponseBadRequest("A place is two numbers, x and y. Nothing was moved.")
    try:
        actions.move(product, x=place[0], y=place[1], by=request.user)
    except Refused as refusal:
        return HttpResponse(str(refusal), status=409, content_type="text/plain")
    return HttpResponse(status=204)


@require_POST
def tidy(request: Request, pk: int) -> HttpResponse:
    """Puts all cards into their lanes, for everyone."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    try:
        actions.tidy_up(infrastructure, by=request.user)
    except Refused as refusal:
        return HttpResponse(str(refusal), status=409, content_type="text/plain")
    context = member_context(request, infrastructure)
    context["scene"] = draw(infrastructure, selected=request.POST.get("selected", ""))
    return render(request, "editor/canvas.html#world", context)
