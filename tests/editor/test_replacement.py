"""Another server under an instance: only while its own is surely off, and nothing else of the instance changes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from editor import actions, deploys, edits, entries, export_watch, exports, inventory, replacement, servers
from editor.iscsi.simulated import SimulatedExporter
from editor.iscsi_names import target_iqn
from editor.models import Deploy, DeployState, Drive, Event, Instance, Power, PowerCommand, Result, Server, User
from editor.power import PowerCommand as Told
from editor.reconcile import Worker
from editor.review import review
from editor.rules import Refused
from editor.volumes import driver_of
from snapshots import actions as snapshot_actions
from tests import factories

pytestmark = pytest.mark.django_db


class Rack:
    """web-1 on a server of its own that is off, with a drive; and a free server beside it."""

    def __init__(self, *, options: str = "") -> None:
        self.ada: User = factories.make_admin()
        self.olga: User = factories.make_user("Olga Own")
        self.infrastructure = factories.make_infrastructure(self.olga)
        self.web = factories.make_instance_array(self.infrastructure, count=1, options=options)
        self.data = factories.make_drive_array(self.infrastructure, instance_array=self.web, count=1)
        self.old = Server.objects.get(instance__instance_array=self.web)
        self.new = factories.make_free_server()

    @property
    def instance(self) -> Instance:
        return Instance.objects.select_related("server", "instance_array").get()

    def ask(self, *, drain: bool = True, vouched: bool = False) -> None:
        inventory.ask_replace(self.instance, self.new, by=self.ada, drain=drain, vouched=vouched)

    def work(self) -> None:
        Worker(since=timezone.now() - timedelta(days=1)).run_until_quiet()

    def told(self) -> list[tuple[str, str]]:
        return list(Event.objects.told().order_by("pk").values_list("verb", "text"))


@pytest.fixture(autouse=True)
def _no_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "MOMENT_SECONDS", 0)


@pytest.fixture
def rack() -> Rack:
    return Rack()


@pytest.mark.parametrize(("drain", "becomes"), [(True, "drained"), (False, "free for others")])
def test_instance_gets_the_server_and_keeps_all_else(rack: Rack, drain: bool, becomes: str) -> None:
    before = rack.instance

    rack.ask(drain=drain)
    rack.work()

    after = rack.instance
    rack.old.refresh_from_db()
    assert after.server == rack.new
    assert (after.pk, after.label, after.address) == (before.pk, before.label, before.address)
    assert list(after.drives.all()) == list(Drive.objects.all())
    assert (rack.old.hold, rack.old.drained) == ("", drain)
    assert (rack.old in Server.objects.free()) is not drain
    assert rack.told() == [
        ("asked to replace the server of", f"{rack.old} → {rack.new}."),
        (
            "replaced the server of",
            f"{rack.old} → {rack.new}. Name, address and drives stay; {rack.old} is {becomes}.",
        ),
    ]
    actions.power_on(after, by=rack.olga)


def test_server_that_was_switched_on_by_hand_stays(rack: Rack) -> None:
    rack.ask(drain=False)
    servers.driver_of(rack.old).send(servers.bmc_of(rack.old), Told.POWER_ON)

    rack.work()

    old = rack.instance.server
    assert old == rack.old
    assert old.hold == ""
    assert rack.new in Server.objects.free()
    event = old.trouble
    assert event
    assert (event.verb, event.result) == ("could not replace the server of", Result.FAILED)
    assert event.text == f"{rack.old} is powering on. Shut it down first. Nothing was changed."


def test_server_that_does_not_answer_does_not_come(rack: Rack) -> None:
    Server.objects.filter(pk=rack.new.pk).update(address="simulated://new?bmc=silent")

    rack.ask()
    rack.work()

    assert rack.instance.server == rack.old
    assert f"The BMC of {rack.new} does not answer." in rack.told()[-1][1]


def test_silent_server_goes_only_when_somebody_made_sure() -> None:
    rack = Rack(options="bmc=silent")
    rack.work()

    with pytest.raises(Refused, match=r"is unknown.*two servers would write to the same drives"):
        rack.ask()
    rack.ask(vouched=True)
    rack.work()

    assert rack.instance.server == rack.new
    event = Event.objects.get(verb="asked to replace the server of")
    assert (event.result, event.text) == (
        Result.FORCED,
        f"{rack.old} → {rack.new}. Ada Min made sure that {rack.old} has no power.",
    )


def test_word_of_a_bmc_counts_more_than_that_of_a_person(rack: Rack) -> None:
    Server.objects.filter(pk=rack.old.pk).update(power=Power.UNKNOWN)
    servers.driver_of(rack.old).send(servers.bmc_of(rack.old), Told.POWER_ON)

    rack.ask(vouched=True)
    rack.work()

    assert rack.instance.server == rack.old


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"power": Power.ON}, "web-1 is on. Shut it down first."),
        ({"power_command": PowerCommand.POWER_ON}, "is waiting for Power On. Try again when that is done."),
        ({"hold": "Deploy 3 needs it off."}, "is held: Deploy 3 needs it off. Try again when that is done."),
    ],
    ids=["on", "command", "deploy"],
)
def test_server_in_work_is_not_replaced(rack: Rack, change: dict[str, object], says: str) -> None:
    Server.objects.filter(pk=rack.old.pk).update(**change)

    with pytest.raises(Refused) as no:
        rack.ask()

    assert says in str(no.value)
    assert rack.new in Server.objects.free()


def test_held_drive_stands_against_it(rack: Rack) -> None:
    Drive.objects.update(hold="Reverting to #1.")

    with pytest.raises(Refused, match=r"web-data-1 is busy: Reverting to #1\. Try again in a moment\."):
        rack.ask()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"drained": True}, "is not free any more. Choose another one."),
        ({"server_type": "L.64.512"}, "is of another type than"),
    ],
    ids=["drained", "type"],
)
def test_only_a_free_server_of_the_type_comes(rack: Rack, change: dict[str, object], says: str) -> None:
    if kind := change.pop("server_type", None):
        change["server_type"] = factories.make_free_server(kind=str(kind)).server_type
    Server.objects.filter(pk=rack.new.pk).update(**change)

    with pytest.raises(Refused) as no:
        rack.ask()

    assert says in str(no.value)


def test_only_administrators_replace(rack: Rack) -> None:
    with pytest.raises(Refused, match="Only administrators keep servers"):
        inventory.ask_replace(rack.instance, rack.new, by=rack.olga, drain=True)


def test_nobody_else_gets_at_either_meanwhile(rack: Rack) -> None:
    rack.ask(drain=False)

    with pytest.raises(Refused, match=f"web-1 waits: {rack.new} is taking its place. Try again in a moment."):
        actions.power_on(rack.instance, by=rack.olga)
    with pytest.raises(Refused, match="is held"):
        rack.ask()
    assert rack.new not in Server.objects.free()
    entry = entries.Entry(rack.new.serial, rack.new.server_type, "simulated", "simulated://elsewhere")
    with pytest.raises(Refused, match="Try again later"):
        inventory.change(rack.new, entry, by=rack.ada)
    rack.work()
    assert rack.instance.server == rack.new


def test_drive_that_is_being_reverted_does_not_get_a_server_that_may_run(rack: Rack) -> None:
    (snapshot,) = factories.make_snapshots(Drive.objects.get(), 1)
    servers.driver_of(rack.new).send(servers.bmc_of(rack.new), Told.POWER_ON)
    rack.ask(drain=False)
    snapshot_actions.request_revert(snapshot, by=rack.olga, expect=[])

    replacement.carry_out(rack.new.pk)

    assert rack.instance.server == rack.old
    assert rack.old.hold == ""
    assert rack.new in Server.objects.free()
    assert rack.told()[-1] == (
        "could not replace the server of",
        f"web-data-1 is busy: Reverting to #{snapshot.number}. Try again when that is done. Nothing was changed.",
    )


def test_deploy_waits_for_it(rack: Rack) -> None:
    edits.delete([rack.data], by=rack.olga)
    rack.ask()

    assert any("is taking its place" in reason for reason in review(rack.infrastructure).reasons)


def test_stopped_deploy_goes_on_with_the_new_server(rack: Rack) -> None:
    deploy = Deploy.objects.create(
        infrastructure=rack.infrastructure,
        number=1,
        by=rack.olga,
        state=DeployState.STOPPED,
        started_at=timezone.now(),
        review={},
        goal={},
    )
    step = deploy.steps.create(position=1, kind="shut_down", of=rack.web.topic, title="Shut down web")
    item = step.items.create(label="web-1", number=1, payload={"server": rack.old.pk, "instance": rack.instance.pk})

    rack.ask()
    rack.work()

    item.refresh_from_db()
    assert item.payload["server"] == rack.new.pk
    assert deploys.why_not_stop(deploy)


def test_second_worker_finds_nothing_left_to_do(rack: Rack) -> None:
    rack.ask()
    rack.work()
    events = Event.objects.count()

    rack.work()

    assert Event.objects.count() == events


def test_server_that_is_logged_in_to_its_drives_is_not_replaced_whatever_anybody_says(
    rack: Rack, settings: Settings
) -> None:
    """The new one comes by the same names: two would write to one drive."""
    settings.ISCSI_EXPORTER = "simulated"
    drive = Drive.objects.get()
    driver_of(drive.pool).create_drive(drive.pk, layer=1, size_bytes=drive.size_bytes)
    rack.work()
    one = exports.exporter()
    assert isinstance(one, SimulatedExporter)
    rack.ask(vouched=True)
    one.log_in(target_iqn(drive))

    rack.work()

    assert rack.instance.server == rack.old
    assert "is still logged in" in rack.told()[-1][1]

    export_watch.look()
    with pytest.raises(Refused, match="is still logged in"):
        rack.ask(vouched=True)
