"""Kills a worker before and after each of its effects in turn, to see what the next one makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import connection


class Killed(BaseException):
    """As SIGKILL: no handler of errors sees it."""


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
