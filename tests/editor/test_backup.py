"""A backup of a running installation, and what comes back from it."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from editor import backup, entries, inventory, restore, sealed, servers
from editor.chap import chap_password
from editor.databases import BackupError
from editor.models import Deploy, Drive, Event, Infrastructure, Instance, Server, User
from editor.reconcile import Worker
from editor.volumes import driver_of
from snapshots import actions
from snapshots.models import Snapshot
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = timezone.now() - timedelta(days=1)


@dataclass
class World:
    """Two drives without servers, with snapshots whose contents are known."""

    owner: User
    first: Drive
    second: Drive
    contents: dict[int, str]
    """The hash of each snapshot, and at 0 that of the second drive as it is now."""

    def write(self, drive: Drive, content: str) -> None:
        driver_of(drive.pool).write(drive.pk, offset=0, data=content.encode() * 512)

    def take(self, drive: Drive, content: str) -> Snapshot:
        self.write(drive, content)
        actions.request_create(drive, by=self.owner, note=content)
        work()
        snapshot = drive.snapshots.newest_first()[0]
        self.contents[snapshot.pk] = driver_of(drive.pool).sha256(drive.pk)
        return snapshot


def work() -> None:
    Worker(since=LONG_AGO).run_until_quiet()


def revert(snapshot: Snapshot, by: User) -> None:
    newer = set(Snapshot.objects.newer_than(snapshot).values_list("pk", flat=True))
    actions.request_revert(snapshot, by=by, expect=newer)
    work()


def audit() -> str:
    out = io.StringIO()
    call_command("reconcile", "--audit", stdout=out)
    return out.getvalue()


@pytest.fixture
def world() -> World:
    owner = factories.make_user("Olga Own")
    infrastructure = factories.make_infrastructure(owner)
    array = factories.make_drive_array(infrastructure, size_mb=1024, engine="qcow2", made=False)
    work()
    first, second = array.drives.select_related("pool", "drive_array")
    world = World(owner, first, second, {})
    for content in ("a", "b"):
        world.take(first, content)
        world.take(second, content.upper())
    world.write(second, "z")
    world.contents[0] = driver_of(second.pool).sha256(second.pk)
    return world


@contextmanager
def elsewhere(settings: Settings, folder: Path) -> Iterator[Path]:
    """An empty installation: another DATA_DIR, and another database that is ours while the block lasts."""
    ours = connection.settings_dict["NAME"]
    data = folder / "restored"
    data.mkdir()
    on_postgresql = connection.vendor == "postgresql"
    other = f"{ours}_restored"
    if on_postgresql:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {other} TEMPLATE template0")
    connection.close()
    before, settings.DATA_DIR = settings.DATA_DIR, data
    connection.settings_dict["NAME"] = other if on_postgresql else str(data / "editor.sqlite3")
    try:
        yield data
    finally:
        connection.close()
        connection.settings_dict["NAME"] = ours
        settings.DATA_DIR = before
        if on_postgresql:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {other}")


def everything_is_there(world: World) -> None:
    """Compares all that was restored, byte by byte, by reverting from the newest snapshot to the oldest."""
    owner = User.objects.get(email=world.owner.email)
    assert audit() == "Nothing amiss.\n"
    second = Drive.objects.select_related("pool").get(pk=world.second.pk)
    assert driver_of(second.pool).sha256(second.pk) == world.contents.pop(0)
    assert set(Snapshot.objects.values_list("pk", flat=True)) == set(world.contents)
    for snapshot in Snapshot.objects.select_related("drive__pool", "drive__drive_array").newest_first():
        revert(snapshot, owner)
        assert driver_of(snapshot.drive.pool).sha256(snapshot.drive_id) == world.contents[snapshot.pk]
    assert audit() == "Nothing amiss.\n"


# ── Both ways ────────────────────────────────────────────────────────────────


@pytest.mark.postgres
@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz"])
def test_what_is_restored_is_what_was_saved(name: str, world: World, settings: Settings, tmp_path: Path) -> None:
    archive = tmp_path / name
    out = io.StringIO()

    call_command("backup", str(archive), stdout=out)
    assert out.getvalue().startswith("Saved the database and 2 drives with 6 layers, ")
    with elsewhere(settings, tmp_path):
        call_command("restore", str(archive), stdout=out)
        assert "Restored the database and 2 drives with 6 layers, " in out.getvalue()
        everything_is_there(world)


def test_archive_is_for_its_owner_only_and_alone(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()

    backup.save(folder / "all.tar")

    assert [path.name for path in folder.iterdir()] == ["all.tar"]
    assert stat.S_IMODE((folder / "all.tar").stat().st_mode) == 0o600
    with tarfile.open(folder / "all.tar") as tar:
        names = tar.getnames()
    assert (names[0], names[1], names[-1]) == ("header.json", "database", "manifest.json")
    assert not any("secret" in name or "lock" in name for name in names)


def test_key_to_the_sealed_passwords_is_kept_elsewhere(world: World, settings: Settings, tmp_path: Path) -> None:
    entry = entries.Entry(
        "R-7", factories.make_free_server().server_type, "simulated", "simulated://r-7", "root", "hunter2"
    )
    inventory.register(entry, by=factories.make_admin())
    factories.make_instance_array(Infrastructure.objects.get(), count=1)
    password = chap_password(Instance.objects.get())
    archive, key, out = tmp_path / "all.tar", sealed.key_file(), io.StringIO()

    call_command("backup", str(archive), stdout=out)
    assert f"The key to the passwords in it is not: keep a copy of {key} somewhere else." in out.getvalue()
    with tarfile.open(archive) as tar:
        assert not any(key.read_bytes().strip() in tar.extractfile(one).read() for one in tar)  # type: ignore[union-attr]
    with elsewhere(settings, tmp_path) as data:
        call_command("restore", str(archive), stdout=out)
        assert f"2 passwords cannot be read. Put the key that was kept elsewhere to {data}" in out.getvalue()
        shutil.copy(key, sealed.key_file())
        assert servers.bmc_of(Server.objects.get(serial="R-7")).password == "hunter2"
        assert chap_password(Instance.objects.get()) == password


def test_restore_finds_the_key_that_was_put_there_before(world: World, settings: Settings, tmp_path: Path) -> None:
    Server.objects.filter(pk=factories.make_free_server().pk).update(password_sealed=sealed.first_key().seal("hunter2"))
    archive, key, out = tmp_path / "all.tar", sealed.key_file(), io.StringIO()
    backup.save(archive)

    with elsewhere(settings, tmp_path):
        shutil.copy(key, sealed.key_file())
        call_command("restore", str(archive), stdout=out)

    assert "sealed" not in out.getvalue()


@pytest.mark.postgres
def test_people_go_on_working_while_it_is_made(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between the copy of the database and that of the drives, everything that can happen happens."""
    moments: list[str] = []

    def meanwhile(label: str) -> None:
        moments.append(label)
        if label != "web-data-1":
            return
        oldest = world.second.snapshots.get(number=1)
        revert(oldest, world.owner)
        actions.delete(oldest, by=world.owner)
        actions.delete(world.first.snapshots.get(number=2), by=world.owner)
        actions.request_create(world.first, by=world.owner)
        work()
        assert world.second.snapshots.count() == 0
        assert Drive.objects.filter(reclaim_due=True).count() == 2
        with pytest.raises(CommandError, match=r"A backup is being made\. Try again when it is finished\."):
            call_command("drive", "write", "web-data-1", "--text", "x")
        with pytest.raises(BackupError, match=r"Another backup, or a `manage\.py drive` command, is at work"):
            backup.save(tmp_path / "second.tar")

    monkeypatch.setattr(backup, "WAIT_SECONDS", 0)
    backup.save(tmp_path / "all.tar", tell=meanwhile)

    assert moments == ["web-data-1", "web-data-2"]
    with elsewhere(settings, tmp_path):
        restore.load(tmp_path / "all.tar")
        everything_is_there(world)


def test_merging_goes_on_afterwards(world: World, tmp_path: Path) -> None:
    actions.delete(world.first.snapshots.get(number=1), by=world.owner)
    worker = Worker(since=LONG_AGO)
    left: list[int] = []

    def meanwhile(label: str) -> None:
        worker.run_until_quiet()
        left.append(len(driver_of(world.first.pool).layers(world.first.pk)))

    backup.save(tmp_path / "all.tar", tell=meanwhile)
    work()

    assert left == [3, 3]
    assert len(driver_of(world.first.pool).layers(world.first.pk)) == 2
    assert not Drive.objects.filter(reclaim_due=True).exists()


@pytest.mark.postgres
@pytest.mark.parametrize("done", [False, True], ids=["before the switch", "after the switch"])
def test_what_was_in_work_is_undone_after_a_restore(
    done: bool, world: World, settings: Settings, tmp_path: Path
) -> None:
    oldest, newest = world.second.snapshots.order_by("number")
    actions.request_create(world.first, by=world.owner)
    actions.request_revert(oldest, by=world.owner, expect={newest.pk})
    if done:
        for snapshot in Snapshot.objects.in_work():
            driver = driver_of(world.first.pool)
            driver.revert(snapshot.drive_id, onto=snapshot.layer, new_layer=snapshot.new_layer)

    backup.save(tmp_path / "all.tar")

    with elsewhere(settings, tmp_path):
        restore.load(tmp_path / "all.tar")
        Worker(since=timezone.now()).run_until_quiet()

        failed = Event.objects.filter(result="failed").values_list("verb", flat=True)
        assert set(failed) == {"could not create snapshot #3 of", "could not revert to #1:"}
        everything_is_there(world)


def test_deploy_goes_on_after_a_restore_only_when_somebody_wants_it(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    array = world.first.drive_array
    deploy = Deploy.objects.create(
        infrastructure=array.infrastructure,
        number=1,
        by=world.owner,
        started_at=timezone.now(),
        review={"changes": []},
        goal={array.topic: array.drawn()},
    )
    # It waited for this very backup.
    step = deploy.steps.create(
        position=1, kind="destroy", of=array.topic, title="Destroy a drive", started_at=timezone.now()
    )
    snapshots = list(world.first.snapshots.values_list("pk", flat=True))
    item = {"drive": world.first.pk, "snapshots": snapshots}
    step.items.create(number=1, label="web-data-1", payload=item, state="running", started_at=timezone.now())
    backup.save(tmp_path / "all.tar")

    with elsewhere(settings, tmp_path):
        restore.load(tmp_path / "all.tar")
        work()

        deploy.refresh_from_db()
        assert deploy.state == "stopped"
        everything_is_there(world)


def test_interrupted_merge_is_finished_after_a_restore(world: World, settings: Settings, tmp_path: Path) -> None:
    """Its layer is marked: what the file holds cannot be trusted alone, and the mark must not get lost."""
    snapshot = world.first.snapshots.get(number=2)
    actions.delete(snapshot, by=world.owner)
    (world.first.pool.path / f"drive-{world.first.pk}" / f"layer-{snapshot.layer}.merging").touch()
    del world.contents[snapshot.pk]

    backup.save(tmp_path / "all.tar")

    with elsewhere(settings, tmp_path) as data:
        restore.load(tmp_path / "all.tar")
        assert len(list(data.rglob("*.merging"))) == 1
        work()
        assert list(data.rglob("*.merging")) == []
        everything_is_there(world)


def test_pool_in_a_folder_of_its_own_goes_back_there(world: World, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    world.first.pool.path.rename(folder)
    world.first.pool.folder = str(folder)
    world.first.pool.save()
    backup.save(tmp_path / "all.tar")

    with elsewhere(settings, tmp_path):
        with pytest.raises(BackupError, match=r"disk is not empty\. Move away what is there"):
            restore.load(tmp_path / "all.tar")
        shutil.rmtree(folder)
        restore.load(tmp_path / "all.tar")
        assert folder.is_dir()
        everything_is_there(world)


# ── What is refused ──────────────────────────────────────────────────────────


def test_full_disk_leaves_no_half_archive(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    driver_of(world.first.pool).write(world.first.pk, offset=0, data=os.urandom(4 * 1024 * 1024))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Beyond the limit, writing fails as it does on a full disk.
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 1024 * 1024, hard))
    try:
        with pytest.raises(BackupError, match=r"could not be written: File too large\. Nothing was left behind\."):
            backup.save(folder / "all.tar")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)

    assert list(folder.iterdir()) == []
    assert not backup.is_running()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("there.tar", "there.tar exists already. Choose another name."),
        ("all.zip", "Name the file like backup.tar.gz. What is understood: .tar, .tar.gz, .tgz."),
        ("nowhere/all.tar", "nowhere. Make it first."),
    ],
)
def test_useless_names_are_refused(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "there.tar").write_text("older")

    with pytest.raises(CommandError, match=sentence.replace(".", r"\.")):
        call_command("backup", str(tmp_path / name))

    assert (tmp_path / "there.tar").read_text() == "older"


def test_drives_of_another_engine_are_not_left_out_silently(tmp_path: Path) -> None:
    factories.make_drive_array(factories.make_infrastructure())

    with pytest.raises(BackupError, match="pool-simulated is kept by the engine simulated, whose drives cannot be"):
        backup.save(tmp_path / "all.tar")


def test_missing_volume_is_named(world: World, tmp_path: Path) -> None:
    shutil.rmtree(world.second.pool.path / f"drive-{world.second.pk}")

    with pytest.raises(BackupError, match="web-data-2 could not be copied, so no backup was made"):
        backup.save(tmp_path / "all.tar")


_archive: list[bytes] = []
"""Made once: what is refused is never changed, and never restored."""


@pytest.fixture
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "all.tar.gz"
    if _archive:
        path.write_bytes(_archive[0])
    else:
        request.getfixturevalue("world")
        backup.save(path)
        _archive.append(path.read_bytes())
    return path


def test_damaged_archive_restores_nothing(archive: Path, settings: Settings, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    flipped = []
    for number in range(1, 8):
        copy = bytearray(whole)
        copy[len(copy) * number // 8] ^= 0x20
        flipped.append(bytes(copy))
    cut = [whole[: len(whole) * number // 5] for number in range(5)]

    with elsewhere(settings, tmp_path) as data:
        for damaged in (*flipped, *cut):
            archive.write_bytes(damaged)
            with pytest.raises(BackupError, match=r"The archive is damaged\. Nothing was restored\. Use another"):
                restore.load(archive)
            assert {path.name for path in data.iterdir()} <= {"start.lock"}


def rewritten(archive: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Answers another archive whose files went through `change`."""
    target = archive.with_name("changed.tar")
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old:
            file = old.extractfile(member)
            assert file
            data = change(member.name, file.read())
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return target


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 2}, "This backup has version 2; what is understood here is 1."),
        ({"database": "oracle"}, "This backup is of oracle, the database here is"),
        (
            {"migrations": ["editor.9999_later"]},
            "of a newer version of the editor, with editor.9999_later. Update first.",
        ),
        ({"format": "holidays"}, "This is not a backup of the infrastructure editor."),
    ],
)
def test_foreign_archive_is_refused(
    changes: dict[str, object], sentence: str, archive: Path, settings: Settings, tmp_path: Path
) -> None:
    def change(name: str, data: bytes) -> bytes:
        return json.dumps(json.loads(data) | changes).encode() if name == "header.json" else data

    other = rewritten(archive, change)

    with elsewhere(settings, tmp_path) as data:
        with pytest.raises(BackupError, match=sentence.replace(".", r"\.")):
            restore.load(other)
        assert {path.name for path in data.iterdir()} == {"start.lock"}


@pytest.mark.parametrize("kind", ["database", "qcow2"])
def test_changed_content_is_noticed(kind: str, archive: Path, settings: Settings, tmp_path: Path) -> None:
    other = rewritten(archive, lambda name, data: data[:-1] + b"!" if name.endswith(kind) else data)

    with elsewhere(settings, tmp_path) as data:
        with pytest.raises(BackupError, match="The archive is damaged"):
            restore.load(other)
        assert {path.name for path in data.iterdir()} == {"start.lock"}


def test_files_leave_no_trace_outside_the_pools(archive: Path, settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "evil.tar"
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
            if member.name == "database":
                new.addfile(tarfile.TarInfo("pools/1/drive-1/../../../../evil"), io.BytesIO())

    with elsewhere(settings, tmp_path), pytest.raises(BackupError, match="The archive is damaged"):
        restore.load(target)

    assert not list(tmp_path.rglob("evil"))


def test_installation_in_use_is_not_restored_over(archive: Path) -> None:
    (django_settings.DATA_DIR / "notes").touch()

    with pytest.raises(CommandError, match=r"is not empty: .*Restore into an empty DATA_DIR\."):
        call_command("restore", str(archive))

    assert {path.name for path in django_settings.DATA_DIR.iterdir()} >= {"notes", archive.name}
