"""A database that an older version of the product made, after `manage.py migrate`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps.registry import Apps
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from editor.asgi import lifespan
from editor.design import planned, products
from editor.models import Drive, Event, Infrastructure, Power
from snapshots.models import Snapshot

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="the old database is a file here")


@pytest.fixture(scope="module", autouse=True)
def upgraded(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """The database is one of the first version, in which somebody drew and deployed; then it was migrated."""
    connection.close()
    name = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = str(tmp_path_factory.mktemp("old") / "editor.sqlite3")
    with django_db_blocker.unblock():
        draw(MigrationExecutor(connection).migrate([("editor", "0001_first"), ("snapshots", "0001_first")]).apps)
        call_command("migrate", verbosity=0)
        yield
        connection.close()
    connection.settings_dict["NAME"] = name


def draw(old: Apps) -> None:
    """web with two servers of which the second is #3, each with a drive; on two networks; all deployed but one more."""
    atlas = old.get_model("editor", "Infrastructure").objects.create(label="atlas-prod")
    network = old.get_model("editor", "Network").objects
    networks = [network.create(infrastructure=atlas, label=kind, kind=kind) for kind in ("wan", "lan", "san")]
    server_type = old.get_model("editor", "ServerType").objects.create(label="M.16.64", cores=16, ram_gb=64)
    marked = {"deployed": {"label": "as it was noted then"}}
    web = old.get_model("editor", "InstanceArray").objects.create(
        infrastructure=atlas, label="web", server_type=server_type, count=2, **marked
    )
    data = old.get_model("editor", "DriveArray").objects.create(
        infrastructure=atlas, label="web-data", instance_array=web, count=2, size_mb=40960, **marked
    )
    old.get_model("editor", "DriveArray").objects.create(infrastructure=atlas, label="drawn-only", size_mb=40960)
    old.get_model("editor", "Network").objects.filter(kind__in=("lan", "san")).update(**marked)
    for index, one in enumerate((networks[2], networks[1])):
        old.get_model("editor", "Interface").objects.create(instance_array=web, index=index, network=one)
    pool = old.get_model("editor", "StoragePool").objects.create(label="pool")
    for number, power in ((1, Power.ON), (3, Power.OFF)):
        server = old.get_model("editor", "Server").objects.create(
            server_type=server_type, serial=f"S-{number}", address=f"simulated://s-{number}", power=power
        )
        instance = old.get_model("editor", "Instance").objects.create(instance_array=web, number=number, server=server)
        drive = old.get_model("editor", "Drive").objects.create(
            drive_array=data, number=number, instance=instance, pool=pool, size_mb=40960, head_layer=3, next_layer=4
        )
        for layer in (1, 2):
            old.get_model("snapshots", "Snapshot").objects.create(
                drive_id=drive.pk,
                number=layer,
                note=f"state {layer}",
                state="ready",
                layer=layer,
                new_layer=layer + 1,
                requested_at=timezone.now(),
                taken_at=timezone.now(),
            )


def test_what_was_deployed_still_is_and_nothing_would_be_destroyed() -> None:
    atlas = Infrastructure.objects.get()
    rows = products(atlas)
    assert {row.label: row.change for row in rows if row.change} == {"wan": "add", "drawn-only": "add"}
    _goal, real, steps = planned(atlas, rows)
    assert {step.key.partition(" drive")[0] for step in steps if step.numbers} == {"create"}
    assert [sorted(number for _, number in places) for places in (real.instances, real.drives)] == [[1, 3], [1, 3]]
    assert [drive.size_mb for drive in real.drives.values()] == [40960, 40960]


def test_drives_keep_their_snapshots_and_their_servers() -> None:
    snapshots = Snapshot.objects.order_by("drive__number", "number")
    kept = snapshots.values_list("drive__number", "number", "note", "state", "layer", "new_layer")
    assert list(kept) == [
        (drive, number, f"state {number}", "ready", number, number + 1) for drive in (1, 3) for number in (1, 2)
    ]
    attached = Drive.objects.order_by("number").values_list("instance__number", "head_layer", "instance__server__power")
    assert list(attached) == [(1, 3, "on"), (3, 3, "off")]


def test_history_of_power_begins_with_the_upgrade_and_makes_nothing_up() -> None:
    told = Event.objects.order_by("instance__number").values_list("instance__number", "power_before", "power")
    assert list(told) == [(1, "", "on"), (3, "", "off")]
    assert not Event.objects.told().exists()


# ── And the way back ─────────────────────────────────────────────────────────


@pytest.fixture
def newer() -> Iterator[str]:
    """A version after this one has migrated the database; gives how it is refused."""
    recorder = MigrationRecorder(connection)
    recorder.record_applied("editor", "9999_later")
    yield "The database is of a newer version of the editor, with editor.9999_later. Nothing was changed."
    recorder.record_unapplied("editor", "9999_later")


@pytest.mark.parametrize("command", [["reconcile", "--once"], ["drive", "list"], ["exports", "stop"], ["backup"]])
def test_no_command_touches_what_a_newer_version_has_made(newer: str, command: list[str], tmp_path: Path) -> None:
    file = [str(tmp_path / "file")] if command == ["backup"] else []
    with pytest.raises(CommandError) as refused:
        call_command(*command, *file)
    assert str(refused.value).startswith(newer)


def test_no_process_starts_on_what_a_newer_version_has_made(newer: str) -> None:
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    asyncio.run(lifespan({"type": "lifespan"}, receive, send))

    assert [message["type"] for message in said] == ["lifespan.startup.failed"]
    assert said[0]["message"].startswith(newer)
