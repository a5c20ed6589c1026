"""Where things are on the canvas, and how the cables between them run. Pure: rows in, boxes and SVG paths out.

Units are px of the world, before zoom; x grows to the right, y down. Lanes from top to bottom: WAN, LANs,
InstanceArrays, SAN, DriveArrays. A network is a plate with a horizontal rail; arrays tap the rails.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Point = tuple[float, float]

CARD_W = 252
CARD_H = 124
BAY_ROW_H = 32
BAYS_PER_ROW = 6
BAYS_SHOWN = 24
"""More than that become one less and a "+n"."""
PLATE_W, PLATE_H = 144, 44
GRID = 12

LANES_X = 200
FIRST_LANE_Y = 0
NETWORK_STEP_Y = 76
COLUMN_W = CARD_W + 16
GROUP_GAP = 28
LANE_GAP_Y = 32
BAND_GAP_Y = 96
CORNER_R = 10
FORK_Y = 36
FAR_Y = 320
"""A card this far below a rail is reached through the gap on its left, so that the cable crosses no other card."""
WAN_TAP_X = 56
LAN_TAP_STEP_X = 28


@dataclass(frozen=True)
class Plate:
    """A network's card. `kind` is wan, lan or san."""

    key: str
    kind: str
    x: int
    y: int

    @property
    def rail_y(self) -> float:
        return self.y + PLATE_H / 2


@dataclass(frozen=True)
class Card:
    """An array's card. `networks` are the keys of the networks an InstanceArray is on; `of` is the key of the
    InstanceArray a DriveArray is attached to."""

    key: str
    x: int
    y: int
    bays: int
    networks: tuple[str, ...] = ()
    of: str = ""
    draft: bool = False

    @property
    def height(self) -> int:
        return card_height(self.bays)

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.x + CARD_W / 2


@dataclass(frozen=True)
class Edge:
    """A cable. `of` names the cards that it moves with; `points` are its corners before rounding."""

    net: str
    points: tuple[Point, ...]
    of: tuple[str, ...] = ()
    draft: bool = False

    @property
    def d(self) -> str:
        return poly(self.points)


@dataclass(frozen=True)
class Joint:
    """A port or a junction: `shape` is wan (circle), lan (square), san (diamond) or dot."""

    shape: str
    net: str
    x: float
    y: float
    draft: bool = False


@dataclass
class Wiring:
    """All cables of a canvas, in drawing order: edges, then halos (breaks where WAN crosses), then WAN, then joints."""

    edges: list[Edge] = field(default_factory=list)
    halos: list[str] = field(default_factory=list)
    wan_edges: list[Edge] = field(default_factory=list)
    joints: list[Joint] = field(default_factory=list)


@dataclass(frozen=True)
class Bounds:
    """The rectangle that holds everything."""

    x: float
    y: float
    width: float
    height: float


def card_height(bays: int) -> int:
    """Answers the height of a card with so many bays, px."""
    rows = max(1, math.ceil(min(bays, BAYS_SHOWN) / BAYS_PER_ROW))
    return CARD_H + (rows - 1) * BAY_ROW_H


def poly(points: Sequence[Point], radius: float = CORNER_R) -> str:
    """Answers an SVG path through the points, its corners rounded as far as the legs allow."""
    path = f"M{_number(points[0][0])} {_number(points[0][1])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        enter, leave = _toward(corner, before, radius), _toward(corner, after, radius)
        path += f"L{_pair(enter)}Q{_pair(corner)} {_pair(leave)}"
    return path + f"L{_pair(points[-1])}"


def _toward(start: Point, end: Point, radius: float) -> Point:
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    share = min(radius, length / 2) / length if length else 0
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _pair(point: Point) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# ── Cables ───────────────────────────────────────────────────────────────────


def wire(plates: Sequence[Plate], instance_arrays: Sequence[Card], drive_arrays: Sequence[Card]) -> Wiring:
    """Answers the cables between cards that stand where they stand, tidy or moved by hand."""
    wiring = Wiring()
    by_key = {plate.key: plate for plate in plates}
    owners = {card.key: card for card in instance_arrays}
    taps: dict[str, list[tuple[float, Card]]] = {plate.key: [] for plate in plates}
    for card in instance_arrays:
        lans = 0
        for key in card.networks:
            plate = by_key.get(key)
            if plate is None:
                continue
            if plate.kind == "san":
                taps[key].append((card.middle, card))
            elif plate.kind == "wan":
                taps[key].append((card.x + WAN_TAP_X, card))
            else:
                taps[key].append((card.middle + lans * LAN_TAP_STEP_X, card))
                lans += 1
    for plate in plates:
        if plate.kind == "san":
            _wire_san(wiring, plate, taps[plate.key])
        else:
            _wire_network(wiring, plate, taps[plate.key])
    _break_where_wan_crosses(wiring)
    on_san = {card.key: plate for plate in plates if plate.kind == "san" for _, card in taps[plate.key]}
    for card in drive_arrays:
        if owner := owners.get(card.of):
            _attach(wiring, owner, card, on_san.get(owner.key))
    return wiring


def _wire_network(wiring: Wiring, plate: Plate, taps: list[tuple[float, Card]]) -> None:
    edges = wiring.wan_edges if plate.kind == "wan" else wiring.edges
    ends = []
    for x, card in taps:
        above = plate.rail_y <= card.y
        port: Point = (x, card.y if above else card.bottom)
        if above and card.y - plate.rail_y > FAR_Y:
            gap, turn = card.x - GROUP_GAP / 2, card.y - LANE_GAP_Y / 2
            path: tuple[Point, ...] = ((gap, plate.rail_y), (gap, turn), (x, turn), port)
        else:
            path = ((x, plate.rail_y), port)
        ends.append((path, card))
        wiring.joints.append(Joint(plate.kind, plate.kind, *port, draft=card.draft))
    _rail(edges, wiring, plate, ends)


def _rail(
    edges: list[Edge], wiring: Wiring, plate: Plate, ends: list[tuple[tuple[Point, ...], Card]]
) -> None:
    """The rail runs to its farthest tap on each side and turns into it; the taps between leave it at a dot."""
    sides: tuple[list[tuple[tuple[Point, ...], Card]], ...] = ([], [])
    for path, card in ends:
        sides[path[0][0] < plate.x + PLATE_W / 2].append((path, card))
    for side, start in zip(sides, (plate.x + PLATE_W, plate.x), strict=True):
        side.sort(key=lambda end: abs(end[0][0][0] - start))
        for number, (path, card) in enumerate(side):
            if number == len(side) - 1:
                edges.append(Edge(plate.kind, ((start, plate.rail_y), *path), (plate.key, card.key), card.draft))
            else:
                edges.append(Edge(plate.kind, path, (plate.key, card.key), card.draft))
                wiring.joints.append(Joint("dot", plate.kind, *path[0]))


def _wire_san(wiring: Wiring, plate: Plate, taps: list[tuple[float, Card]]) -> None:
    """The SAN rail is straight: InstanceArrays drop into it from above, and their attachments go on below."""
    if not taps:
        return
    reach = []
    for x, card in taps:
        if card.bottom <= plate.rail_y:
            wiring.edges.append(Edge("san", ((x, card.bottom), (x, plate.rail_y)), (plate.key, card.key), card.draft))
            reach.append(x)
        else:
            gap, turn = card.x - GROUP_GAP / 2 + 6, card.bottom + LANE_GAP_Y / 2
            path = ((gap, plate.rail_y), (gap, turn), (x, turn), (x, card.bottom))
            wiring.edges.append(Edge("san", path, (plate.key, card.key), card.draft))
            reach.append(gap)
        wiring.joints.append(Joint("san", "san", reach[-1], plate.rail_y))
        wiring.joints.append(Joint("san", "san", x, card.bottom, draft=card.draft))
    right, left = max(reach), min(reach)
    if right > plate.x + PLATE_W:
        wiring.edges.append(Edge("san", ((plate.x + PLATE_W, plate.rail_y), (right, plate.rail_y)), (plate.key,)))
    if left < plate.x:
        wiring.edges.append(Edge("san", ((plate.x, plate.rail_y), (left, plate.rail_y)), (plate.key,)))


def _attach(wiring: Wiring, owner: Card, drives: Card, san: Plate | None) -> None:
    start, end = (owner.middle, owner.bottom), (drives.middle, drives.y)
    fork = drives.y - FORK_Y
    points: tuple[Point, ...]
    if fork > owner.bottom + CORNER_R:
        # Over the SAN: the cable passes its rail before it forks, wherever the rail was moved to.
        if san and owner.bottom < san.rail_y < drives.y:
            fork = max(fork, min(san.rail_y + CORNER_R, drives.y - CORNER_R))
        points = (start, (start[0], fork), (end[0], fork), end) if start[0] != end[0] else (start, end)
    else:
        down, up = owner.bottom + FORK_Y, drives.y - FORK_Y
        beside = (owner.x + CARD_W + drives.x) / 2 if drives.x >= owner.x else (drives.x + CARD_W + owner.x) / 2
        if abs(drives.x - owner.x) < CARD_W:
            beside = max(owner.x, drives.x) + CARD_W + GROUP_GAP
        points = (start, (start[0], down), (beside, down), (beside, up), (end[0], up), end)
    wiring.edges.append(Edge("san", points, (owner.key, drives.key), drives.draft))
    wiring.joints.append(Joint("san", "san", *end, draft=drives.draft))
    if san is None:
        wiring.joints.append(Joint("san", "san", *start))


def _break_where_wan_crosses(wiring: Wiring) -> None:
    """Where a WAN cable crosses the rail of a LAN, a halo in the ground's colour breaks the lower line."""
    rails = [
        (a[1], min(a[0], b[0]), max(a[0], b[0]))
        for edge in wiring.edges
        for a, b in zip(edge.points, edge.points[1:], strict=False)
        if a[1] == b[1]
    ]
    for edge in wiring.wan_edges:
        for a, b in zip(edge.points, edge.points[1:], strict=False):
            if a[0] != b[0]:
                continue
            top, bottom = min(a[1], b[1]), max(a[1], b[1])
            wiring.halos += [
                f"M{_number(a[0])} {_number(y - 9)}V{_number(y + 9)}"
                for y, left, right in rails
                if top < y < bottom and left < a[0] < right
            ]


# ── Places ───────────────────────────────────────────────────────────────────


def tidy(
    plates: Sequence[Plate], instance_arrays: Sequence[Card], drive_arrays: Sequence[Card]
) -> dict[str, tuple[int, int]]:
    """Answers a place for every card: in lanes, DriveArrays below their InstanceArray. No two overlap.

    Many arrays are laid in bands below each other, about as wide as high on a screen.
    """
    places: dict[str, tuple[int, int]] = {}
    y = FIRST_LANE_Y
    for plate in sorted((p for p in plates if p.kind != "san"), key=lambda p: (p.kind != "wan", p.key)):
        places[plate.key] = (0, y)
        y += NETWORK_STEP_Y
    y += 24
    known = {card.key for card in instance_arrays}
    stacks: dict[str, list[Card]] = {}
    for card in drive_arrays:
        stacks.setdefault(card.of if card.of in known else "", []).append(card)
    groups: list[tuple[Card | None, list[Card]]] = [(card, stacks.get(card.key, [])) for card in instance_arrays]
    groups += [(None, [card]) for card in stacks.get("", [])]
    san_y: int | None = None
    for band in _bands(groups):
        owner_h = max((owner.height for owner, _ in band if owner), default=CARD_H)
        rail_y = y + owner_h + LANE_GAP_Y
        san_y = rail_y if san_y is None else san_y
        drives_y = rail_y + PLATE_H + LANE_GAP_Y + 16
        x = LANES_X
        for owner, drives in band:
            span = max(1, len(drives)) * COLUMN_W - (COLUMN_W - CARD_W)
            for number, card in enumerate(drives):
                places[card.key] = (x + number * COLUMN_W, drives_y)
            if owner:
                places[owner.key] = (x + (span - CARD_W) // 2, y)
            x += span + GROUP_GAP
        y = drives_y + max((card.height for _, drives in band for card in drives), default=0) + BAND_GAP_Y
    for plate in plates:
        if plate.kind == "san":
            places[plate.key] = (0, y + CARD_H if san_y is None else san_y)
    return places


def _bands(groups: list[tuple[Card | None, list[Card]]]) -> list[list[tuple[Card | None, list[Card]]]]:
    """Cuts the groups into bands of at most so many columns that the whole is about 16 : 9."""
    columns = sum(max(1, len(drives)) for _, drives in groups)
    # A band is about twice as high as a column is wide: w columns in columns / w bands, w : 2 × bands = 16 : 9.
    widest = max(12, math.ceil(math.sqrt(columns * 2 * 16 / 9)))
    bands: list[list[tuple[Card | None, list[Card]]]] = []
    used = widest
    for group in groups:
        wide = max(1, len(group[1]))
        if used + wide > widest and (not bands or bands[-1]):
            bands.append([])
            used = 0
        bands[-1].append(group)
        used += wide
    return bands


def snap(value: float) -> int:
    """Answers the nearest line of the grid."""
    return round(value / GRID) * GRID


def bounds(plates: Iterable[Plate], cards: Iterable[Card]) -> Bounds:
    """Answers the rectangle around all of them; a small one around the origin when there is nothing."""
    boxes = [(p.x, p.y, p.x + PLATE_W, p.y + PLATE_H) for p in plates]
    boxes += [(c.x, c.y, c.x + CARD_W, c.bottom) for c in cards]
    if not boxes:
        return Bounds(0, 0, PLATE_W, PLATE_H)
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return Bounds(left, top, max(box[2] for box in boxes) - left, max(box[3] for box in boxes) - top)


# ── The drawing in the list of infrastructures ───────────────────────────────

THUMB_W, THUMB_H = 112, 48
THUMB_COLUMNS = 5


@dataclass(frozen=True)
class Thumb:
    """A small drawing: `lines` are (network kind, SVG path), `boxes` the upper left corners of 16 × 8 rectangles."""

    lines: tuple[tuple[str, str], ...]
    boxes: tuple[tuple[float, float], ...]
    empty: bool = False


def thumb(arrays: Sequence[tuple[bool, int]]) -> Thumb:
    """Answers the drawing for InstanceArrays, each as (is it on the WAN, how many DriveArrays); the first few."""
    if not arrays:
        return Thumb((), ((8, 17), (8, 36)), empty=True)
    lines: list[tuple[str, str]] = []
    boxes: list[tuple[float, float]] = []
    x, last_wan, last = 8.0, 0.0, 0.0
    columns = 0
    for on_wan, drives in arrays:
        span = max(1, drives)
        if columns + span > THUMB_COLUMNS:
            break
        columns += span
        middle = x + (span * 20 - 4) / 2
        lines.append(("lan", f"M{_number(middle)} 10V17"))
        if on_wan:
            lines.append(("wan", f"M{_number(middle - 4)} 4V17"))
            last_wan = middle - 4
        boxes.append((middle - 8, 17))
        if drives:
            lines.append(("san", f"M{_number(middle)} 25V30"))
        for number in range(drives):
            lines.append(("san", f"M{_number(x + number * 20 + 8)} 30V36"))
            boxes.append((x + number * 20, 36))
        last = middle
        x += span * 20 + 4
    lines += [("lan", f"M2 10H{_number(last)}"), ("san", f"M2 30H{_number(max(last, x - 16))}")]
    if last_wan:
        lines.append(("wan", f"M2 4H{_number(last_wan)}"))
    return Thumb(tuple(lines), tuple(boxes))
