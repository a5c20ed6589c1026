"""What a log has been told, so that what is looked at every second is told when it changes, not every second."""

from __future__ import annotations

from collections.abc import Hashable


class News:
    """The last word on each of some things."""

    def __init__(self) -> None:
        self._last: dict[Hashable, str] = {}

    def is_new(self, thing: Hashable, said: str) -> bool:
        """Whether this was not the last word on it; "" is that nothing is wrong, as in the beginning."""
        if self._last.get(thing, "") == said:
            return False
        self._last[thing] = said
        return True

    def last(self, thing: Hashable) -> str:
        """Answers the last word on it, "" if there is none."""
        return self._last.get(thing, "")
