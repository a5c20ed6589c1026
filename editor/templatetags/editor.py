"""Small marks that stand on many pages: icons, lamps, power pills, snapshot gauges. A builtin of all templates."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from django import template
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from editor.canvas import Edge, Joint
from editor.models import Power

register = template.Library()

# State words as the style sheets know them; each has a shape of its own, so that colour never says it alone.
POWER_WORD = {
    Power.ON: "on",
    Power.OFF: "off",
    Power.POWERING_ON: "up",
    Power.SHUTTING_DOWN: "down",
    Power.UNKNOWN: "unknown",
}


@cache
def _sprite() -> str:
    return static("icons.svg")


@register.simple_tag
def icon(name: str, size: str = "") -> SafeString:
    """{% icon "server" %} or {% icon "server" "icon--s" %}; decoration, so hidden from screen readers."""
    kind = "lamp" if name.startswith(("lamp-", "port-")) and not size else f"icon {size}".strip()
    return format_html('<svg class="{}" aria-hidden="true"><use href="{}#i-{}"/></svg>', kind, _sprite(), name)


@register.simple_tag
def lamp(power: str) -> SafeString:
    """The shape of a power state; its colour comes from the data-power of the element around it."""
    word = POWER_WORD[Power(power)] if power else "unknown"
    return format_html('<svg class="lamp" aria-hidden="true"><use href="{}#i-lamp-{}"/></svg>', _sprite(), word)


@register.filter
def power_word(power: str) -> str:
    """Answers the value of data-power: on, off, up, down or unknown."""
    return POWER_WORD[Power(power)]


@register.simple_tag
def pill(power: str) -> SafeString:
    """A power state as lamp and word."""
    return format_html(
        '<span class="pill" data-power="{}">{}{}</span>', POWER_WORD[Power(power)], lamp(power), Power(power).label
    )


@register.simple_tag
def ticks(number: int) -> SafeString:
    """Five marks, so many of them filled; text always stands beside them."""
    return format_html('<span class="ticks" data-n="{}" aria-hidden="true"></span>', min(5, number))


@register.simple_tag
def gauge(number: int) -> SafeString:
    """How many of a drive's five snapshots there are."""
    return format_html(
        '<span class="gauge">{}<span>{}/5<span class="vh"> snapshots</span></span></span>', ticks(number), number
    )


@register.simple_tag
def bays(rows: Iterable[tuple[str, ...]]) -> SafeString:
    """The bays of a card, in one go: a page has thousands of them.

    Each row: URL, kind ("" or "drive"), power word, number, what a screen reader says, twin, ticks, hold.
    """
    sprite = _sprite()
    return format_html_join("", "{}", ((_bay(sprite, *row),) for row in rows))


def _bay(
    sprite: str, url: str, kind: str, power: str, number: str, says: str, twin: str, filled: str, hold: str
) -> SafeString:
    link = format_html('href="{}" hx-get="{}" tabindex="-1" data-twin-of="{}" data-tip="{}"', url, url, twin, says)
    label = format_html('<span aria-hidden="true">{}</span>', number)
    said = format_html('<span class="vh">{}</span>', says)
    if kind == "drive":
        busy = SafeString(" data-busy") if hold else ""
        mark = format_html('<span class="ticks" data-n="{}" aria-hidden="true"></span>', filled)
        return format_html('<li><a class="bay bay--drive" {}{}>{}{}{}</a></li>', link, busy, label, mark, said)
    mark = format_html('<svg class="lamp" aria-hidden="true"><use href="{}#i-lamp-{}"/></svg>', sprite, power)
    return format_html('<li><a class="bay" {} data-power="{}">{}{}{}</a></li>', link, power, mark, label, said)


# ── Cables: thousands on a large canvas ──────────────────────────────────────


@register.simple_tag
def cables(edges: Iterable[Edge]) -> SafeString:
    """Cables as SVG paths; `data-points` and `data-of` let canvas-wires.js stretch those of a card in the hand."""
    return format_html_join(
        "",
        '<path class="edge" data-net="{}" data-of="{}" data-points="{}" d="{}"{}{}/>',
        (
            (
                edge.net,
                " ".join(edge.of),
                " ".join(f"{x:g},{y:g}" for x, y in edge.points),
                edge.d,
                SafeString(" data-rail") if edge.leaves_rail else "",
                SafeString(" data-draft") if edge.draft else "",
            )
            for edge in edges
        ),
    )


@register.simple_tag
def halos(paths: Iterable[str]) -> SafeString:
    return format_html_join("", '<path class="edge edge--halo" d="{}"/>', ((path,) for path in paths))


# Drawn around the origin, then put in place.
_JOINTS = {
    "dot": SafeString('<circle class="joint joint--solid" data-net="{}" data-at="{}" transform="{}" r="2"{}/>'),
    "wan": SafeString('<circle class="joint" data-net="{}" data-at="{}" transform="{}" r="4"{}/>'),
    "lan": SafeString(
        '<rect class="joint" data-net="{}" data-at="{}" transform="{}" x="-3.5" y="-3.5" width="7" height="7"{}/>'
    ),
    "san": SafeString('<path class="joint" data-net="{}" data-at="{}" transform="{}" d="M0 -5l5 5-5 5-5-5z"{}/>'),
}


@register.simple_tag
def joints(marks: Iterable[Joint]) -> SafeString:
    """Ports and junctions: circles for WAN, squares for LAN, diamonds for SAN."""
    return format_html_join(
        "",
        "{}",
        (
            (
                format_html(
                    _JOINTS[mark.shape],
                    mark.net,
                    f"{mark.x:g},{mark.y:g}",
                    f"translate({mark.x:g} {mark.y:g})",
                    SafeString(" data-draft") if mark.draft else "",
                ),
            )
            for mark in marks
        ),
    )
