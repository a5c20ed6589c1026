"""The power history on the Instances tab: a line for each instance, and the same in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from editor.models import InstanceArray, Power
from editor.timelines import Segment, timelines_of
from editor.views.instance_rows import Row

WIDTH = 1000
"""Of a line, in units of its own: it is as wide as there is room."""
LEAST = 5.0
"""What was short is drawn at least so wide, or a restart in a week would not be seen."""
TOLD = 4
"""More changes than that are counted, not told."""


@dataclass(frozen=True)
class Span:
    """How far back one looks. `key` stands in the address."""

    key: str
    name: str
    length: timedelta

    @property
    def query(self) -> str:
        """What stands behind the address of a page that shows this span."""
        return "" if self == SPANS[0] else f"?history={self.key}"


SPANS = (Span("24h", "24 hours", timedelta(hours=24)), Span("7d", "7 days", timedelta(days=7)))


@dataclass(frozen=True)
class Mark:
    """One segment as it is drawn, in units of WIDTH."""

    power: str
    x: float
    width: float
    says: str


@dataclass(frozen=True)
class Line:
    """One instance. `says` is the whole line in words, `latest` the end of it."""

    pk: int
    label: str
    marks: tuple[Mark, ...]
    says: str
    latest: str


@dataclass(frozen=True)
class History:
    """All of it, and what else can be looked at."""

    span: Span
    spans: tuple[Span, ...]
    lines: tuple[Line, ...]

    @property
    def legend(self) -> list[tuple[list[Mark], str]]:
        """One mark of each shape, and its word."""
        shapes = ((Power.ON, "On"), (Power.OFF, "Off"), (Power.POWERING_ON, "Changing"), (Power.UNKNOWN, "Unknown"))
        return [([Mark(power, 0, WIDTH, word)], word) for power, word in shapes]


def span_of(key: str) -> Span:
    """Answers the span that was asked for, anything else means the first."""
    return next((one for one in SPANS if one.key == key), SPANS[0])


def history_of(array: InstanceArray, rows: Iterable[Row], *, span: Span, now: datetime) -> History:
    """Answers the history of these rows over a span."""
    shown = [row for row in rows if row.topic]
    found = timelines_of(array, {row.pk: row.power.value for row in shown}, span=span.length, now=now)
    return History(span, SPANS, tuple(_line(row, found[row.pk], span, now) for row in shown))


def _line(row: Row, found: list[Segment], span: Span, now: datetime) -> Line:
    latest = found[-1]
    is_all = latest.since <= now - span.length
    return Line(
        pk=row.pk,
        label=row.label,
        marks=tuple(mark for mark in _marks(found, span) if mark.power),
        says=f"Power of {row.label} in the last {span.name}: {_told(found, span, is_all=is_all)}.",
        latest=f"{_word(latest)} all {span.name}" if is_all else f"{_word(latest)} since {_time(latest.since, span)}",
    )


def _marks(found: list[Segment], span: Span) -> Iterator[Mark]:
    """Answers the segments side by side: what the short ones are given, the long ones do without."""
    widths = [(one.until - one.since) / span.length * WIDTH for one in found]
    given = sum(max(0.0, LEAST - width) for width in widths)
    to_spare = sum(max(0.0, width - LEAST) for width in widths)
    x = 0.0
    for one, width in zip(found, widths, strict=True):
        drawn = LEAST if width < LEAST else width - (width - LEAST) / to_spare * given
        says = f"{_word(one)}, {_time(one.since, span)} to {_time(one.until, span)}"
        yield Mark(one.power, round(x, 1), round(drawn, 1), says)
        x += drawn


def _told(found: list[Segment], span: Span, *, is_all: bool) -> str:
    if is_all:
        return f"{_word(found[-1]).lower()} all the time"
    said = [f"{_word(one).lower()} until {_time(one.until, span)}" for one in found[:-1]]
    left_out = len(said) - TOLD
    if left_out > 0:
        said = [f"{left_out} earlier changes", *said[-TOLD:]]
    return ", ".join([*said, f"{_word(found[-1]).lower()} since then"])


def _word(one: Segment) -> str:
    return Power(one.power).label if one.power else "Not recorded"


def _time(at: datetime, span: Span) -> str:
    local = timezone.localtime(at)
    return f"{local:%H:%M}" if span == SPANS[0] else f"{local.day} {local:%b %H:%M}"
