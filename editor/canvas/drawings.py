"""Small drawings: the minimap of a canvas, and the thumbnail in the list of infrastructures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .shapes import CARD_W, PLATE_H, PLATE_W, Card, Plate, Wiring, bounds, pair, px

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
            px(value)
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
        rails="".join("M" + "L".join(pair(point) for point in edge.points) for edge in edges),
    )


def _outline(card: Card) -> str:
    return f"M{card.x} {card.y}h{CARD_W}v{card.height}h-{CARD_W}z"


# ── In the list of infrastructures ───────────────────────────────────────────

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
        lines.append(("lan", f"M{px(middle)} 10V17"))
        if on_wan:
            lines.append(("wan", f"M{px(middle - 4)} 4V17"))
            last_wan = middle - 4
        boxes.append((middle - 8, 17))
        if drives:
            lines.append(("san", f"M{px(middle)} 25V30"))
        for number in range(drives):
            lines.append(("san", f"M{px(x + number * 20 + 8)} 30V36"))
            boxes.append((x + number * 20, 36))
        last = middle
        x += span * 20 + 4
    lines += [("lan", f"M2 10H{px(last)}"), ("san", f"M2 30H{px(max(last, x - 16))}")]
    if last_wan:
        lines.append(("wan", f"M2 4H{px(last_wan)}"))
    return Thumb(tuple(lines), tuple(boxes))
