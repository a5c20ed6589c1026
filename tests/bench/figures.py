"""Medians, 95th percentiles and Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


def percentile(values: Sequence[float], share: float) -> float:
    """Answers the value that `share` (0 to 1) of the values do not exceed, by the nearest rank; NaN without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass
class Figures:
    """Measurements of one thing."""

    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)

    @property
    def median(self) -> float:
        return percentile(self.values, 0.5)

    @property
    def p95(self) -> float:
        return percentile(self.values, 0.95)

    def __str__(self) -> str:
        """ "31 / 47": median and 95th percentile."""
        return f"{self.median:.0f} / {self.p95:.0f}" if self.values else "–"


def ratio(whole: Figures, part: Figures) -> str:
    """ "5.2": how many times as long the first takes, by the medians."""
    return f"{whole.median / part.median:.1f}" if whole.values and part.values else "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
