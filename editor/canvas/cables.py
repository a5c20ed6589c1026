"""How the cables run: rails and branches of networks, and what drives are attached to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .shapes import CARD_W, CORNER_R, GROUP_GAP, PLATE_H, PLATE_W, Card, Edge, Joint, Plate, Point, Wiring, px

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
    branches = [(row[0].card.y - branch_y, row) for row in _rows(blocked, lambda tap: tap.card.y)]
    for y, row in branches:
        stem = _stem(wiring, plate, trunk_x, y, [y for y, _ in branches])
        _rail(wiring, plate, stem, y, [(tap.x, (tap.x, tap.card.y), tap.card) for tap in row])
    wiring.joints += [Joint(plate.kind, plate.kind, *port, draft=card.joins(plate.key)) for _, port, card in straight]
    wiring.joints += [
        Joint(plate.kind, plate.kind, tap.x, tap.card.y, draft=tap.card.joins(plate.key)) for tap in blocked
    ]


def _stem(wiring: Wiring, plate: Plate, trunk_x: float, y: float, branches: Sequence[float]) -> tuple[Point, ...]:
    """How a branch comes from the plate. The farthest one brings the trunk; the others leave it at a dot."""
    same_way = [other for other in branches if (other > plate.rail_y) == (y > plate.rail_y)]
    if y == (max(same_way) if y > plate.rail_y else min(same_way)):
        return ((plate.x, plate.rail_y), (trunk_x, plate.rail_y), (trunk_x, y))
    wiring.joints.append(Joint("dot", plate.kind, trunk_x, y))
    return ((trunk_x, y),)


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
            side = float(plate.y if port[1] < y else plate.y + PLATE_H)
            if side == port[1]:  # they touch: the cable lies under the plate
                side = y
            edges.append(Edge(plate.kind, ((x, side), port), (plate.key, card.key), card.joins(plate.key)))
    for start, side_ends in (
        (right, sorted((end for end in ends if end[0] >= right), key=lambda end: (end[0], end[2].key))),
        (
            left,
            sorted((end for end in ends if end[0] <= left and end[0] < right), key=lambda end: (-end[0], end[2].key)),
        ),
    ):
        # What is real goes as far as the farthest real tap; beyond that the rail itself is a draft.
        real = [end for end in side_ends if not end[2].joins(plate.key)]
        turns = [real[-1]] if real else []
        if side_ends and side_ends[-1] not in turns:
            turns.append(side_ends[-1])
        for x, port, card in side_ends:
            if (x, port, card) not in turns:
                is_new = card.joins(plate.key)
                edges.append(Edge(plate.kind, ((x, y), port), (plate.key, card.key), is_new, leaves_rail=True))
                wiring.joints.append(Joint("dot", plate.kind, x, y))
        begin: tuple[Point, ...] = stem or ((start, y),)
        for x, port, card in turns:
            points = _simple((*begin, (x, y), port))
            is_new = card.joins(plate.key)
            leaves = len(stem) == 1 or begin != (stem or ((start, y),))
            edges.append(Edge(plate.kind, points, (plate.key, card.key), is_new, leaves_rail=leaves))
            begin = ((x, y),)


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
    branches = [
        (max(tap.card.bottom for tap in row) + SAN_RAIL_Y, row) for row in _rows(blocked, lambda tap: tap.card.bottom)
    ]
    stretches: list[tuple[tuple[Point, ...], float, list[_Tap]]] = [((), plate.rail_y, straight)] if straight else []
    for level, row in branches:
        stretches.append((_stem(wiring, plate, trunk_x, level, [y for y, _ in branches]), level, row))
    for stem, y, row in stretches:
        _san_rail(wiring, plate, stem, y, [tap.x for tap in row])
        for tap in row:
            rails[tap.card.key] = y
            points = ((tap.x, y), (tap.x, float(tap.card.bottom)))
            is_new = tap.card.joins(plate.key)
            wiring.edges.append(Edge("san", points, (plate.key, tap.card.key), is_new, leaves_rail=True))
            wiring.joints.append(Joint("san", "san", tap.x, y))
            wiring.joints.append(Joint("san", "san", tap.x, tap.card.bottom, draft=is_new))
    return rails


def _san_rail(wiring: Wiring, plate: Plate, stem: tuple[Point, ...], y: float, taps: Sequence[float]) -> None:
    right, left = max(taps), min(taps)
    if stem:
        start = stem[-1][0]
        if right > start or len(stem) > 1:
            points = _simple((*stem, (max(right, start), y)))
            wiring.edges.append(Edge("san", points, (plate.key,), leaves_rail=len(stem) == 1))
    else:
        start = float(plate.x)
        if right > plate.x + PLATE_W:
            wiring.edges.append(Edge("san", ((plate.x + PLATE_W, y), (right, y)), (plate.key,)))
    if left < start:
        wiring.edges.append(Edge("san", ((start, y), (left, y)), (plate.key,), leaves_rail=bool(stem)))


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
            wiring.joints.append(Joint("san", "san", card.middle, card.y, draft=card.joins(card.of)))
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
    is_new = drives.joins(owner.key)
    start: Point = (owner.middle, owner.bottom)
    end: Point = (drives.middle, drives.y)
    # Too close above the drives, there is no room to turn below it.
    over = rail if rail is not None and owner.bottom < rail < drives.y - 2 * CORNER_R else None
    if drives.y > owner.bottom + 2 * CORNER_R:
        if is_new and over is not None:
            start = (start[0], over)  # nothing is made yet: only the way from the rail is shown
        if start[0] == end[0]:
            return Edge("san", (start, end), (owner.key, drives.key), is_new)
        least = (owner.bottom if over is None else over) + CORNER_R
        fork = forks.height(max(least, drives.y - FORK_Y), least, start[0], end[0], owner.key)
        turned = (start, (start[0], fork), (end[0], fork), end)
        return Edge("san", turned, (owner.key, drives.key), is_new)
    # Beside or above its owner: out below, past both cards, in from above.
    down, up = owner.bottom + FORK_Y / 2, drives.y - FORK_Y / 2
    if abs(drives.x - owner.x) > CARD_W + 2 * CORNER_R:
        beside = (max(owner.x, drives.x) + min(owner.x, drives.x) + CARD_W) / 2
    else:
        beside = max(owner.x, drives.x) + CARD_W + GROUP_GAP / 2
    points = _simple((start, (start[0], down), (beside, down), (beside, up), (end[0], up), end))
    return Edge("san", points, (owner.key, drives.key), is_new)


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
                    halos[f"M{px(ax)} {px(y - HALO_PX)}V{px(y + HALO_PX)}"] = None
        else:
            for (x, top), (_, bottom) in upright:
                if ax < x < bx and top < ay < bottom:
                    halos[f"M{px(x - HALO_PX)} {px(ay)}H{px(x + HALO_PX)}"] = None
    wiring.halos += halos


def _legs(edge: Edge) -> list[tuple[Point, Point]]:
    """The straight pieces of a cable, each from left to right or from top to bottom."""
    return [(min(leg), max(leg)) for leg in zip(edge.points, edge.points[1:], strict=False)]
