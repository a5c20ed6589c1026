"""Drives that are served over iSCSI: to whom, when not, and what a revert does about it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from editor import export_watch, exports, iscsi, pool_devices
from editor.iscsi import ExportError
from editor.iscsi_names import initiator_iqn, serial_number, target_iqn
from editor.models import Drive, Event, Instance, Server, StoragePool
from editor.rules import Refused, why_not_touch_bytes
from editor.storage import Device, Disturbing, StorageError
from editor.storage.simulated import SimulatedStorage
from editor.volumes import driver_of
from snapshots import actions
from snapshots.rules import why_not_revert
from tests.snapshots.asking import sign_in, tab
from tests.snapshots.conftest import World, exporter, look_and_work


def driver(world: World) -> SimulatedStorage:
    found = driver_of(world.drive.pool)
    assert isinstance(found, SimulatedStorage)
    return found


def name(world: World) -> str:
    return target_iqn(world.drive)


def is_served(world: World) -> bool:
    target = exporter().targets().get(name(world))
    return target is not None and target.device is not None and world.pk in driver(world).devices()


# ── What is served ───────────────────────────────────────────────────────────


def test_drive_is_served_to_its_instance_alone(served: World) -> None:
    export = exporter().exports[name(served)]

    assert (export.drive, export.serial) == (served.pk, serial_number(served.drive))
    assert export.initiator == initiator_iqn(served.instance)
    assert export.device == driver(served).devices()[served.pk]
    assert len(export.password) == 16


def test_drive_of_no_instance_is_not_served(served: World) -> None:
    Drive.objects.update(instance=None)

    look_and_work(served)

    assert (exporter().targets(), driver(served).devices()) == ({}, {})
    assert (served.drive.exported, served.drive.export_error) == (False, "")


def test_nothing_is_served_where_that_is_switched_off(world: World) -> None:
    look_and_work(world)

    assert exports.exporter() is None
    assert (world.drive.exported, driver(world).devices()) == (False, {})


@pytest.mark.postgres
def test_open_session_is_forgotten_where_serving_was_switched_off(served: World, settings: Settings) -> None:
    exporter().log_in(name(served))
    look_and_work(served)
    settings.ISCSI_EXPORTER = "none"

    look_and_work(served)

    assert (served.drive.sessions, served.drive.exported) == ([], False)


def test_who_is_logged_in_by_a_former_name_stands_against_a_revert_and_a_second_target(
    served: World, settings: Settings
) -> None:
    """Whoever changes IQN_PREFIX must not get two targets, with two writers, for one drive."""
    snapshot, before = served.take("first"), name(served)
    served.write("second")
    served.switch_off()
    exporter().log_in(before)
    settings.IQN_PREFIX = "iqn.2026-12.org.example:other"

    look_and_work(served)
    look_and_work(served)

    assert set(exporter().targets()) == {before}
    assert served.drive.sessions
    assert "still logged in" in served.drive.export_error
    with pytest.raises(ExportError, match="still logged in"):
        exports.take_away(served.drive)
    assert (served.content(), served.drive.snapshots.get()) == ("second", snapshot)

    exporter().log_out(before)
    look_and_work(served)
    look_and_work(served)
    assert set(exporter().targets()) == {name(served)}
    assert (served.drive.exported, served.drive.export_error) == (True, "")


def test_session_that_was_known_is_not_forgotten_while_the_exporter_does_not_answer(served: World) -> None:
    exporter().log_in(name(served))
    look_and_work(served)
    exporter().fail_next("targets", ExportError("The iSCSI target tgtd does not answer."))

    export_watch.look()

    assert served.drive.sessions
    assert not served.drive.exported


def test_what_becomes_due_during_a_look_stays_due(served: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new CHAP password would never reach the target otherwise: a look compares no passwords."""
    exporter().log_in(name(served))
    look = export_watch._compare

    def compare(*arguments: Any) -> Any:
        Drive.objects.update(export_due=True)
        return look(*arguments)

    monkeypatch.setattr(export_watch, "_compare", compare)

    export_watch.look()

    assert (served.drive.export_due, len(served.drive.sessions)) == (True, 1)


@pytest.mark.parametrize("fate", ["host", "exporter", "device"])
def test_exports_come_back_by_themselves(served: World, fate: str) -> None:
    before = exporter().exports[name(served)]
    if fate != "device":
        exporter().forget()
    if fate != "exporter":
        driver(served).deactivate(served.pk)

    look_and_work(served)

    assert is_served(served)
    assert exporter().exports[name(served)] == before


def test_dead_device_is_closed_before_it_is_opened_again_though_the_server_is_logged_in(served: World) -> None:
    exporter().log_in(name(served))
    driver(served).deactivate(served.pk)
    exporter().calls.clear()

    look_and_work(served)

    assert [verb for verb, _ in exporter().calls if verb != "targets"] == ["withdraw", "publish"]


def test_target_whose_drive_is_gone_goes_and_others_stay(served: World) -> None:
    export = exporter().exports[name(served)]
    one = exporter()
    for iqn in (target_iqn(Drive(pk=4711)), "iqn.2001-04.org.example:drive-4711"):
        one.publish(type(export)(**{**vars(export), "iqn": iqn}))

    look_and_work(served)

    assert set(one.targets()) == {name(served), "iqn.2001-04.org.example:drive-4711"}


def test_drive_that_cannot_be_served_says_why_and_is_tried_again(served: World) -> None:
    exporter().forget()
    for _ in range(2):
        exporter().fail_next("publish", ExportError("The port is taken."))

    look_and_work(served)
    assert (served.drive.exported, served.drive.export_error) == (False, "The port is taken.")
    served.take("a snapshot does not wait for that")

    look_and_work(served)
    look_and_work(served)
    assert (served.drive.exported, served.drive.export_error) == (True, "")


@pytest.mark.parametrize("fate", ["exporter", "device"])
def test_interruption_is_told_if_a_server_was_logged_in(served: World, fate: str) -> None:
    def interrupt() -> list[tuple[str, str]]:
        Event.objects.all().delete()
        exporter().forget() if fate == "exporter" else driver(served).deactivate(served.pk)
        for _ in range(2):
            look_and_work(served)
        return list(Event.objects.told().values_list("verb", "subject"))

    assert interrupt() == []

    exporter().log_in(name(served))
    look_and_work(served)
    assert interrupt() == [("noticed an interruption in serving", served.drive.label)]
    assert is_served(served)


def test_drive_of_a_pool_that_cannot_be_asked_is_not_called_served_when_its_target_is_gone(served: World) -> None:
    def look(*, silent: bool) -> tuple[bool, str, int]:
        if silent:
            driver(served).fail_next("devices", StorageError("The cluster is silent."))
        export_watch.look()
        return served.drive.exported, served.drive.export_error, len(served.drive.sessions)

    exporter().log_in(name(served))
    assert look(silent=True) == (True, "", 1)  # what is open stays open

    exporter().forget()
    assert look(silent=True) == (False, "The cluster is silent.", 0)

    export_watch.look()
    assert served.drive.export_due  # at once, not in turns
    look_and_work(served)
    assert is_served(served)
    assert (served.drive.exported, served.drive.export_error) == (True, "")


def test_pool_that_hangs_delays_the_look_at_others_once(served: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_devices, "PATIENCE_SECONDS", 0.02)
    hangs, asked = threading.Event(), []
    other = StoragePool.objects.create(label="hangs", engine="simulated", folder="/hangs")

    def devices() -> dict[int, Device]:
        asked.append(1)
        assert hangs.wait(10)
        return {}

    with monkeypatch.context() as patched:
        patched.setattr(driver_of(other), "devices", devices)
        for _ in range(3):
            exporter().forget()
            look_and_work(served)
            assert is_served(served)
        assert asked == [1]

        hangs.set()
        look_and_work(served)
    assert "hangs" not in [str(error) for error in Drive.objects.values_list("export_error", flat=True)]


def test_pool_that_cannot_be_asked_is_logged_once(served: World, caplog: pytest.LogCaptureFixture) -> None:
    def look(*, silent: bool) -> list[str]:
        caplog.clear()
        if silent:
            driver(served).fail_next("devices", StorageError("The cluster is silent."))
        export_watch.look()
        return [record.getMessage().strip() for record in caplog.records]

    with caplog.at_level("INFO", logger="editor.pool_devices"):
        said = [look(silent=silent) for silent in (True, True, False, True)]

    pool = served.drive.pool
    wrong = f"What is active in pool {pool} could not be read: The cluster is silent."
    assert said == [[wrong], [], [f"What is active in pool {pool} can be read again."], [wrong]]


@pytest.mark.postgres
def test_failure_is_not_told_with_every_look(served: World) -> None:
    exporter().forget()
    for _ in range(9):
        exporter().fail_next("publish", ExportError("The port is taken."))
    for _ in range(2):
        look_and_work(served)
    before = Event.objects.count()

    for _ in range(3):
        look_and_work(served)

    assert Event.objects.count() == before


def test_pool_that_cannot_be_asked_leaves_what_was_known(served: World) -> None:
    driver(served).fail_next("devices", StorageError("The pool's disk is away."))

    export_watch.look()

    assert served.drive.exported
    assert not served.drive.export_due


@pytest.mark.postgres
def test_what_a_server_writes_is_counted_while_it_is_logged_in(served: World) -> None:
    snapshot = served.take("first")
    exporter().log_in(name(served))
    look_and_work(served)
    served.write("second")

    served.clock.advance(60)
    look_and_work(served)

    snapshot.refresh_from_db()
    assert snapshot.written_since_bytes > 0


@pytest.mark.postgres
def test_looks_ask_as_much_of_the_database_for_many_drives_as_for_one(
    served: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    array = served.drive.drive_array
    instances = Instance.objects.bulk_create(
        Instance(instance_array=served.instance.instance_array, number=number) for number in range(2, 30)
    )
    pool = StoragePool.objects.get()
    Drive.objects.bulk_create(
        Drive(drive_array=array, number=one.number, instance=one, pool=pool, size_mb=1024, head_layer=1)
        for one in instances
    )

    with django_assert_max_num_queries(8):
        export_watch.look()


# ── Reverting ────────────────────────────────────────────────────────────────


@pytest.mark.postgres
def test_revert_takes_the_drive_away_and_brings_it_back_as_it_was(served: World) -> None:
    snapshot = served.take("first")
    served.write("second")
    served.switch_off()
    before = exporter().exports[name(served)]
    during: list[bool] = []
    driver(served).before("revert", lambda: during.append(is_served(served)))

    served.revert(snapshot)
    served.work()

    assert during == [False]
    assert (served.content(), is_served(served)) == ("first", True)
    assert exporter().exports[name(served)] == before
    assert served.drive.hold == ""


def test_server_that_is_logged_in_is_not_off_whatever_its_bmc_says(served: World) -> None:
    snapshot = served.take("first")
    served.write("second")
    served.switch_off()
    served.revert(snapshot)
    exporter().log_in(name(served), "192.0.2.7")

    served.work()

    trouble = served.drive.trouble
    assert trouble is not None
    assert f"{initiator_iqn(served.instance)} is still logged in from 192.0.2.7" in trouble.text
    assert (served.content(), served.drive.hold, is_served(served)) == ("second", "", True)


def test_server_that_starts_while_its_drive_is_taken_away_finds_what_it_left(served: World) -> None:
    snapshot = served.take("first")
    served.write("second")
    served.switch_off()

    def by_hand() -> None:
        Server.objects.filter(pk=served.server.pk).update(address=f"simulated://by-hand-{served.pk}?start=on")

    driver(served).after("deactivate", by_hand)

    served.revert(snapshot)
    served.work()

    trouble = served.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("web-1 is on. Shut it down, then revert again. Read back at")
    assert (served.content(), served.numbers(), served.drive.hold) == ("second", [1], "")
    assert is_served(served)


def test_open_session_that_is_known_stands_against_a_revert_and_against_commands(served: World) -> None:
    snapshot = served.take("first")
    served.switch_off()
    exporter().log_in(name(served), "192.0.2.7")
    look_and_work(served)
    snapshot.drive = served.drive

    reason = why_not_revert(snapshot)

    assert reason is not None
    assert "is still logged in to web-data-1 from 192.0.2.7" in reason
    assert why_not_touch_bytes(served.drive) == reason
    with pytest.raises(Refused):
        served.revert(snapshot)
    exporter().log_out(name(served))
    look_and_work(served)
    served.revert(snapshot)


def test_exporter_that_does_not_answer_leaves_the_drive_as_it_was(served: World) -> None:
    snapshot = served.take("first")
    served.write("second")
    served.switch_off()
    exporter().fail_next("withdraw", ExportError("The iSCSI target did not answer."))

    served.revert(snapshot)
    served.work()

    trouble = served.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("The iSCSI target did not answer.")
    assert (served.content(), is_served(served), served.drive.hold) == ("second", True, "")


def test_nothing_is_asked_of_the_exporter_while_the_pool_does_not_answer(served: World) -> None:
    snapshot = served.take("first")
    served.switch_off()
    driver(served).fail_next("head", StorageError("The cluster does not answer."))
    exporter().calls.clear()

    with pytest.raises(StorageError):
        exports.take_away(served.drive)

    assert ("withdraw", name(served)) not in exporter().calls
    assert is_served(served)
    served.revert(snapshot)
    served.work()
    assert served.drive.trouble is None


def test_failed_revert_brings_the_drive_back(served: World) -> None:
    snapshot = served.take("first")
    served.write("second")
    served.switch_off()
    driver(served).fail_next("revert", StorageError("The storage pool is full."))

    served.revert(snapshot)
    served.work()

    assert (served.content(), is_served(served)) == ("second", True)


def test_revert_that_cannot_be_served_again_says_so_and_goes_on_trying(served: World) -> None:
    snapshot = served.take("first")
    served.write("second")
    served.switch_off()
    exporter().fail_next("publish", ExportError("The port is taken."))

    served.revert(snapshot)
    served.work()

    told = Event.objects.told()[0]
    assert told.text == "To #1; no snapshot was deleted. Not served over iSCSI yet: The port is taken."
    assert served.content() == "first"
    look_and_work(served)
    look_and_work(served)
    assert is_served(served)


def test_worker_that_dies_with_the_drive_taken_away_is_succeeded_by_one_that_brings_it_back(served: World) -> None:
    snapshot = served.take("first")
    served.write("second")
    served.switch_off()
    served.revert(snapshot)
    exports.take_away(served.drive)

    served.work(restarted=True)

    assert (served.content(), served.drive.hold, is_served(served)) == ("second", "", True)


def test_revert_that_had_happened_is_finished_though_its_server_is_logged_in_again(served: World) -> None:
    """The worker died after it brought the drive back; somebody switched the server on by hand."""
    snapshot = served.take("first")
    served.write("second")
    served.switch_off()
    served.revert(snapshot)
    snapshot.refresh_from_db()
    exports.take_away(served.drive)
    driver(served).revert(served.pk, onto=snapshot.layer, new_layer=snapshot.new_layer)
    exports.bring_back(served.drive)
    exporter().log_in(name(served))

    served.work(restarted=True)

    assert (served.content(), served.drive.hold, served.drive.trouble) == ("first", "", None)
    assert served.drive.snapshots.get().state == "ready"
    assert len(exporter().targets()[name(served)].sessions) == 1


def test_page_says_who_is_logged_in_and_offers_no_revert(served: World, client: Client) -> None:
    snapshot = served.take("first")
    served.switch_off()
    exporter().log_in(name(served), "192.0.2.7")
    look_and_work(served)
    sign_in(client, served.operator)

    page = tab(client, served.pk)

    reason = page.reason(f"Revert to #{snapshot.number}")
    assert page.control(f"Revert to #{snapshot.number}").unavailable
    assert "The BMC says that web-1 is off." in reason
    assert "is still logged in to web-data-1 from 192.0.2.7" in reason
    assert "You can revert." not in page.words
    assert "counted at" in page.words


def test_what_was_written_is_counted_when_the_server_logs_out(served: World) -> None:
    snapshot = served.take("first")
    exporter().log_in(name(served))
    look_and_work(served)
    served.write("second")
    exporter().log_out(name(served))

    look_and_work(served)

    snapshot.refresh_from_db()
    assert snapshot.written_since_bytes > 0


# ── Creating where that disturbs ─────────────────────────────────────────────


def test_snapshot_that_would_hold_up_a_server_is_refused_while_one_is_logged_in(served: World) -> None:
    exporter().log_in(name(served))
    driver(served).fail_next("snapshot", Disturbing("It would take 9 s. Shut the server down first."))

    actions.request_create(served.drive, by=served.operator)
    served.work()

    trouble = served.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("It would take 9 s. Shut the server down first.")
    assert (served.numbers(), is_served(served)) == ([], True)


def test_snapshot_that_would_hold_up_a_server_is_made_when_none_is_logged_in(served: World) -> None:
    driver(served).fail_next("snapshot", Disturbing("It would take 9 s. Shut the server down first."))

    actions.request_create(served.drive, by=served.operator)
    served.work()

    assert (served.numbers(), is_served(served), served.drive.trouble) == ([1], True, None)


def test_drive_that_was_served_before_serving_was_switched_off_is_reverted(served: World, settings: Settings) -> None:
    snapshot = served.take("first")
    served.write("second")
    served.switch_off()
    settings.ISCSI_EXPORTER = "none"

    served.revert(snapshot)
    served.work()

    assert (served.content(), driver(served).devices()) == ("first", {})


def test_who_is_logged_in_since_before_serving_was_switched_off_stands_against_a_revert(
    served: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What serves outlives the product, and so does its word for it that a server is not off."""
    snapshot, one = served.take("first"), exporter()
    served.write("second")
    served.switch_off()
    one.log_in(name(served))
    monkeypatch.setattr(iscsi, "exporter_for", lambda *_: one)
    settings.ISCSI_EXPORTER = "none"
    look_and_work(served)

    served.revert(snapshot)
    served.work()

    trouble = served.drive.trouble
    assert trouble is not None
    assert "is still logged in" in trouble.text
    assert served.content() == "second"
