"""How amounts and times are said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from editor import words

MB, GB = 1024**2, 1024**3


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "0 B"),
        (-1, "0 B"),
        (1, "1 B"),
        (196608, "192 KB"),
        (312 * MB, "312 MB"),
        (999 * MB, "999 MB"),
        (1023 * MB, "1.00 GB"),
        (int(1.28 * GB), "1.28 GB"),
        (int(31.1 * GB), "31.1 GB"),
        (40 * GB, "40 GB"),
        (1999 * GB, "1.95 TB"),
    ],
)
def test_size_has_three_digits(amount: int, said: str) -> None:
    assert words.size(amount) == said


def test_part_is_said_in_the_unit_of_the_whole() -> None:
    assert words.size_of(int(31.1 * GB), 40 * GB) == ("31.1", "40 GB")
    assert words.size_of(0, 40 * GB) == ("0", "40 GB")
    assert words.size_of(64 * 1024, 40 * GB) == ("64 KB", "40 GB")


def test_upper_bound_of_nothing_is_nothing() -> None:
    assert (words.up_to(0), words.up_to(312 * MB)) == ("0 B", "up to 312 MB")


@pytest.mark.parametrize(
    ("seconds", "age", "ago", "in_full"),
    [
        (-5, "now", "just now", "just now"),
        (9, "now", "just now", "just now"),
        (47, "40 s", "40 s ago", "40 seconds ago"),
        (60, "1 min", "1 min ago", "1 minute ago"),
        (7200, "2 h", "2 h ago", "2 hours ago"),
        (86399, "23 h", "23 h ago", "23 hours ago"),
        (12 * 86400, "12 d", "12 d ago", "12 days ago"),
    ],
)
def test_age_is_rough(seconds: int, age: str, ago: str, in_full: str) -> None:
    since = timedelta(seconds=seconds)

    assert (words.age(since), words.ago(since), words.ago_in_full(since)) == (age, ago, in_full)


def test_elapsed_counts_minutes_and_hours() -> None:
    assert [words.elapsed(timedelta(seconds=one)) for one in (-1, 47.9, 134, 3609)] == [
        "0:00",
        "0:47",
        "2:14",
        "1:00:09",
    ]


def test_moment_has_no_leading_zero() -> None:
    assert words.moment(datetime(2026, 5, 2, 9, 5, tzinfo=UTC)) == "2 May 2026 09:05"


def test_counted() -> None:
    assert [words.counted(one, "snapshot") for one in (0, 1, 2)] == ["0 snapshots", "1 snapshot", "2 snapshots"]


def test_many_are_not_all_named() -> None:
    labels = ["web", "db", "logs", "data", "cache"]

    assert [words.named(labels[:number]) for number in (1, 2, 3, 5)] == [
        "web",
        "web and db",
        "web, db and logs",
        "web, db and 3 others",
    ]


def test_lists_and_numbers_are_said_as_people_say_them() -> None:
    assert [words.listed(list("abc"[:length])) for length in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert words.numbered([3, 1, 2, 7]) == "1 to 3 and 7"
    assert words.numbered([1, 2], sign="#") == "#1 and #2"
