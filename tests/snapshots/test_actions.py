"""The rules of snapshots, asked through the actions, on a worker that is driven by hand."""

from __future__ import annotations

from uuid import uuid4

import pytest

from editor.actions import power_on
from editor.models import Drive, Event, Instance, Server
from editor.power import PowerError
from editor.reconcile import Worker
from editor.rules import Refused
from editor.storage import StorageError
from editor.storage.simulated import SimulatedStorage
from editor.volumes import driver_of
from snapshots import actions, upkeep
from snapshots.models import Snapshot, State
from tests.snapshots.conftest import BLOCK, World


def failing(world: World, verb: str, sentence: str) -> None:
    """The next such verb of the engine fails."""
    driver_of(world.drive.pool).fail_next(verb, StorageError(sentence, detail="E-42"))  # type: ignore[attr-defined]


# ── Creating ─────────────────────────────────────────────────────────────────


@pytest.mark.postgres
def test_snapshot_is_numbered_named_and_told(world: World) -> None:
    actions.request_create(world.drive, by=world.operator, note="Before release")

    snapshot = world.drive.snapshots.get()
    assert (snapshot.state, world.drive.hold) == (State.CREATING, "Creating snapshot #1.")

    world.work()

    snapshot.refresh_from_db()
    assert (snapshot.state, snapshot.number, snapshot.note) == (State.READY, 1, "Before release")
    assert snapshot.name == f"snapshot-{snapshot.pk}-2026-05-14-14-02-31"
    assert (world.drive.hold, world.drive.snapshot_count) == ("", 1)
    event = Event.objects.told()[0]
    assert (event.actor, event.verb, event.text) == (world.operator, "created snapshot #1 of", "Before release")


def test_snapshot_is_taken_while_the_server_runs(world: World) -> None:
    assert world.server.power == "on"

    world.take("first")

    assert world.numbers() == [1]


def test_sixth_snapshot_deletes_the_oldest_after_it_was_made(world: World) -> None:
    first, *_ = [world.take(f"state {number}") for number in range(1, 6)]

    actions.request_create(world.drive, by=world.operator, expect_delete=first.pk)

    assert world.numbers() == [6, 5, 4, 3, 2, 1]
    assert world.drive.snapshot_count == 5
    world.work()
    assert world.numbers() == [6, 5, 4, 3, 2]
    assert world.drive.snapshot_count == 5
    assert Event.objects.told()[0].text == "Deleted #1."


def test_sixth_snapshot_is_refused_when_another_or_none_would_go(world: World) -> None:
    taken = [world.take(f"state {number}") for number in range(1, 6)]
    actions.delete(taken[0], by=world.operator)

    with pytest.raises(actions.ListChanged, match="a slot is free now"):
        actions.request_create(world.drive, by=world.operator, expect_delete=taken[1].pk)

    world.take("state 6")
    with pytest.raises(actions.ListChanged, match="now deletes #2"):
        actions.request_create(world.drive, by=world.operator, expect_delete=taken[0].pk)
    with pytest.raises(actions.ListChanged, match="now deletes #2"):
        actions.request_create(world.drive, by=world.operator, expect_delete=None)

    assert world.numbers() == [6, 5, 4, 3, 2]


def test_same_form_makes_one_snapshot(world: World) -> None:
    key = uuid4()

    for _ in range(3):
        actions.request_create(world.drive, by=world.operator, key=key)
        world.work()

    assert world.numbers() == [1]


def test_second_create_is_refused_while_one_is_made(world: World) -> None:
    actions.request_create(world.drive, by=world.operator)

    with pytest.raises(Refused, match=r"web-data-1 is busy: Creating snapshot #1\. Try again"):
        actions.request_create(world.drive, by=world.owner)


@pytest.mark.postgres
def test_undeployed_drive_has_no_snapshots(world: World) -> None:
    Drive.objects.filter(pk=world.pk).update(head_layer=None)

    with pytest.raises(Refused, match="Deploy it first"):
        actions.request_create(world.drive, by=world.operator)


@pytest.mark.postgres
@pytest.mark.parametrize("who", ["viewer", "stranger"])
def test_only_operators_and_owners_change_snapshots(world: World, who: str) -> None:
    snapshot = world.take("first")
    world.switch_off()
    person = getattr(world, who)

    for attempt in (
        lambda: actions.request_create(world.drive, by=person),
        lambda: actions.request_revert(snapshot, by=person, expect=()),
        lambda: actions.delete(snapshot, by=person),
        lambda: actions.edit_note(snapshot, note="mine", by=person),
    ):
        with pytest.raises(Refused, match=r"Ask an owner"):
            attempt()

    assert list(world.drive.snapshots.values_list("note", "state")) == [("first", "ready")]


def test_failed_create_leaves_everything_and_says_so(world: World) -> None:
    world.take("first")
    failing(world, "snapshot", "Storage did not answer within 10 seconds.")

    actions.request_create(world.drive, by=world.operator)
    world.work()

    assert (world.numbers(), world.drive.hold) == ([1], "")
    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.verb == "could not create snapshot #2 of"
    assert trouble.text == (
        "Storage did not answer within 10 seconds. Read back at 14:03:31: nothing was changed, "
        "web-data-1 still has its 1 snapshot."
    )
    assert trouble.detail == "E-42"


def test_failed_sixth_create_keeps_the_oldest(world: World) -> None:
    oldest, *_ = [world.take(f"state {number}") for number in range(1, 6)]
    failing(world, "snapshot", "The storage pool is full.")

    actions.request_create(world.drive, by=world.operator, expect_delete=oldest.pk)
    world.work()

    assert world.numbers() == [5, 4, 3, 2, 1]


def test_outcome_that_cannot_be_read_back_holds_the_drive_until_it_can(world: World) -> None:
    failing(world, "snapshot", "Storage did not answer.")
    failing(world, "abandon", "Storage did not answer.")
    actions.request_create(world.drive, by=world.operator)

    world.work()

    assert world.drive.hold.startswith("Storage has not said yet what became of #1.")
    assert world.drive.snapshots.get().state == State.CREATING
    world.work(restarted=True)
    assert (world.drive.hold, world.numbers()) == ("", [])


@pytest.mark.parametrize(
    ("note", "noted"),
    [
        ("", "made between 14:02:31 and 14:07:31 UTC"),
        ("Before release", "Before release · made between 14:02:31 and 14:07:31 UTC"),
        ("x" * 80, "x" * 80),
    ],
)
def test_snapshot_that_storage_reports_late_says_between_when_it_was_made(world: World, note: str, noted: str) -> None:
    driver = driver_of(world.drive.pool)
    assert isinstance(driver, SimulatedStorage)

    def fall_silent() -> None:
        driver.after("snapshot", None)
        raise StorageError("The storage pool did not answer within 30 seconds.")

    driver.after("snapshot", fall_silent)
    failing(world, "abandon", "The storage pool has not answered to earlier work yet.")
    actions.request_create(world.drive, by=world.operator, note=note)
    world.work()
    assert world.drive.hold.startswith("Storage has not said yet what became of #1.")

    world.clock.advance(300)
    world.work()

    assert (world.drive.hold, world.drive.snapshots.get().note) == ("", noted)
    text = Event.objects.told()[0].text
    assert text.endswith("It was made between 14:02:31 and 14:07:31 UTC: storage has only said so now.")


# ── Reverting ────────────────────────────────────────────────────────────────


@pytest.mark.postgres
def test_revert_brings_the_bytes_back_and_deletes_what_is_newer(any_world: World) -> None:
    world = any_world
    one, two, three = (world.take(state) for state in ("one", "two", "three"))
    world.write("now")
    world.switch_off()

    world.revert(two)
    assert world.drive.hold == "Reverting to #2."
    world.work()

    assert (world.content(), world.numbers(), world.drive.hold) == ("two", [2, 1], "")
    assert Event.objects.told()[0].text == "To #2; deleted #3."
    world.write("later")
    world.revert(two)
    world.work()
    assert (world.content(), world.numbers()) == ("two", [2, 1])
    world.revert(one)
    world.work()
    assert (world.content(), world.numbers()) == ("one", [1])
    assert not Snapshot.objects.filter(pk=three.pk).exists()


def test_every_snapshot_keeps_its_bytes_whatever_is_deleted(any_world: World) -> None:
    world = any_world
    taken = [world.take(f"state {number}") for number in range(1, 6)]
    for gone in (taken[0], taken[2], taken[4]):
        actions.delete(gone, by=world.operator)
        world.work()
    world.switch_off()

    for snapshot, state in ((taken[3], "state 4"), (taken[1], "state 2")):
        world.revert(snapshot)
        world.work()
        assert world.content() == state
    # Merged away: the two kept layers and the head are all there is.
    assert len(driver_of(world.drive.pool).layers(world.pk)) == 2


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"power": "on"}, "Reverting needs web-1 off."),
        ({"power": "on", "power_command": "soft_shutdown"}, "web-1 is shutting down. Reverting waits for it."),
        ({"power": "off", "power_command": "power_on"}, "web-1 is powering on."),
        ({"power": "unknown"}, "Power state of web-1 is unknown."),
        ({"power": "off", "power_command": "reset"}, "web-1 is powering on."),
    ],
)
def test_revert_needs_the_server_known_to_be_off(world: World, fields: dict[str, str], sentence: str) -> None:
    snapshot = world.take("first")
    Server.objects.update(**fields)

    with pytest.raises(Refused) as refusal:
        world.revert(snapshot)

    assert str(refusal.value).startswith(sentence)
    assert world.drive.hold == ""


@pytest.mark.postgres
def test_drive_on_no_server_can_be_reverted(world: World) -> None:
    snapshot = world.take("first")
    world.write("later")
    Instance.objects.update(server=None)

    world.revert(snapshot)
    world.work()

    assert world.content() == "first"


def test_bmc_has_the_last_word_before_a_revert(world: World) -> None:
    snapshot = world.take("first")
    world.write("later")
    Server.objects.update(power="off")  # what is stored; the machine itself is on

    world.revert(snapshot)
    world.work()

    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.verb == "could not revert to #1:"
    assert trouble.text.startswith("web-1 is on. Shut it down, then revert again. Read back at")
    assert (world.content(), world.numbers(), world.drive.hold) == ("later", [1], "")
    assert world.server.power == "on"


def test_silent_bmc_stops_a_revert(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = world.take("first")
    world.switch_off()
    world.revert(snapshot)

    def silent(*_: object) -> None:
        raise PowerError("The BMC of this server does not answer.")

    monkeypatch.setattr("editor.power.SimulatedPower.read", silent)
    world.work()

    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("The BMC of web-1 did not answer, so it is not known to be off.")
    assert world.server.power == "unknown"


def test_revert_is_refused_when_the_list_changed(world: World) -> None:
    one, two = world.take("one"), world.take("two")
    world.switch_off()
    expect = {two.pk}
    world.take("three")

    with pytest.raises(actions.ListChanged, match=r"Otto Op created #3 at 14:04\. Check again\."):
        actions.request_revert(one, by=world.owner, expect=expect)

    assert world.numbers() == [3, 2, 1]


def test_revert_to_a_deleted_snapshot_says_so(world: World) -> None:
    one = world.take("one")
    world.switch_off()
    actions.delete(one, by=world.operator)

    with pytest.raises(actions.ListChanged, match="#1 does not exist any more"):
        actions.request_revert(one, by=world.operator, expect=())


def test_same_form_reverts_once(world: World) -> None:
    one = world.take("one")
    world.switch_off()
    key = uuid4()
    actions.request_revert(one, by=world.operator, expect=(), key=key)
    world.work()
    world.write("written since")

    actions.request_revert(one, by=world.operator, expect=(), key=key)
    world.work()

    assert world.content() == "written since"


def test_held_drive_keeps_its_server_off(world: World) -> None:
    one = world.take("one")
    world.switch_off()
    world.revert(one)

    with pytest.raises(Refused, match=r"web-data-1 is in work: Reverting to #1\."):
        power_on(world.instance, by=world.operator)
    world.work()
    power_on(world.instance, by=world.operator)

    assert world.server.power_command == "power_on"


def test_failed_revert_loses_nothing(world: World) -> None:
    one = world.take("one")
    world.take("two")
    world.write("now")
    world.switch_off()
    failing(world, "revert", "The storage pool is full. Free some space.")

    world.revert(one)
    world.work()

    assert (world.content(), world.numbers(), world.drive.hold) == ("now", [2, 1], "")


# ── The rest ─────────────────────────────────────────────────────────────────


def test_deleting_is_refused_while_the_drive_is_held(world: World) -> None:
    one = world.take("one")
    actions.request_create(world.drive, by=world.operator)

    with pytest.raises(Refused, match="web-data-1 is busy"):
        actions.delete(one, by=world.operator)


def test_deleted_snapshot_is_gone_at_once_and_its_layer_later(world: World) -> None:
    one = world.take("one")
    world.take("two")

    actions.delete(one, by=world.operator)

    assert (world.numbers(), world.drive.snapshot_count, world.drive.reclaim_due) == ([2], 1, True)
    world.work()
    assert not world.drive.reclaim_due
    assert one.layer not in driver_of(world.drive.pool).layers(world.pk)


@pytest.mark.postgres
def test_note_can_be_changed(world: World) -> None:
    one = world.take("one")

    actions.edit_note(one, note="Golden image", by=world.operator)

    one.refresh_from_db()
    assert one.note == "Golden image"


def test_written_since_is_counted_from_the_layers(any_world: World) -> None:
    world = any_world
    one = world.take("one")
    assert one.written_since_bytes == 0
    two = world.take("two")
    world.write("three")
    Drive.objects.update(observe_due=True)
    world.work()

    one.refresh_from_db()
    two.refresh_from_db()
    assert one.written_since_bytes > two.written_since_bytes > 0
    assert world.drive.used_bytes > one.written_since_bytes


@pytest.mark.postgres
def test_snapshot_does_not_wait_for_the_drive_to_be_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.take("one")
    worker = Worker(since=world.clock.now.replace(year=2000))
    made: list[int] = []

    def count(pk: int) -> int:
        actions.request_create(world.drive, by=world.operator)
        worker.one_pass(world.clock())
        made.extend(world.drive.snapshots.filter(state=State.READY).values_list("number", flat=True))
        return 7 * BLOCK

    monkeypatch.setattr(driver_of(world.drive.pool), "used_bytes", count)
    Drive.objects.update(observe_due=True)

    worker.one_pass(world.clock())

    assert sorted(made) == [1, 2]
    assert (world.drive.used_bytes, world.drive.observe_due) == (7 * BLOCK, True)


def test_drive_that_is_deleted_while_it_is_counted_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(pk: int) -> int:
        Drive.objects.filter(pk=pk).delete()
        return 7 * BLOCK

    monkeypatch.setattr(driver_of(world.drive.pool), "used_bytes", count)

    assert upkeep.observe(world.pk) is None
