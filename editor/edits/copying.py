"""Copy and paste: what is drawn like something else. Servers, drives and what is on them are not copied."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import transaction

from editor import canvas
from editor.actions import demand
from editor.design import AnyProduct
from editor.design_rules import why_not_change
from editor.models import DriveArray, InstanceArray, Network, NetworkKind, User
from editor.plan import kind_of
from editor.rules import Refused
from editor.words import named

from .arrays import place
from .draft import Draft, P
from .products import permission, place_of_lan
from .rows import KINDS, rows_of

LABEL_STEM_MAX = 54
"""A copy's label has "-copy" and a number behind it."""


def copy(product: P, *, by: User, key: UUID | None = None) -> P:
    """Adds a product that is drawn like this one, beside it, attached and connected to the same."""
    return copy_all([product], by=by, key=key)[0]  # type: ignore[return-value]


def copy_all(
    products: Collection[AnyProduct], *, by: User, key: UUID | None = None, at: tuple[int, int] | None = None
) -> list[AnyProduct]:
    """Copies several, all or none: what is attached or connected among them is so among their copies.

    They stand beside what they are copies of, or with their upper left corner near `at`, in free places.
    """
    if not products:
        raise Refused("Nothing is selected. Select what shall be copied.")
    first = next(iter(products))
    with transaction.atomic():
        draft = Draft(first.infrastructure_id, by=by, key=key, or_permission=permission("add", first))
        if draft.earlier:
            made = rows_of(topic for topic in draft.earlier.topic_list if kind_of(topic) in KINDS)
            return list(made.values())
        rows = draft.look_at(products)
        for row in rows:
            demand(_why_not_copy(row))
        order = list(KINDS.values())
        copies: dict[str, AnyProduct] = {}
        corner = min(row.x for row in rows), min(row.y for row in rows)
        by_px = (canvas.snap(at[0] - corner[0]), canvas.snap(at[1] - corner[1])) if at else None
        for row in sorted(rows, key=lambda row: order.index(type(row))):
            copies[row.topic] = _copied(draft, row, copies, by_px)
        names = named([row.label for row in rows])
        new = [copies[row.topic] for row in rows]
        url = new[0].get_absolute_url() if len(new) == 1 else ""
        draft.record(f"copy {names}", f"copied {names}"[:114] + " to", named([one.label for one in new]), url=url)
        return new


def _why_not_copy(row: AnyProduct) -> str | None:
    if isinstance(row, Network) and row.kind != NetworkKind.LAN:
        return f"{row.label} exists once in an infrastructure. Only a LAN can be copied."
    return why_not_change(row)


def _copied(draft: Draft, row: AnyProduct, copies: dict[str, AnyProduct], by_px: tuple[int, int] | None) -> AnyProduct:
    """Adds a copy of one product; `copies` are those of what it refers to, by topic. `by_px`: so far away."""
    drawn = draft.drawn(row)
    stem = row.label[:LABEL_STEM_MAX].rstrip("-")
    drawn["label"] = draft.free_label(stem if stem.endswith("-copy") else f"{stem}-copy", numbered=False)
    made: Any = type(row)()
    if isinstance(row, Network):
        made.kind = NetworkKind.LAN
        made.x, made.y = (row.x + by_px[0], row.y + by_px[1]) if by_px else place_of_lan(draft)
        return draft.add(made, drawn)  # type: ignore[no-any-return]
    if isinstance(row, InstanceArray):
        drawn["numbers"] = list(range(1, row.count + 1))
        drawn["interfaces"] = [_copy_of(f"network-{pk}", copies, pk) for pk in drawn["interfaces"]]
    if isinstance(row, DriveArray):
        owner = copies.get(f"instance-array-{row.instance_array_id}")
        if isinstance(owner, InstanceArray):
            drawn["instance_array"] = owner.pk
            drawn["numbers"] = list(range(1, row.count + 1))
    dx, dy = by_px or (0, 0)
    made.x, made.y = place(draft, {}, canvas.card_height(row.count), start=(row.x + dx, row.y + dy))
    return draft.add(made, drawn)  # type: ignore[no-any-return]


def _copy_of(topic: str, copies: dict[str, AnyProduct], pk: int | None) -> int | None:
    return copies[topic].pk if topic in copies else pk
