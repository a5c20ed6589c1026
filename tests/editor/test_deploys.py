"""editor.review and editor.deploys: what a deploy would do, who may begin it, and that it is what was reviewed."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

import pytest

from editor import deploys
from editor.models import (
    Deploy,
    DeployState,
    Drive,
    DriveArray,
    Event,
    Infrastructure,
    InstanceArray,
    Network,
    Power,
    Server,
    StoragePool,
    User,
)
from editor.review import review
from editor.rules import Refused, why_not_soft_shut_down
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db

TOO_FEW = "2 more servers of type M.16.64 are needed, 1 is free."
TOO_MANY = "Olga Own may have 4 servers; with this deploy it would be 5."


@dataclass
class World:
    """An infrastructure with three running servers, a drive on each, and people."""

    owner: User
    operator: User
    infrastructure: Infrastructure
    web: InstanceArray
    data: DriveArray

    def start(self, **choices: object) -> Deploy:
        said: dict[str, object] = {
            "fingerprint": review(self.infrastructure).fingerprint,
            "destroy": True,
            "soft_seconds": 120,
            "then_hard": False,
            "by": self.owner,
        }
        return deploys.start(self.infrastructure, **{**said, **choices})  # type: ignore[arg-type]

    def shrink(self) -> None:
        """Takes server 2 out of the drawing, with its drive."""
        self.web.numbers = self.data.numbers = [1, 3]
        self.web.save()
        self.data.save()


@pytest.fixture
def world(clock: Clock) -> World:  # noqa: F811
    owner, operator = map(factories.make_user, ("Olga Own", "Otto Op"))
    infrastructure = factories.make_infrastructure(owner, operator=operator)
    web = factories.make_instance_array(infrastructure, count=3, power=Power.ON)
    data = factories.make_drive_array(infrastructure, instance_array=web, count=3)
    return World(owner, operator, infrastructure, web, data)


def test_nothing_is_to_be_deployed_where_all_is_real(world: World) -> None:
    found = review(world.infrastructure)

    assert (found.changes, found.steps, bool(found.destroys)) == ((), (), False)
    assert found.reasons == ("There is nothing to deploy: all that is drawn is real.",)


def test_all_that_is_destroyed_is_named(world: World) -> None:
    drive = world.data.drives.get(number=2)
    factories.make_snapshots(drive, 5)
    drive.snapshots.get(number=1).delete()
    Drive.objects.filter(pk=drive.pk).update(used_bytes=3 * 1024**3)
    world.shrink()

    found = review(world.infrastructure)

    assert found.destroys.title == "1 server, 1 drive and 4 snapshots"
    assert found.destroys.lines == (("web-2", "off at deploy; drive web-data-2, 3 GB, 4 snapshots (#2 to #5)"),)
    assert found.destroys.written_bytes == 3 * 1024**3
    assert [(one.label, one.power, one.leaves) for one in found.must_be_off] == [("web-2", Power.ON, True)]
    assert found.reasons == ()
    assert [told.title for told in found.steps] == [
        "Shut down web-2",
        "Destroy 1 drive of web-data and 4 snapshots",
        "Destroy 1 server of web",
        "Finish web-data",
        "Finish web",
    ]
    assert [(change.kind, change.label, change.what) for change in found.changes] == [
        ("del", "web", "InstanceArray, fewer servers"),
    ]
    assert [(line.name, line.old, line.new) for line in found.changes[0].lines] == [
        ("Servers", "3", "2 (1 and 3)"),
        ("Drives of web-data", "3", "2 (1 and 3)"),
    ]


def test_what_is_new_and_what_grows_is_said(world: World) -> None:
    world.data.size_mb = 200 * 1024
    world.data.save()
    DriveArray.objects.create(
        infrastructure=world.infrastructure,
        label="logs",
        count=3,
        size_mb=100 * 1024,
        storage_type="iscsi_hdd",
        instance_array=world.web,
    )
    StoragePool.objects.create(label="hdd-a", storage_type="iscsi_hdd", engine="simulated")

    found = review(world.infrastructure)

    assert [told.title for told in found.steps] == [
        "Create logs, 3 drives of 100 GB",
        "Shut down web-1, web-2 and web-3",
        "Grow web-data to 200 GB",
        "Attach logs to web over SAN",
        "Finish web-data",
        "Finish logs",
        "Power web-1, web-2 and web-3 on again",
    ]
    assert [[(line.name, line.old, line.new) for line in change.lines] for change in found.changes] == [
        [("Size of each drive", "40 GB", "200 GB")],
        [
            ("Drives", "", "3"),
            ("Size of each drive", "", "100 GB"),
            ("Storage class", "", "iscsi_hdd"),
            ("Attached to", "", "web"),
            ("Grows with its servers", "", "yes"),
        ],
    ]
    assert found.reasons == ()
    assert not found.destroys


def test_reasons_name_what_is_missing(world: World) -> None:
    world.web.count = 5
    world.web.save()
    world.owner.server_quota = 4
    world.owner.save()
    world.data.size_mb = 60 * 1024
    world.data.save()
    StoragePool.objects.update(capacity_gb=150, label="ssd-b")
    DriveArray.objects.create(infrastructure=world.infrastructure, label="logs", storage_type="iscsi_hdd")
    Drive.objects.filter(number=1).update(hold="Creating snapshot #3.")
    Server.objects.filter(instance__number=3).update(power="unknown", power_error="Its BMC is silent.")
    Server.objects.create(server_type=world.web.server_type, serial="free", address="simulated://free")

    assert review(world.infrastructure).reasons == (
        f"{TOO_FEW} Ask an administrator for more, or choose another type.",
        f"{TOO_MANY} Ask an administrator for a higher quota, or draw fewer.",
        "web-data-2 cannot grow: storage pool ssd-b has 10 GB free, 20 GB are needed. Ask an administrator for room.",
        "web-data-3 cannot grow: storage pool ssd-b has 0 B free, 20 GB are needed. Ask an administrator for room.",
        "logs-1 cannot be created: there is no storage pool of class iscsi_hdd. Ask an administrator for one.",
        "web-data-1 is busy: Creating snapshot #3. Try again in a moment.",
        "Power state of web-3 is unknown. Its BMC is silent. It must be off for this deploy.",
    )


def test_servers_that_another_deploy_is_getting_count(world: World) -> None:
    world.owner.server_quota = 4
    world.owner.save()
    for number in range(2):
        Server.objects.create(
            server_type=world.web.server_type, serial=f"free-{number}", address=f"simulated://free-{number}"
        )
    elsewhere = factories.make_infrastructure(world.owner, "elsewhere")
    InstanceArray.objects.create(infrastructure=elsewhere, label="db", server_type=world.web.server_type, count=1)
    assert not review(elsewhere).reasons
    world.web.count = 4
    world.web.save()

    world.start()

    assert review(elsewhere).reasons == (f"{TOO_MANY} Ask an administrator for a higher quota, or draw fewer.",)


def test_only_an_owner_starts_and_only_what_was_reviewed(world: World) -> None:
    world.shrink()
    fingerprint = review(world.infrastructure).fingerprint
    with pytest.raises(Refused, match=r"Only owners deploy\."):
        world.start(by=world.operator)
    with pytest.raises(Refused, match=r"This deploy destroys 1 server and 1 drive\. Tick that you agree"):
        world.start(destroy=False)
    factories.make_snapshots(world.data.drives.get(number=2), 1)
    with pytest.raises(deploys.Changed) as changed:
        world.start(fingerprint=fingerprint)

    assert changed.value.review.destroys.title == "1 server, 1 drive and 1 snapshot"
    assert not Deploy.objects.exists()
    assert not Drive.objects.exclude(hold="").exists()


def test_started_deploy_holds_what_it_names_and_starts_once(world: World) -> None:
    world.shrink()
    key = uuid4()
    fingerprint = review(world.infrastructure).fingerprint

    deploy = world.start(key=key, fingerprint=fingerprint)
    again = world.start(key=key, fingerprint=fingerprint)

    assert (again, deploy.number, deploy.state) == (deploy, 1, DeployState.RUNNING)
    assert list(Drive.objects.exclude(hold="").values_list("number", "hold")) == [(2, "Deploy 1 destroys it.")]
    assert why_not_soft_shut_down(world.web.instances.get(number=2)) == (
        "web-2 is being deployed: Deploy 1 needs it off. Wait until that ends, or have an owner stop it."
    )
    assert why_not_soft_shut_down(world.web.instances.get(number=1)) is None
    event = Event.objects.told().get()
    assert (event.verb, event.text) == ("began to deploy", "1 change. Destroys 1 server and 1 drive.")
    assert review(world.infrastructure).reasons == ("atlas-prod is being deployed already. Wait until that ends.",)


@pytest.mark.parametrize("count", [1, 3])
def test_review_asks_as_much_for_many_as_for_one(count: int, django_assert_num_queries: object) -> None:
    owner = factories.make_user()
    infrastructure = factories.make_infrastructure(owner)
    web = factories.make_instance_array(infrastructure, count=count, power=Power.ON)
    for number in range(count):
        array = factories.make_drive_array(infrastructure, f"data-{number}", instance_array=web, count=count)
        for drive in array.drives.all():
            factories.make_snapshots(drive, 2)
        array.leaves = True
        array.save()
        DriveArray.objects.create(infrastructure=infrastructure, label=f"new-{number}", instance_array=web)
    web.count = 20
    web.save()

    with django_assert_num_queries(14):  # type: ignore[operator]
        review(infrastructure)


def test_networks_renamed_and_connected_are_said_step_by_step(world: World) -> None:
    lan = world.infrastructure.networks.get(kind="lan")
    lan.label = "office"
    lan.save()
    dmz = Network.objects.create(infrastructure=world.infrastructure, label="dmz", kind="lan")
    world.web.interfaces.update_or_create(index=2, defaults={"network": dmz})

    found = review(world.infrastructure)

    assert {told.title for told in found.steps} == {
        "Rename lan to office",
        "Create network dmz",
        "Connect web to its networks",
    }
    assert [(change.label, [(line.name, line.old, line.new) for line in change.lines]) for change in found.changes] == [
        ("office", [("Name", "lan", "office")]),
        ("web", [("if2", "none", "dmz")]),
        ("dmz", []),
    ]


def test_only_an_owner_stops_and_goes_on_and_only_where_that_makes_sense(world: World) -> None:
    world.shrink()
    deploy = world.start()
    for verb in (deploys.stop, deploys.retry):
        with pytest.raises(Refused, match=r"Only owners deploy\."):
            verb(deploy, by=world.operator)
    with pytest.raises(Refused, match=r"Deploy 1 is running\. Only a stopped deploy can be retried\."):
        deploys.retry(deploy, by=world.owner)
    Deploy.objects.update(state=DeployState.STOPPED)
    with pytest.raises(Refused, match=r"Deploy 1 has ended already\."):
        deploys.stop(deploy, by=world.owner)
    world.data.numbers = [1, 2, 3]
    world.data.save()
    with pytest.raises(Refused, match=r"The design was changed since deploy 1\."):
        deploys.retry(deploy, by=world.owner)
