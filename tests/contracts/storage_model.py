"""The same promises, met in any order: generated walks beside a model that is a list of dictionaries."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from editor.storage import StorageDriver

from .storage import BLOCK, DRIVE, Disk

FEWEST, MOST = 3, 9  # blocks of a drive
marks = st.integers(0, 9)
choices = st.integers(0, 99)


def walk(make: Callable[[], StorageDriver], *, times: int, steps: int) -> None:
    """Walks that often, each time with an engine of `make` that knows no drive; raises at the first broken promise."""

    class Here(Walk):
        driver_of_its_own = staticmethod(make)

    Here.TestCase.settings = settings(max_examples=times, stateful_step_count=steps, deadline=None, database=None)
    Here.TestCase("runTest").runTest()


class Walk(RuleBasedStateMachine):
    """One drive; `kept` is what the product's table of snapshots would say, oldest first."""

    driver_of_its_own: Callable[[], StorageDriver]

    def __init__(self) -> None:
        super().__init__()
        self.driver = type(self).driver_of_its_own()
        self.disk = Disk(self.driver, DRIVE, FEWEST * BLOCK)
        self.now = [0] * FEWEST
        self.kept: list[tuple[int, list[int]]] = []

    def sized(self, marks: list[int]) -> list[int]:
        """What an earlier content reads as on the drive as large as it is now."""
        return marks + [0] * (len(self.now) - len(marks))

    @rule(mark=marks, choice=choices)
    def write(self, mark: int, choice: int) -> None:
        position = choice % len(self.now)
        self.disk.put(mark, block=position)
        self.now[position] = mark

    @precondition(lambda self: len(self.now) < MOST)
    @rule(more=st.integers(0, 2))
    def grow(self, more: int) -> None:
        self.now += [0] * more
        self.disk.grow(len(self.now) * BLOCK)

    @rule()
    def snapshot(self) -> None:
        self.kept.append((self.disk.snapshot(), list(self.now)))

    @precondition(lambda self: self.kept)
    @rule(choice=choices)
    def revert(self, choice: int) -> None:
        position = choice % len(self.kept)
        layer, then = self.kept[position]
        self.now = self.sized(then)
        self.disk.revert(layer)
        del self.kept[position + 1 :]

    @precondition(lambda self: self.kept)
    @rule(choice=choices)
    def delete(self, choice: int) -> None:
        del self.kept[choice % len(self.kept)]

    @rule()
    def reclaim(self) -> None:
        self.disk.reclaim(*(layer for layer, _marks in self.kept))
        # A revert right onto a snapshot leaves it with one child at most, so that nothing else can be left.
        assert self.disk.layers == {self.disk.head, *(layer for layer, _marks in self.kept)}

    @rule()
    def give_up_an_attempt(self) -> None:
        assert self.driver.abandon(DRIVE, new_layer=self.disk.reserve()) is True

    @invariant()
    def content_is_what_was_written(self) -> None:
        assert self.driver.size_bytes(DRIVE) == len(self.now) * BLOCK
        assert self.disk.marks(*range(len(self.now))) == self.now

    @invariant()
    def written_since_is_an_upper_bound(self) -> None:
        written = self.driver.written_since(DRIVE, [layer for layer, _marks in self.kept])
        for layer, then in self.kept:
            assert written[layer] > 0 or self.sized(then) == self.now

    def teardown(self) -> None:
        """Goes back through all snapshots, newest first."""
        for layer, then in reversed(self.kept):
            self.disk.revert(layer)
            assert self.disk.marks(*range(len(self.now))) == self.sized(then)
