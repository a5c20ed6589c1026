"""Where things are on the canvas, and how the cables between them run. Pure: rows in, boxes and SVG paths out.

Units are px of the world, before zoom; x grows to the right, y down. Lanes from top to bottom: WAN, LANs,
InstanceArrays, SAN, DriveArrays. A network is a plate with a horizontal rail; arrays tap the rails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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
FORK_STEP_Y = 8
TRUNK_X = 20
TRUNK_STEP_X = 12
"""Where the rail cannot be reached straight, a trunk left of all plates leads to a branch rail of that row of cards."""
BRANCH_WAN_Y, BRANCH_LAN_Y, BRANCH_STEP_Y = 64, 40, 10
SAN_RAIL_Y = 54
"""A SAN rail runs so far below the InstanceArrays, as in a tidy drawing."""
SAME_ROW_Y = 120
HALO_PX = 9
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
    """A cable. `points` are its corners before rounding, from the first card of `of` to the second.

    One that `leaves_rail` does not begin at the network's plate but at a dot on its rail.
    """

    net: str
    points: tuple[Point, ...]
    of: tuple[str, ...] = ()
    draft: bool = False
    leaves_rail: bool = False

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
    """Answers the cables between cards that stand where they stand, tidy or moved by hand.

    All legs are horizontal or vertical; every cable begins and ends at a plate, a rail or the edge of a card.
    """
    wiring = Wiring()
    obstacles = _Obstacles([*instance_arrays, *drive_arrays])
    by_key = {plate.key: plate for plate in plates}
    taps: dict[str, list[_Tap]] = {plate.key: [] for plate in plates}
    for card in instance_arrays:
        lans = 0
        for key in dict.fromkeys(card.networks):
            plate = by_key.get(key)
            if plate is None:
                continue
            x = card.middle
            if plate.kind == "wan":
                x = card.x + WAN_TAP_X
            elif plate.kind == "lan":
                x += lans * LAN_TAP_STEP_X
                lans += 1
            taps[key].append(_Tap(x, card))
    rails: dict[str, float] = {}
    left = min((plate.x for plate in plates), default=0) - TRUNK_X
    lans = 0
    for number, plate in enumerate(sorted(plates, key=lambda one: (_LANES.index(one.kind), one.key))):
        trunk_x = left - number * TRUNK_STEP_X
        if plate.kind == "san":
            rails |= _wire_san(wiring, plate, taps[plate.key], trunk_x, obstacles)
        else:
            offset = BRANCH_WAN_Y if plate.kind == "wan" else max(BRANCH_STEP_Y, BRANCH_LAN_Y - lans * BRANCH_STEP_Y)
            lans += plate.kind == "lan"
            _wire_network(wiring, plate, taps[plate.key], obstacles, trunk_x=trunk_x, branch_y=offset)
    _attach_all(wiring, {card.key: card for card in instance_arrays}, drive_arrays, rails)
    _break_where_wan_crosses(wiring)
    return wiring


_LANES = ("wan", "lan", "san")


@dataclass(frozen=True)
class _Tap:
    """Where a card wants to be joined to a network: at this x, on its upper or lower edge."""

    x: float
    card: Card


class _Obstacles:
    """All array cards, found by the columns they stand in."""

    def __init__(self, cards: Iterable[Card]) -> None:
        self._columns: dict[int, list[Card]] = {}
        for card in cards:
            for column in range(card.x // CARD_W, (card.x + CARD_W) // CARD_W + 1):
                self._columns.setdefault(column, []).append(card)

    def between(self, x: float, top: float, bottom: float, own: Card) -> bool:
        """Whether another card stands in the way of a vertical line."""
        return any(
            card.x < x < card.x + CARD_W and card.y < bottom and top < card.bottom and card.key != own.key
            for card in self._columns.get(math.floor(x / CARD_W), ())
        )


def _wire_network(
    wiring: Wiring,
    plate: Plate,
    taps: list[_Tap],
    obstacles: _Obstacles,
    *,
    trunk_x: float,
    branch_y: float,
) -> None:
    """Joins cards to a WAN or LAN; rows that cannot be reached straight get a branch, `branch_y` px above them."""
    straight: list[tuple[float, Point, Card]] = []
    blocked: list[_Tap] = []
    for tap in taps:
        card, y = tap.card, plate.rail_y
        if y < card.y and not obstacles.between(tap.x, y, card.y, card):
            straight.append((tap.x, (tap.x, card.y), card))
        elif y > card.bottom and not obstacles.between(tap.x, card.bottom, y, card):
            straight.append((tap.x, (tap.x, card.bottom), card))
        else:
            blocked.append(tap)
    _rail(wiring, plate, (), plate.rail_y, straight)
    for row in _rows(blocked, lambda tap: tap.card.y):
        y = row[0].card.y - branch_y
        stem = ((plate.x, plate.rail_y), (trunk_x, plate.rail_y), (trunk_x, y))
        _rail(wiring, plate, stem, y, [(tap.x, (tap.x, tap.card.y), tap.card) for tap in row])
    wiring.joints += [Joint(plate.kind, plate.kind, *port, draft=card.draft) for _, port, card in straight]
    wiring.joints += [Joint(plate.kind, plate.kind, tap.x, tap.card.y, draft=tap.card.draft) for tap in blocked]


def _rows(taps: list[_Tap], level: Callable[[_Tap], int]) -> list[list[_Tap]]:
    """Taps at about the same height, from top to bottom."""
    rows: list[list[_Tap]] = []
    for tap in sorted(taps, key=lambda one: (level(one), one.x, one.card.key)):
        if not rows or level(tap) - level(rows[-1][0]) > SAME_ROW_Y:
            rows.append([])
        rows[-1].append(tap)
    return rows


def _rail(
    wiring: Wiring, plate: Plate, stem: tuple[Point, ...], y: float, ends: list[tuple[float, Point, Card]]
) -> None:
    """A rail runs to its farthest tap on each side and turns into it; the taps between leave it at a dot.

    It begins at the plate, or at the end of the stem.
    """
    edges = wiring.wan_edges if plate.kind == "wan" else wiring.edges
    right, left = (stem[-1][0], stem[-1][0]) if stem else (float(plate.x + PLATE_W), float(plate.x))
    for x, port, card in ends:
        if left < x < right:  # right above or below the plate
            side = plate.y if port[1] < y else plate.y + PLATE_H
            edges.append(Edge(plate.kind, ((x, side), port), (plate.key, card.key), card.draft))
    for start, side_ends in (
        (right, sorted((end for end in ends if end[0] >= right), key=lambda end: (end[0], end[2].key))),
        (
            left,
            sorted((end for end in ends if end[0] <= left and end[0] < right), key=lambda end: (-end[0], end[2].key)),
        ),
    ):
        for x, port, card in side_ends[:-1]:
            edges.append(Edge(plate.kind, ((x, y), port), (plate.key, card.key), card.draft, leaves_rail=True))
            wiring.joints.append(Joint("dot", plate.kind, x, y))
        for x, port, card in side_ends[-1:]:
            points = _simple((*(stem or ((start, y),)), (x, y), port))
            edges.append(Edge(plate.kind, points, (plate.key, card.key)))


def _simple(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Without corners that are none: doubled points, and points on a straight leg."""
    kept: list[Point] = []
    for point in points:
        if kept and kept[-1] == point:
            continue
        while len(kept) > 1 and _on_one_line(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    return tuple(kept)


def _on_one_line(a: Point, b: Point, c: Point) -> bool:
    return a[0] == b[0] == c[0] or a[1] == b[1] == c[1]


def _wire_san(
    wiring: Wiring, plate: Plate, taps: list[_Tap], trunk_x: float, obstacles: _Obstacles
) -> dict[str, float]:
    """InstanceArrays drop into the rail from above, and their attachments go on below. Answers each card's rail."""
    rails: dict[str, float] = {}
    straight: list[_Tap] = []
    blocked: list[_Tap] = []
    for tap in taps:
        reached = tap.card.bottom < plate.rail_y and not obstacles.between(
            tap.x, tap.card.bottom, plate.rail_y, tap.card
        )
        (straight if reached else blocked).append(tap)
    stretches: list[tuple[tuple[Point, ...], float, list[_Tap]]] = []
    if straight:
        stretches.append(((), plate.rail_y, straight))
    for row in _rows(blocked, lambda tap: tap.card.bottom):
        below = max(tap.card.bottom for tap in row) + SAN_RAIL_Y
        stretches.append((((plate.x, plate.rail_y), (trunk_x, plate.rail_y), (trunk_x, below)), below, row))
    for stem, y, row in stretches:
        right, left = max(tap.x for tap in row), min(tap.x for tap in row)
        if stem:
            wiring.edges.append(Edge("san", _simple((*stem, (right, y))), (plate.key,)))
        elif right > plate.x + PLATE_W:
            wiring.edges.append(Edge("san", ((plate.x + PLATE_W, y), (right, y)), (plate.key,)))
        start = stem[-1][0] if stem else float(plate.x)
        if left < start:
            wiring.edges.append(Edge("san", ((start, y), (left, y)), (plate.key,), leaves_rail=bool(stem)))
        for tap in row:
            rails[tap.card.key] = y
            points = ((tap.x, y), (tap.x, float(tap.card.bottom)))
            wiring.edges.append(Edge("san", points, (plate.key, tap.card.key), tap.card.draft, leaves_rail=True))
            wiring.joints.append(Joint("san", "san", tap.x, y))
            wiring.joints.append(Joint("san", "san", tap.x, tap.card.bottom, draft=tap.card.draft))
    return rails


def _attach_all(wiring: Wiring, owners: dict[str, Card], drive_arrays: Sequence[Card], rails: dict[str, float]) -> None:
    """Draws what drives are attached to, the drafts first: what is real lies over them."""
    forks = _Forks()
    families: dict[str, list[Card]] = {}
    for card in drive_arrays:
        if card.of in owners:
            families.setdefault(card.of, []).append(card)
    attached: list[Edge] = []
    for key, family in families.items():
        owner, rail = owners[key], rails.get(key)
        for card in family:
            attached.append(_attach(owner, card, rail, forks))
            wiring.joints.append(Joint("san", "san", card.middle, card.y, draft=card.draft))
        if rail is None:
            wiring.joints.append(Joint("san", "san", owner.middle, owner.bottom, draft=owner.draft))
    wiring.edges += sorted(attached, key=lambda edge: not edge.draft)


class _Forks:
    """Hands out heights to horizontal legs, so that those of different owners do not lie on each other."""

    def __init__(self) -> None:
        self._taken: dict[int, list[tuple[float, float, str]]] = {}

    def height(self, wanted: float, least: float, start: float, end: float, owner: str) -> float:
        left, right = min(start, end), max(start, end)
        y = wanted
        while y - FORK_STEP_Y >= least and self._is_taken(y, left, right, owner):
            y -= FORK_STEP_Y
        self._taken.setdefault(self._level(y), []).append((left, right, owner))
        return y

    def _is_taken(self, y: float, left: float, right: float, owner: str) -> bool:
        return any(other != owner and a < right and left < b for a, b, other in self._taken.get(self._level(y), ()))

    @staticmethod
    def _level(y: float) -> int:
        return math.floor(y / FORK_STEP_Y)


def _attach(owner: Card, drives: Card, rail: float | None, forks: _Forks) -> Edge:
    """One line says both what the drives are attached to and over which network: it passes the SAN's rail."""
    start: Point = (owner.middle, owner.bottom)
    end: Point = (drives.middle, drives.y)
    over = rail if rail is not None and owner.bottom < rail < drives.y else None
    if drives.y > owner.bottom + 2 * CORNER_R:
        if drives.draft and over is not None:
            start = (start[0], over)  # nothing is made yet: only the way from the rail is shown
        if start[0] == end[0]:
            return Edge("san", (start, end), (owner.key, drives.key), drives.draft)
        least = (owner.bottom if over is None else over) + CORNER_R
        fork = forks.height(max(least, drives.y - FORK_Y), least, start[0], end[0], owner.key)
        turned = (start, (start[0], fork), (end[0], fork), end)
        return Edge("san", turned, (owner.key, drives.key), drives.draft)
    # Beside or above its owner: out below, past both cards, in from above.
    down, up = owner.bottom + FORK_Y / 2, drives.y - FORK_Y / 2
    if abs(drives.x - owner.x) > CARD_W + 2 * CORNER_R:
        beside = (max(owner.x, drives.x) + min(owner.x, drives.x) + CARD_W) / 2
    else:
        beside = max(owner.x, drives.x) + CARD_W + GROUP_GAP / 2
    points = _simple((start, (start[0], down), (beside, down), (beside, up), (end[0], up), end))
    return Edge("san", points, (owner.key, drives.key), drives.draft)


def _break_where_wan_crosses(wiring: Wiring) -> None:
    """Where a WAN cable crosses one of a LAN, a halo in the ground's colour breaks the lower line."""
    lans = [leg for edge in wiring.edges if edge.net == "lan" for leg in _legs(edge)]
    flat = [leg for leg in lans if leg[0][1] == leg[1][1]]
    upright = [leg for leg in lans if leg[0][0] == leg[1][0]]
    halos: dict[str, None] = {}  # a shared trunk crosses once
    for (ax, ay), (bx, by) in (leg for edge in wiring.wan_edges for leg in _legs(edge)):
        if ax == bx:
            for (left, y), (right, _) in flat:
                if left < ax < right and ay < y < by:
                    halos[f"M{_number(ax)} {_number(y - HALO_PX)}V{_number(y + HALO_PX)}"] = None
        else:
            for (x, top), (_, bottom) in upright:
                if ax < x < bx and top < ay < bottom:
                    halos[f"M{_number(x - HALO_PX)} {_number(ay)}H{_number(x + HALO_PX)}"] = None
    wiring.halos += halos


def _legs(edge: Edge) -> list[tuple[Point, Point]]:
    """The straight pieces of a cable, each from left to right or from top to bottom."""
    return [(min(leg), max(leg)) for leg in zip(edge.points, edge.points[1:], strict=False)]


# ── The small map of everything ──────────────────────────────────────────────

MAP_MARGIN = 64


@dataclass(frozen=True)
class Map:
    """The drawing of the minimap: SVG paths in px of the world, and the part of it that they are on."""

    view_box: str
    cards: str
    drafts: str
    rails: str


def minimap(plates: Sequence[Plate], cards: Sequence[Card], wiring: Wiring) -> Map:
    """Answers the whole canvas, without words, in few strokes."""
    around = bounds(plates, cards)
    networks = {plate.key for plate in plates}
    edges = [edge for edge in (*wiring.edges, *wiring.wan_edges) if not edge.leaves_rail and edge.of[0] in networks]
    return Map(
        view_box=" ".join(
            _number(value)
            for value in (
                around.x - MAP_MARGIN,
                around.y - MAP_MARGIN,
                around.width + 2 * MAP_MARGIN,
                around.height + 2 * MAP_MARGIN,
            )
        ),
        cards="".join(
            [f"M{plate.x} {plate.y}h{PLATE_W}v{PLATE_H}h-{PLATE_W}z" for plate in plates]
            + [_outline(card) for card in cards if not card.draft]
        ),
        drafts="".join(_outline(card) for card in cards if card.draft),
        rails="".join("M" + "L".join(_pair(point) for point in edge.points) for edge in edges),
    )


def _outline(card: Card) -> str:
    return f"M{card.x} {card.y}h{CARD_W}v{card.height}h-{CARD_W}z"


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
