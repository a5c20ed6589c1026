"""How amounts and times are said, on pages and in commands. static/js/clock.js says the ages the same way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.utils import timezone

_UNITS = ("B", "KB", "MB", "GB", "TB")
_IN_FULL = {"s": "second", "min": "minute", "h": "hour", "d": "day"}


def size(amount_bytes: int) -> str:
    """Answers an amount in three digits: "0 B", "312 MB", "1.28 GB", "40 GB". A GB is 1024 MB, as in drive sizes."""
    number, unit = _scaled(amount_bytes)
    return f"{_digits(number)} {_UNITS[unit]}"


def size_of(part_bytes: int, whole_bytes: int) -> tuple[str, str]:
    """Answers a part and its whole in one unit: ("31.1", "40 GB"); a small part in its own: ("17 MB", "40 GB")."""
    number, unit = _scaled(whole_bytes)
    part = part_bytes / 1024**unit
    return _digits(part) if part >= 0.1 or not part_bytes else size(part_bytes), f"{_digits(number)} {_UNITS[unit]}"


def percent_of(part_bytes: int, whole_bytes: int) -> int:
    """Answers a share in whole percent, at most 100; something is never nothing."""
    return min(100, max(round(100 * part_bytes / max(1, whole_bytes)), 1 if part_bytes else 0))


def up_to(amount_bytes: int) -> str:
    """Answers an upper bound: "up to 2.41 GB", or "0 B"."""
    return f"up to {size(amount_bytes)}" if amount_bytes else "0 B"


def moment(at: datetime) -> str:
    """Answers "14 May 2026 11:40", in the server's time zone."""
    local = timezone.localtime(at)
    return f"{local.day} {local:%b %Y %H:%M}"


def age(since: timedelta) -> str:
    """Answers a rough age: "now", "40 s", "5 min", "16 h", "12 d"."""
    seconds = int(since.total_seconds())
    if seconds < 10:
        return "now"
    if seconds < 60:
        return f"{seconds // 10 * 10} s"
    if seconds < 60 * 60:
        return f"{seconds // 60} min"
    if seconds < 24 * 60 * 60:
        return f"{seconds // 3600} h"
    return f"{seconds // 86400} d"


def ago(since: timedelta) -> str:
    """Answers "just now" or "2 h ago"."""
    said = age(since)
    return "just now" if said == "now" else f"{said} ago"


def seen(since: timedelta) -> str:
    """Answers how old a reading is, by the second while it is fresh: "just now", "4 s ago", "20 s ago", "5 min ago"."""
    seconds = int(since.total_seconds())
    return f"{seconds} s ago" if 1 <= seconds < 10 else ago(since)


def ago_in_full(since: timedelta) -> str:
    """Answers "just now" or "2 hours ago", for a sentence."""
    number, _, unit = age(since).partition(" ")
    return f"{counted(int(number), _IN_FULL[unit])} ago" if unit else "just now"


def elapsed(since: timedelta) -> str:
    """Answers "0:47", "12:03", "1:00:09"."""
    minutes, seconds = divmod(max(0, int(since.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def counted(number: int, thing: str) -> str:
    """Answers "1 snapshot", "2 snapshots"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _scaled(amount_bytes: int) -> tuple[float, int]:
    number, unit = float(max(0, amount_bytes)), 0
    # 999.5 would be written with four digits.
    while number >= 999.5 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return number, unit


def _digits(number: float) -> str:
    if number == int(number):
        return str(int(number))
    places = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{places}f}"


def listed(words: Sequence[str]) -> str:
    """Answers "a", "a and b", "a, b and c"; nothing for none."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def named(labels: Sequence[str]) -> str:
    """Answers "web", "web and db", "web, db and 3 others"."""
    if len(labels) <= 3:
        return listed(labels)
    return f"{labels[0]}, {labels[1]} and {counted(len(labels) - 2, 'other')}"


def numbered(numbers: Iterable[int], *, sign: str = "") -> str:
    """Answers numbers in order, runs of three or more in short: "1, 3 and 5", "2 to 5"; each after the sign."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words: list[str] = []
    for run in runs:
        words += [f"{sign}{run[0]} to {sign}{run[-1]}"] if len(run) > 2 else [f"{sign}{number}" for number in run]
    return listed(words)
