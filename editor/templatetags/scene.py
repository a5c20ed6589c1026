"""What a canvas has by the thousand, written in one go: a template variable costs as much as a whole line here.

Labels are typed by people and escaped; ids, addresses of pages, kinds, numbers and states are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString

from editor.canvas import px
from editor.templatetags.editor import POWER_WORD, sprite

if TYPE_CHECKING:
    from editor.canvas import Edge, Joint
    from editor.views.cards import Bay, Lamps, Node

register = template.Library()


@register.simple_tag
def frame(node: Node) -> SafeString:
    """The attributes of a card: its place, what keeps it fresh, where its place is saved."""
    topic = node.topic
    return SafeString(
        f'id="node-{topic}" data-node data-x="{node.x}" data-y="{node.y}" data-w="{node.width}" data-h="{node.height}"'
        f' data-move="{node.move_url}" hx-get="{node.card_url}" hx-target="this" hx-swap="outerMorph"'
        f' hx-push-url="false" hx-trigger="{topic} from:body delay:200ms"'
        + (f' data-change="{node.change}"' if node.change else "")
        + (" data-ui-selected" if node.selected else "")
        + (" data-plain" if node.bays is None and not node.net else "")
    )


@register.simple_tag
def opener(node: Node) -> SafeString:
    """The attributes of the link that opens a card's panel; it lies over the whole card, its bays lie over it.

    Its name is an attribute: hidden words are clipped boxes, which make drawing a thousand cards slow.
    """
    return SafeString(
        f'class="node__open" href="{node.url}" hx-get="{node.url}" aria-label="{escape(node.name)}"'
        + (' aria-current="true"' if node.selected else "")
    )


@register.simple_tag
def lamps(counts: Lamps) -> SafeString:
    """How many servers are in each state; the words are visible where there is room."""
    hidden = "" if counts.in_words else ' class="vh"'
    states = ((POWER_WORD[power], number, word) for power, number, word in counts.shown)
    return SafeString(
        "".join(
            f'<span data-power="{state}">{_lamp(state)}{number}<span{hidden}> {word}</span></span>'
            for state, number, word in states
        )
    )


def _lamp(word: str) -> str:
    return f'<svg class="lamp" aria-hidden="true"><use href="{sprite()}#i-lamp-{word}"/></svg>'


@register.simple_tag
def bays(rows: Iterable[Bay]) -> SafeString:
    """The bays of a card: links with a lamp or five ticks."""
    return SafeString("".join(map(_bay, rows)))


def _bay(bay: Bay) -> str:
    says = escape(bay.says)
    kind, state, before, after = "bay", "", "", ""
    if bay.power:
        before = _lamp(bay.power)
        state = f' data-power="{bay.power}"'
        if bay.seen_at:
            state += f' data-seen="{bay.server}" data-seen-at="{bay.seen_at}"'
    elif bay.snapshots is not None:
        kind = "bay bay--drive"
        after = f'<span class="ticks" data-n="{min(5, bay.snapshots)}" aria-hidden="true"></span>'
    if bay.change:
        state += f' data-change="{bay.change}"'
    if bay.held:
        state += " data-busy"
    return (
        f'<li><a class="{kind}" href="{bay.url}" hx-get="{bay.url}" tabindex="-1" data-twin-of="{bay.twin}"'
        f' aria-label="{says}"{state}>{before}<span>{bay.number}</span>{after}</a></li>'
    )


# ── Cables ───────────────────────────────────────────────────────────────────


BUNDLE = 48
"""On a large canvas so many cables are one path: what is painted counts, not how long it is."""


@register.simple_tag
def cables(edges: Sequence[Edge], many: bool = False) -> SafeString:  # noqa: FBT001, FBT002 - from a template
    """Cables as SVG paths; `data-points` and `data-of` let canvas-wires.js light and stretch those of one card.

    Of many, those are not painted until they are needed; bundles are painted in their place.
    """
    singles = "".join(
        f'<path class="edge{" edge--single" if many else ""}" data-net="{edge.net}" data-of="{" ".join(edge.of)}"'
        f' data-points="{_points(edge)}"{"" if many else _d(edge)}'
        f"{' data-rail' if edge.leaves_rail else ''}{' data-draft' if edge.draft else ''}/>"
        for edge in edges
    )
    return SafeString(_bundles(edges) + singles if many else singles)


def _d(edge: Edge) -> str:
    return f' d="{edge.d}"'


def _points(edge: Edge) -> str:
    return " ".join(f"{px(x)},{px(y)}" for x, y in edge.points)


def _bundles(edges: Sequence[Edge]) -> str:
    drawn = ""
    for (net, draft), group in groupby(edges, key=lambda edge: (edge.net, edge.draft)):
        paths = [edge.d for edge in group]
        for start in range(0, len(paths), BUNDLE):
            path = "".join(paths[start : start + BUNDLE])
            drawn += f'<path class="edge" data-net="{net}" d="{path}"{" data-draft" if draft else ""}/>'
    return drawn


@register.simple_tag
def halos(paths: Iterable[str]) -> SafeString:
    """Where a cable passes over another, the lower one is broken by the colour of the ground."""
    return SafeString("".join(f'<path class="edge edge--halo" d="{path}"/>' for path in paths))


@register.simple_tag
def joints(marks: Sequence[Joint], many: bool = False) -> SafeString:  # noqa: FBT001, FBT002 - from a template
    """Ports and junctions: circles for WAN, squares for LAN, diamonds for SAN, dots where a cable leaves a rail.

    None has a transform: a thousand of those make every frame of a zoom several times as slow in Chromium.
    """
    if many:
        return SafeString(_joint_bundles(marks))
    return SafeString(
        "".join(
            f'<path class="joint{" joint--solid" if mark.shape == "dot" else ""}" data-net="{mark.net}"'
            f' data-at="{px(mark.x)},{px(mark.y)}" d="{_shape(mark)}"{" data-draft" if mark.draft else ""}/>'
            for mark in marks
        )
    )


def _joint_bundles(marks: Sequence[Joint]) -> str:
    alike: dict[tuple[str, str, bool], list[str]] = {}
    for mark in marks:
        alike.setdefault((mark.shape, mark.net, mark.draft), []).append(_shape(mark))
    drawn = ""
    for (shape, net, draft), paths in alike.items():
        solid = " joint--solid" if shape == "dot" else ""
        for start in range(0, len(paths), BUNDLE):
            path = "".join(paths[start : start + BUNDLE])
            drawn += f'<path class="joint{solid}" data-net="{net}" d="{path}"{" data-draft" if draft else ""}/>'
    return drawn


def _shape(mark: Joint) -> str:
    x, y = mark.x, mark.y
    match mark.shape:
        case "dot":
            return f"M{px(x - 2)} {px(y)}a2 2 0 1 0 4 0a2 2 0 1 0-4 0z"
        case "wan":
            return f"M{px(x - 4)} {px(y)}a4 4 0 1 0 8 0a4 4 0 1 0-8 0z"
        case "lan":
            return f"M{px(x - 3.5)} {px(y - 3.5)}h7v7h-7z"
        case _:
            return f"M{px(x)} {px(y - 5)}l5 5-5 5-5-5z"
