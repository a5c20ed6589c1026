"""BMCs that turned the worker away, and would again: each try may be the one after which they lock its user out.

They are left alone for a while, unless somebody asks or states anew what they are asked with.
"""

from __future__ import annotations

import functools
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from editor.entries import asked_with
from editor.models import Server

PAUSE = timedelta(minutes=15)
TRIED_AGAIN = f"It is tried again every {PAUSE.seconds // 60} minutes, and when somebody asks."


class _Refusal(NamedTuple):
    asked_with: tuple[object, ...]
    at: datetime


class Refusals:
    """By server. A worker that is started anew knows of none: it tries each once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[int, _Refusal] = {}

    def note(self, server: Server, now: datetime, *, refused: bool) -> None:
        """Takes note of how a try with what is stated in this row ended."""
        with self._lock:
            if refused:
                self._of[server.pk] = _Refusal(asked_with(server), now)
            else:
                self._of.pop(server.pk, None)

    def hold(self, server: Server, now: datetime) -> bool:
        """Whether the BMC is left alone. A refusal from the future is of before the clock was set back."""
        refusal = self._of.get(server.pk)
        if refusal is None or refusal.asked_with != asked_with(server):
            return False
        return refusal.at <= now < refusal.at + PAUSE


@functools.cache
def refusals_of(folder: Path) -> Refusals:
    """One for each data folder, as drivers are."""
    del folder
    return Refusals()
