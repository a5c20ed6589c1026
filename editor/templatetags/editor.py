"""Small marks that stand on many pages: icons, lamps, power pills, snapshot gauges. A builtin of all templates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from django import template
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from editor import words
from editor.models import Power

if TYPE_CHECKING:
    from editor.views.power_history import Mark

register = template.Library()

NUMBER_AND_UNIT = re.compile(r"(?<![#\w.-])(\d[\d.]*) (?=[A-Za-z])")
"""Not the numbers that end a name: "web-3", "#3"."""

# State words as the style sheets know them; each has a shape of its own, so that colour never says it alone.
POWER_WORD = {
    Power.ON: "on",
    Power.OFF: "off",
    Power.POWERING_ON: "up",
    Power.SHUTTING_DOWN: "down",
    Power.UNKNOWN: "unknown",
}


@cache
def sprite() -> str:
    """Answers the address of the file with all icons."""
    return static("icons.svg")


@register.simple_tag
def icon(name: str, size: str = "") -> SafeString:
    """{% icon "server" %} or {% icon "server" "icon--s" %}; decoration, so hidden from screen readers."""
    kind = "lamp" if name.startswith(("lamp-", "port-")) and not size else f"icon {size}".strip()
    return format_html('<svg class="{}" aria-hidden="true"><use href="{}#i-{}"/></svg>', kind, sprite(), name)


@register.simple_tag
def lamp(power: str) -> SafeString:
    """The shape of a power state; its colour comes from the data-power of the element around it."""
    word = POWER_WORD[Power(power)] if power else "unknown"
    return format_html('<svg class="lamp" aria-hidden="true"><use href="{}#i-lamp-{}"/></svg>', sprite(), word)


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
def power_line(marks: Iterable[Mark], says: str) -> SafeString:
    """A power state over time, as blocks of different heights; `says` is the same in words."""
    blocks = format_html_join(
        "",
        '<rect data-power="{}" x="{}" width="{}"><title>{}</title></rect>',
        ((POWER_WORD[Power(one.power)], one.x, one.width, one.says) for one in marks),
    )
    return format_html(
        '<svg class="powerline" viewBox="0 0 1000 8" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        says,
        blocks,
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


@register.filter
def counted(number: int, thing: str) -> str:
    """{{ 1|counted:"server" }} answers "1 server", 2 "2 servers"."""
    return words.counted(number, thing)


@register.filter
def unbroken(text: str) -> str:
    """{{ "3 MB, 4 snapshots"|unbroken }} answers the same; no line ends between a number and what it counts."""
    return NUMBER_AND_UNIT.sub("\\1\N{NO-BREAK SPACE}", text)
