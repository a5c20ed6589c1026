"""A clock that tests set: nobody sleeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest


class Clock:
    """Stands still until told to go on."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replaces Django's clock, which all of the product asks."""
    clock = Clock(datetime(2026, 5, 14, 14, 2, 31, tzinfo=UTC))
    monkeypatch.setattr("django.utils.timezone.now", clock)
    return clock
