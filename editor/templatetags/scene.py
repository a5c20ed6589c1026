"""What a canvas has by the thousand, written in one go: a template variable costs as much as a whole line here.

Labels are typed by people and escaped; ids, addresses of pages, kinds, numbers and states are ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString

from editor.templatetags.editor import POWER_WORD, sprite

if TYPE_CHECKING:
    from editor.canvas import Edge, Joint
    from editor.views.scene import Bay, Lamps, Node

register = template.Library()


@register.simple_tag
def frame(node: Node) -> SafeString:
    """The attributes of a card: its place, what keeps it fresh, where its place is saved."""
    topic = node.topic
    return SafeString(
        f'id="node-{topic}" data-node data-x="{node.x}" data-y="{node.y}" data-w="{node.width}" data-h="{node.height}"'
        f' data-move="{node.move_url}" hx-get="{node.card_url}" hx-target="this" hx-swap="outerMorph"'
        f' hx-push-url="false" hx-trigger="{topic} from:body"'
        + (' data-change="add"' if node.draft else "")
        + (" data-ui-selected" if node.selected else "")
        + (" data-plain" if node.bays is None and not node.net else "")
    )


@register.simple_tag
def opener(node: Node) -> SafeString:
    """The attributes of the link that opens a card's panel.

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
    if bay.snapshots is None:
        before = _lamp(bay.power)
        state = f' data-power="{bay.power}"'
    else:
        kind = "bay bay--drive"
        after = f'<span class="ticks" data-n="{min(5, bay.snapshots)}" aria-hidden="true"></span>'
    if bay.draft:
        state, before, after = ' data-change="add"', "", ""
    if bay.held:
        state += " data-busy"
    return (
        f'<li><a class="{kind}" href="{bay.url}" hx-get="{bay.url}" tabindex="-1" data-twin-of="{bay.twin}"'
        f' aria-label="{says}"{state}>{before}<span>{bay.number}</span>{after}</a></li>'
    )


# ── Cables ───────────────────────────────────────────────────────────────────


@register.simple_tag
def cables(edges: Iterable[Edge]) -> SafeString:
    """Cables as SVG paths; `data-points` and `data-of` let canvas-wires.js stretch those of a card in the hand."""
    return SafeString(
        "".join(
            f'<path class="edge" data-net="{edge.net}" data-of="{" ".join(edge.of)}" data-points="{_points(edge)}"'
            f' d="{edge.d}"{" data-rail" if edge.leaves_rail else ""}{" data-draft" if edge.draft else ""}/>'
            for edge in edges
        )
    )


def _points(edge: Edge) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in edge.points)


@register.simple_tag
def halos(paths: Iterable[str]) -> SafeString:
    """Where a cable passes over another, the lower one is broken by the colour of the ground."""
    return SafeString("".join(f'<path class="edge edge--halo" d="{path}"/>' for path in paths))


# Drawn around the origin, then put in place.
_SHAPES = {
    "dot": '<circle class="joint joint--solid" r="2"',
    "wan": '<circle class="joint" r="4"',
    "lan": '<rect class="joint" x="-3.5" y="-3.5" width="7" height="7"',
    "san": '<path class="joint" d="M0 -5l5 5-5 5-5-5z"',
}


@register.simple_tag
def joints(marks: Iterable[Joint]) -> SafeString:
    """Ports and junctions: circles for WAN, squares for LAN, diamonds for SAN."""
    return SafeString(
        "".join(
            f'{_SHAPES[mark.shape]} data-net="{mark.net}" data-at="{mark.x:g},{mark.y:g}"'
            f' transform="translate({mark.x:g} {mark.y:g})"{" data-draft" if mark.draft else ""}/>'
            for mark in marks
        )
    )
