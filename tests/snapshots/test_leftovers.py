"""The worker is killed at each thing it does to the disk: what it leaves, the next one removes by itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone

from editor.audit import findings
from editor.cleaning import cleaned
from editor.models import DriveArray
from snapshots import actions
from tests import factories
from tests.clock import Clock
from tests.contracts.images import effects
from tests.snapshots.conftest import World, make_world


@pytest.fixture
def world(db: None, clock: Clock) -> World:
    """On qcow2, with two snapshots, off."""
    world = make_world(clock, "qcow2")
    for state in ("one", "two"):
        world.take(state)
    world.write("now")
    world.switch_off()
    return world


def create(world: World) -> None:
    actions.request_create(world.drive, by=world.operator)


def revert(world: World) -> None:
    world.revert(world.drive.snapshots.get(number=1))


def delete(world: World) -> None:
    actions.delete(world.drive.snapshots.get(number=2), by=world.operator)


def make(world: World) -> None:
    array = DriveArray.objects.get()
    factories.make_drive_array(array.infrastructure, "other", engine="qcow2", size_mb=1024, made=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "act",
    [create, *(pytest.param(act, marks=pytest.mark.lab) for act in (revert, delete, make))],
    ids=lambda act: act.__name__,
)
def test_nothing_is_left_of_what_a_killed_worker_had_begun(
    world: World, act: Callable[[World], None], tmp_path: Path
) -> None:
    pool = world.drive.pool.path
    shutil.copytree(pool, tmp_path / "before", symlinks=True)
    for at in count():
        now = world.clock.now
        with transaction.atomic():
            act(world)
            with effects(at, "after") as watch:
                world.work()
            watch.bury()
            world.work(restarted=True)
            world.clock.advance(60)
            world.work()

            assert [*cleaned(), *findings(timezone.now())] == []
            assert [path for path in pool.rglob("*") if path.name.startswith(("new-", "deleted-"))] == []
            transaction.set_rollback(True)
        world.clock.now = now
        shutil.rmtree(pool)
        shutil.copytree(tmp_path / "before", pool, symlinks=True)
        if not watch.dead:
            break
    assert at > 5
