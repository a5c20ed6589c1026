"""Where everything stands after "Tidy up"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .shapes import CARD_H, CARD_W, GROUP_GAP, PLATE_H, Card, Plate

LANES_X = 200
FIRST_LANE_Y = 0
NETWORK_STEP_Y = 76
COLUMN_W = CARD_W + 16
LANE_GAP_Y = 32
BAND_GAP_Y = 96


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


def free_place(start: tuple[int, int], height: int, boxes: Iterable[tuple[int, int, int, int]]) -> tuple[int, int]:
    """Answers the first place at or to the right of the start where a card touches no box (x, y, width, height)."""
    x, y = start
    beside = sorted(box for box in boxes if box[1] < y + height + LANE_GAP_Y // 2 and y < box[1] + box[3])
    for left, _, width, _ in beside:
        if left < x + COLUMN_W and x < left + width:
            x = left + width + COLUMN_W - CARD_W
    return x, y
