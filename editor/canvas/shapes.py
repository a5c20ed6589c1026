"""What stands on the canvas and what runs between, with its measures. Units are px of the world."""

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

GROUP_GAP = 28
CORNER_R = 10


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
    InstanceArray a DriveArray is attached to. Those in `new` it is joined to by the next deploy only."""

    key: str
    x: int
    y: int
    bays: int
    networks: tuple[str, ...] = ()
    of: str = ""
    draft: bool = False
    new: frozenset[str] = frozenset()

    def joins(self, key: str) -> bool:
        """Whether its cable to this is a draft."""
        return self.draft or key in self.new

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
    path = f"M{px(points[0][0])} {px(points[0][1])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        enter, leave = _toward(corner, before, radius), _toward(corner, after, radius)
        path += f"L{pair(enter)}Q{pair(corner)} {pair(leave)}"
    return path + f"L{pair(points[-1])}"


def _toward(start: Point, end: Point, radius: float) -> Point:
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    share = min(radius, length / 2) / length if length else 0
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def pair(point: Point) -> str:
    """Answers a point as SVG takes it."""
    return f"{px(point[0])} {px(point[1])}"


def px(value: float) -> str:
    """Answers a coordinate as SVG takes it, to a tenth of a px."""
    return f"{value:.1f}".removesuffix(".0")


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
