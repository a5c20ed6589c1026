"""Kills a worker before and after each of its effects in turn, to see what the next one makes of it.

In `make lab` at each of them; in `make test`, which people wait for, at a fixed sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import pytest
from django.db import connection

T = TypeVar("T")


class Killed(BaseException):
    """As SIGKILL: no handler of errors sees it."""


@dataclass(frozen=True)
class Points:
    """At which of the points where something can be killed a test kills it; the fixture `points`."""

    stride: int = 1

    @property
    def are_all(self) -> bool:
        return self.stride == 1

    def of(self, points: Sequence[T]) -> list[T]:
        """Of these: the first, some between, and the last."""
        return [point for at, point in enumerate(points) if at % self.stride == 0 or at == len(points) - 1]

    def counted(self) -> Iterator[int]:
        """Of those that are counted from 1, without an end."""
        return count(1, self.stride)


class Executioner:
    """Kills at the n-th effect, counted from 1; counts only, without an n."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.effects = 0

    def effect(self) -> None:
        self.effects += 1
        if self.effects == self.at:
            raise Killed

    def on_statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            self.effect()
        return execute(sql, params, many, context)

    def watch_database(self) -> AbstractContextManager[None]:
        return connection.execute_wrapper(self.on_statement)

    def watch(self, driver: object, verbs: Iterable[str], patch: pytest.MonkeyPatch) -> None:
        for verb in verbs:
            patch.setattr(driver, verb, self.watched(getattr(driver, verb)))

    def watched(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.effect()
            answer = verb(*args, **kwargs)
            self.effect()
            return answer

        return call
