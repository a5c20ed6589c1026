"""What people type: the worker in the foreground, the audit, and bytes on drives."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from editor import export_watch, exports
from editor.audit import findings
from editor.databases import copied_database
from editor.iscsi.simulated import SimulatedExporter
from editor.iscsi_names import initiator_iqn, target_iqn
from editor.lock import worker_lock
from editor.management.commands.serve import Command as Serve
from editor.models import Drive, Event, Infrastructure, Power, PowerCommand, Result, Server, StoragePool
from editor.reconcile import Worker
from editor.storage import Check, StorageError
from editor.volumes import driver_of
from snapshots import actions
from snapshots.models import Snapshot, State
from tests import factories

pytestmark = pytest.mark.django_db
GB = 1024**3
LONG_AGO = timezone.now() - timedelta(days=1)


def run(*words: str, **options: Any) -> str:
    """Answers what a command says."""
    out = io.StringIO()
    call_command(*words, stdout=out, **options)
    return out.getvalue()


def refusal(*words: str) -> str:
    """Answers the sentence with which a command ends."""
    with pytest.raises(CommandError) as refused:
        run(*words)
    return str(refused.value)


def make_drives(engine: str) -> list[Drive]:
    """Two drives on two servers that are off; the volumes are there."""
    owner = factories.make_user("Olga Own")
    infrastructure = factories.make_infrastructure(owner)
    web = factories.make_instance_array(infrastructure)
    array = factories.make_drive_array(infrastructure, instance_array=web, size_mb=1024, engine=engine, made=False)
    Worker(since=LONG_AGO).run_until_quiet()
    return list(array.drives.select_related("pool", "drive_array", "instance__server"))


@pytest.fixture
def drives(db: None) -> list[Drive]:
    return make_drives("simulated")


def take(drive: Drive) -> Snapshot:
    actions.request_create(drive, by=Infrastructure.objects.get().members.get())
    Worker(since=LONG_AGO).run_until_quiet()
    return drive.snapshots.newest_first()[0]


# ── drive ────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["simulated", "qcow2"])
def drive(request: pytest.FixtureRequest, db: None) -> Drive:
    return make_drives(request.param)[1]


def test_bytes_are_written_and_read_back(drive: Drive, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    said = run("drive", "write", "atlas-prod/web-data-2", "--offset", "1M", "--text", "Grüße")
    assert said == "Wrote 7 bytes to atlas-prod/web-data-2 at 1048576.\n"
    run("drive", "write", str(drive.pk), "--offset", "1000", "--fill", "0xab", "--length", "600")

    run("drive", "read", "web-data-2", "--offset", "1M", "--length", "8")
    assert capfdbinary.readouterr().out == "Grüße".encode() + b"\0"
    run("drive", "read", "web-data-2", "--offset", "998", "--length", "604")
    assert capfdbinary.readouterr().out == b"\0\0" + b"\xab" * 600 + b"\0\0"
    assert run("drive", "read", "web-data-2", "--offset", "1590", "--length", "20", "--hex") == (
        "000000000636  ab ab ab ab ab ab ab ab ab ab 00 00 00 00 00 00\n000000000646  00 00 00 00\n"
    )


def test_hash_tells_contents_apart(drive: Drive, tmp_path: Path) -> None:
    file = tmp_path / "content"
    file.write_bytes(b"x" * 5000)
    empty = run("drive", "hash", "web-data-2")

    run("drive", "write", "web-data-2", "--file", str(file))
    full = run("drive", "hash", "web-data-2")
    run("drive", "write", "web-data-2", "--fill", "0", "--length", "5000")

    assert len(empty.strip()) == 64
    assert full != empty
    assert run("drive", "hash", "web-data-2") == empty == run("drive", "hash", "web-data-1")


def test_writing_wakes_worker_and_pages(drives: list[Drive]) -> None:
    Drive.objects.update(observe_due=False)

    run("drive", "write", "web-data-1", "--text", "news")

    assert list(Drive.objects.order_by("pk").values_list("observe_due", flat=True)) == [True, False]
    event = Event.objects.order_by("-pk")[0]
    assert (event.result, event.topic_list[0]) == (Result.SILENT, drives[0].topic)


def test_standard_input_is_written(drives: list[Drive], monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(b"from a pipe")

    monkeypatch.setattr(sys, "stdin", Input)

    assert run("drive", "write", "web-data-1") == "Wrote 11 bytes to atlas-prod/web-data-1 at 0.\n"
    assert driver_of(drives[0].pool).read(drives[0].pk, offset=0, length=512).rstrip(b"\0") == b"from a pipe"


def test_list_names_all_drives(drives: list[Drive]) -> None:
    first, second = drives
    Drive.objects.filter(pk=second.pk).update(hold="Reverting to #1.", head_layer=None)

    assert run("drive", "list") == (
        f"{first.pk}\tatlas-prod/web-data-1\t1 GB\toff\t0 snapshots\n"
        f"{second.pk}\tatlas-prod/web-data-2\t1 GB, not deployed\toff\t0 snapshots\tReverting to #1.\n"
    )


@pytest.mark.parametrize("words", [("read",), ("hash",), ("write", "--text", "x")])
@pytest.mark.parametrize(
    ("row", "power", "sentence"),
    [
        ({"hold": "Reverting to #1."}, {}, "web-data-1 is busy: Reverting to #1. Try again in a moment."),
        ({"head_layer": None}, {}, "web-data-1 does not exist yet. Deploy it first."),
        ({}, {"power": Power.ON}, "web-1 is on. Shut it down first: it may be writing to web-data-1."),
        (
            {},
            {"power_command": PowerCommand.POWER_ON},
            "web-1 is powering on. Shut it down first: it may be writing to web-data-1.",
        ),
        (
            {},
            {"power": Power.UNKNOWN},
            "Power state of web-1 is unknown. Its drives are left alone until it is known to be off.",
        ),
    ],
)
def test_drive_in_use_is_left_alone(
    words: tuple[str, ...], row: dict[str, Any], power: dict[str, Any], sentence: str, drives: list[Drive]
) -> None:
    verb, *rest = words
    Drive.objects.filter(pk=drives[0].pk).update(**row)
    Server.objects.filter(instance__drives=drives[0]).update(**power)

    assert refusal("drive", verb, "web-data-1", *rest) == sentence


def test_writing_asks_the_bmc_itself(drives: list[Drive]) -> None:
    Server.objects.filter(instance__drives=drives[0]).update(address="simulated://switched-on-by-hand")

    assert refusal("drive", "write", "web-data-1", "--text", "x") == (
        "web-1 is on, says its BMC now. Nothing was written."
    )
    assert Server.objects.get(instance__drives=drives[0]).power == Power.ON


def test_unattached_drive_can_be_written(drives: list[Drive]) -> None:
    Drive.objects.update(instance=None)
    Server.objects.update(power=Power.ON)

    assert run("drive", "write", "web-data-1", "--text", "x").startswith("Wrote 1 bytes")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("4711", "There is no drive 4711. See `manage.py drive list`."),
        ("atlas-prod/web-data-9", "There is no drive atlas-prod/web-data-9. See `manage.py drive list`."),
        ("other/web-data-1", "There is no drive other/web-data-1. See `manage.py drive list`."),
        ("web", "There is no drive web. See `manage.py drive list`."),
    ],
)
def test_unknown_drive_is_named(name: str, sentence: str, drives: list[Drive]) -> None:
    assert refusal("drive", "hash", name) == sentence


def test_label_in_two_infrastructures_needs_more(drives: list[Drive]) -> None:
    second = factories.make_drive_array(factories.make_infrastructure(label="beta"), count=1).drives.get()

    assert refusal("drive", "hash", "web-data-1") == (
        "There are several drives web-data-1. Use an id: "
        f"{drives[0].pk} (atlas-prod/web-data-1), {second.pk} (beta/web-data-1)."
    )


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--fill", "1"), "--fill and --length belong together."),
        (("--fill", "1", "--length", "2G"), "web-data-1 ends at 1073741824 bytes. Nothing was written."),
        (("--offset", "1024M", "--text", "x"), "ends at 1073741824 bytes"),
        (("--fill", "999", "--length", "1"), "'999' is not a byte"),
        (("--offset", "much", "--text", "x"), "'much' is not an amount"),
        (("--file", "nowhere"), "nowhere could not be read: No such file or directory."),
    ],
)
def test_nonsense_is_refused_with_a_sentence(words: tuple[str, ...], part: str, drives: list[Drive]) -> None:
    assert part in refusal("drive", "write", "web-data-1", *words)


# ── reconcile ────────────────────────────────────────────────────────────────


def test_once_does_what_waits(db: None) -> None:
    array = factories.make_drive_array(factories.make_infrastructure(), engine="simulated", made=False)

    run("reconcile", "--once")

    assert list(array.drives.values_list("head_layer", flat=True)) == [1, 1]


def test_once_leaves_work_to_the_worker_that_runs(drives: list[Drive]) -> None:
    lock = worker_lock()
    assert lock
    try:
        assert refusal("reconcile", "--once") == (
            "Another worker is at work already, and does what waits. Nothing was done here."
        )
    finally:
        lock.release()


def test_nothing_amiss(drives: list[Drive]) -> None:
    take(drives[0])
    actions.delete(take(drives[0]), by=Infrastructure.objects.get().members.get())  # its layer waits to be merged
    driver_of(drives[0].pool).grow(drives[0].pk, size_bytes=2 * drives[0].size_bytes)

    assert run("reconcile", "--audit") == "Nothing amiss.\n"


def _lose_snapshot(drives: list[Drive]) -> str:
    take(drives[0])
    Snapshot.objects.update(layer=7)
    return (
        "atlas-prod/web-data-1: the data of snapshot #1 is missing in storage. "
        "Restore a backup, or delete the snapshot.\n"
        "atlas-prod/web-data-1: layer 1 in storage belongs to no snapshot.\n"
    )


def _lose_row(drives: list[Drive]) -> str:
    take(drives[1]).delete()
    return "atlas-prod/web-data-2: layer 1 in storage belongs to no snapshot.\n"


def _move_head(drives: list[Drive]) -> str:
    driver_of(drives[0].pool).snapshot(drives[0].pk, frozen=1, new_layer=2)
    Drive.objects.update(reclaim_due=True)
    return "atlas-prod/web-data-1: storage is at layer 2, the database says 1.\n"


def _lose_volume(drives: list[Drive]) -> str:
    driver_of(drives[0].pool).delete_drive(drives[0].pk)
    return "atlas-prod/web-data-1: its volume is missing in storage. Restore it from a backup.\n"


def _lose_drive(drives: list[Drive]) -> str:
    pk = drives[1].pk
    drives[1].delete()
    return f"Pool pool-simulated: drive-{pk} is stored, but belongs to no drive.\n"


def _hold_for_nothing(drives: list[Drive]) -> str:
    Drive.objects.filter(number=1).update(hold="Creating snapshot #1.")
    return "atlas-prod/web-data-1: it is held (“Creating snapshot #1.”), but nothing is in work.\n"


def _forget_hold(drives: list[Drive]) -> str:
    take(drives[0])
    Snapshot.objects.update(state=State.REVERTING)
    Snapshot.objects.update(requested_at=timezone.now() + timedelta(seconds=1))
    return "atlas-prod/web-data-1: snapshot #1 is reverting, but the drive is not held.\n"


def _wait_for_ever(drives: list[Drive]) -> str:
    take(drives[0])
    at = timezone.now() - timedelta(minutes=6)
    Snapshot.objects.update(state=State.REVERTING, requested_at=at)
    Drive.objects.filter(number=1).update(hold="Reverting to #1.")
    Server.objects.filter(instance__number=2).update(power_command="reset", power_asked_at=at)
    return (
        f"atlas-prod/web-data-1: snapshot #1 is reverting since {at:%Y-%m-%d %H:%M}. Is a worker running?\n"
        f"web-2: Reset waits to be sent since {at:%Y-%m-%d %H:%M}. Is a worker running?\n"
    )


@pytest.mark.parametrize(
    "spoil",
    [
        *(_lose_snapshot, _lose_row, _move_head, _lose_volume, _lose_drive),
        *(_hold_for_nothing, _forget_hold, _wait_for_ever),
    ],
)
def test_audit_finds_what_is_amiss_and_changes_nothing(
    spoil: Callable[[list[Drive]], str], drives: list[Drive]
) -> None:
    expected = spoil(drives)
    before = [list(model.objects.order_by("pk").values()) for model in (Drive, Snapshot, Server, Event)]
    out = io.StringIO()

    with pytest.raises(CommandError) as ended:
        call_command("reconcile", "--audit", stdout=out)

    number = expected.count("\n")
    assert out.getvalue() == expected
    assert (ended.value.returncode, str(ended.value)) == (
        1,
        "1 thing is amiss." if number == 1 else f"{number} things are amiss.",
    )
    assert before == [list(model.objects.order_by("pk").values()) for model in (Drive, Snapshot, Server, Event)]


def test_audit_finds_strange_files(db: None) -> None:
    drive = make_drives("qcow2")[0]
    (drive.pool.path / f"drive-{drive.pk}" / "notes.txt").write_text("mine")
    (drive.pool.path / "old").mkdir()
    out = io.StringIO()

    with pytest.raises(CommandError, match=r"2 things are amiss\."):
        call_command("reconcile", "--audit", stdout=out)

    assert out.getvalue() == (
        "atlas-prod/web-data-1: notes.txt is not a layer.\nPool pool-qcow2: old is not a drive.\n"
    )


def test_what_interrupted_work_left_is_cleaned_and_what_may_be_somebodys_is_named(db: None) -> None:
    first, second = make_drives("qcow2")
    pool, driver = first.pool, driver_of(first.pool)
    snapshot = take(first)
    (pool.path / f"drive-{first.pk}" / "new-layer-9.qcow2").write_bytes(b"x")
    (pool.path / "deleted-90").mkdir()
    (pool.path / f"deleted-{second.pk}").mkdir()
    Drive.objects.filter(pk=second.pk).update(hold="Deploy 1 destroys it.")
    (pool.path / "drive-91").mkdir()
    driver.create_drive(92, layer=1, size_bytes=GB)
    (pool.path / "old").mkdir()

    assert run("reconcile", "--clean").splitlines() == [
        "Pool pool-qcow2: removed deleted-90, the rest of a deleted drive.",
        f"Pool pool-qcow2: removed drive-{first.pk}/new-layer-9.qcow2, which was not finished.",
        "Pool pool-qcow2: removed drive-91, which was never made whole.",
        (
            "Pool pool-qcow2: drive-92 is stored, but belongs to no drive. It was left: it may be somebody's data. If "
            f"another database knows it, restore that one; if nobody needs it, remove {pool.path}/drive-92 by hand."
        ),
        "Pool pool-qcow2: old is not a drive. It was left; move it away if nobody needs it there.",
    ]

    assert driver.layers(first.pk) == {snapshot.layer, snapshot.new_layer}
    assert driver.head(92) == 1
    assert (pool.path / "old").is_dir()
    assert (pool.path / f"deleted-{second.pk}").is_dir()  # a deploy is at it


def test_clean_installation_says_so_and_a_pool_in_maintenance_is_left_alone(db: None) -> None:
    drive = make_drives("qcow2")[0]
    assert run("reconcile", "--clean") == (
        "Nothing was left over. The worker removes by itself what it finds interrupted.\n"
    )
    (drive.pool.path / "deleted-90").mkdir()
    StoragePool.objects.update(maintenance=True)

    assert run("reconcile", "--clean") == "Pool pool-qcow2 is in maintenance: nothing was removed from it.\n"
    assert (drive.pool.path / "deleted-90").is_dir()


def start_worker(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(django_settings.BASE_DIR / "manage.py"), "reconcile"],
        env={**os.environ, "DATA_DIR": str(data_dir), "DATABASE_URL": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "words", [("drive", "list"), ("reconcile", "--audit"), ("reconcile", "--clean"), ("reconcile", "--once")]
)
def test_new_database_is_answered_with_a_sentence(words: tuple[str, ...], db: None) -> None:
    with connection.cursor() as cursor:
        for table in ("editor_drive", "editor_storagepool", "editor_server"):
            cursor.execute(f"ALTER TABLE {table} RENAME TO gone_{table}")

    assert refusal(*words).startswith("The database could not be used: ")
    assert refusal(*words).endswith(". If it is new or of an older version, run: manage.py migrate")


@pytest.mark.slow
@pytest.mark.skipif(connection.vendor != "sqlite", reason="Its workers use a database file of their own.")
def test_worker_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with copied_database(tmp_path) as copy:
        copy.path.rename(tmp_path / "editor.sqlite3")

    with start_worker(tmp_path) as first:
        assert first.stdout
        assert first.stderr
        assert first.stdout.readline() == "The worker runs. Stop it with Ctrl-C.\n"
        with start_worker(tmp_path) as second:
            assert second.stderr
            assert "Another worker is at work. This one waits" in second.stderr.readline()
            first.send_signal(signal.SIGTERM)
            assert first.wait(timeout=20) == 0
            assert "The other worker has ended. This one works now." in second.stderr.readline()
            second.send_signal(signal.SIGINT)
            assert second.wait(timeout=20) == 0
        assert first.stdout.read() == "Stopping: what is begun is finished.\n"
        assert first.stderr.read() == ""


# ── What is served ───────────────────────────────────────────────────────────


@pytest.fixture
def served(drives: list[Drive], settings: Settings) -> SimulatedExporter:
    """Both drives are served."""
    settings.ISCSI_EXPORTER = "simulated"
    export_watch.look()
    for drive in drives:
        exports.serve(drive.pk)
    one = exports.exporter()
    assert isinstance(one, SimulatedExporter)
    return one


def test_exports_are_listed_with_who_is_logged_in(drives: list[Drive], served: SimulatedExporter) -> None:
    served.log_in(target_iqn(drives[0]))
    served.withdraw(target_iqn(drives[1]))

    said = run("exports").splitlines()

    initiator = initiator_iqn(drives[0].instance)  # type: ignore[arg-type]
    assert said[1] == f"{target_iqn(drives[0])}  atlas-prod/web-data-1  served; {initiator} is logged in from 192.0.2.7"
    assert said[2] == f"{target_iqn(drives[1])}  atlas-prod/web-data-2  not served."


def test_exports_are_ended_unless_somebody_uses_them(drives: list[Drive], served: SimulatedExporter) -> None:
    served.log_in(target_iqn(drives[0]))
    assert "is still logged in from 192.0.2.7" in refusal("exports", "stop")
    assert len(served.targets()) == 2

    served.log_out(target_iqn(drives[0]))
    run("exports", "stop")

    assert served.targets() == {}
    assert driver_of(drives[0].pool).devices() == {}


def test_drive_is_not_written_while_its_server_has_just_logged_in(
    drives: list[Drive], served: SimulatedExporter
) -> None:
    served.log_in(target_iqn(drives[0]))

    said = refusal("drive", "write", str(drives[0].pk), "--text", "x")

    assert "is still logged in" in said
    assert said.endswith("Nothing was written.")


def test_pool_that_does_not_answer_keeps_no_other_from_being_given_back(
    drives: list[Drive], served: SimulatedExporter
) -> None:
    # Asked first.
    silent = StoragePool.objects.create(pk=0, label="a silent one", engine="simulated", folder="/silent")
    driver_of(silent).fail_next("devices", StorageError("The cluster is silent."))  # type: ignore[attr-defined]

    assert refusal("exports", "stop") == (
        "Nothing is served any more, but not all storage pools could be told so. Repeating this is safe. "
        "a silent one: The cluster is silent."
    )

    assert served.targets() == {}
    assert driver_of(drives[0].pool).devices() == {}


def test_product_that_ends_says_which_it_was(drives: list[Drive], served: SimulatedExporter) -> None:
    def said() -> str:
        out = io.StringIO()
        Serve(stdout=out).stop_exports()
        return out.getvalue()

    served.log_in(target_iqn(drives[0]))
    assert said().startswith("Drives are still served over iSCSI, and go on being: ")

    served.log_out(target_iqn(drives[0]))
    driver_of(drives[0].pool).fail_next("devices", StorageError("The cluster is silent."))  # type: ignore[attr-defined]
    assert said().startswith("Nothing is served any more, but not all storage pools could be told so.")
    assert served.targets() == {}


def test_exports_are_not_ended_under_a_worker(served: SimulatedExporter) -> None:
    lock = worker_lock()
    assert lock
    try:
        assert refusal("exports", "stop") == "The worker is at work and would serve them again. Stop it first."
    finally:
        lock.release()


def test_product_that_ends_leaves_the_drives_to_a_worker_that_has_taken_over(
    drives: list[Drive], served: SimulatedExporter
) -> None:
    lock = worker_lock()
    assert lock
    try:
        Serve().stop_exports()
        assert len(served.targets()) == 2
    finally:
        lock.release()

    Serve().stop_exports()
    assert served.targets() == {}


def test_installation_without_exporter_says_so(drives: list[Drive]) -> None:
    assert refusal("exports") == "This installation serves no drives: ISCSI_EXPORTER is none."


def test_audit_tells_drives_that_servers_cannot_reach_and_targets_without_drive(
    drives: list[Drive], served: SimulatedExporter
) -> None:
    served.forget()
    exports.serve(drives[0].pk)
    Drive.objects.filter(pk=drives[0].pk).update(instance=None)

    said = "\n".join(findings(timezone.now()))

    assert "atlas-prod/web-data-2: is not served over iSCSI." in said
    assert "web-data-1: is not served" not in said


@pytest.mark.parametrize("state", [{"maintenance": True}, {"total_bytes": 100 * GB, "free_bytes": 4 * GB}])
def test_nothing_is_written_by_hand_in_a_pool_that_takes_nothing(state: dict[str, Any]) -> None:
    drive = factories.make_drive_array(factories.make_infrastructure(factories.make_user()), count=1).drives.get()
    driver_of(drive.pool).create_drive(drive.pk, layer=1, size_bytes=drive.size_bytes)
    StoragePool.objects.update(**state)

    assert refusal("drive", "write", str(drive.pk), "--text", "x").startswith("Storage pool pool-simulated is ")
    assert len(run("drive", "hash", str(drive.pk)).strip()) == 64


# ── Pools ────────────────────────────────────────────────────────────────────


def test_pools_are_listed_with_the_room_in_them() -> None:
    infrastructure = factories.make_infrastructure(factories.make_user())
    factories.make_drive_array(infrastructure, count=2)
    StoragePool.objects.update(
        capacity_gb=100, overcommit_percent=150, total_bytes=100 * GB, free_bytes=13 * GB, usage_seen_at=timezone.now()
    )
    StoragePool.objects.create(label="spare", storage_type="iscsi_hdd")

    first, warning, second = run("pools").splitlines()
    used, promised = "87 of 100 GB used, 87 %, read just now", "80 of 150 GB promised to 2 drives"
    assert first == f"pool-simulated  simulated  iscsi_ssd  {used}  {promised}"
    assert warning.startswith("  Storage pool pool-simulated is 87 % full (87 of 100 GB). From 95 % on, no drives are")
    assert second == "spare  qcow2  iscsi_hdd  not read yet  0 B promised to 0 drives"


def test_pools_are_checked_from_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = StoragePool.objects.create(label="ssd-1", engine="simulated")
    assert run("pools", "--check").splitlines()[1:] == ["  Memory: works"]

    found = [Check("Programs", "Install qemu-utils."), Check("Folder")]
    monkeypatch.setattr(driver_of(pool), "check", lambda: found)
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"1 thing is wrong\."):
        call_command("pools", "--check", stdout=out)
    assert out.getvalue().splitlines()[1:] == ["  Programs: Install qemu-utils.", "  Folder: works"]
    pool.refresh_from_db()
    assert pool.checked == []
