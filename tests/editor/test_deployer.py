"""The worker's part of a deploy: what was drawn becomes real, step by step, and what fails says so."""

from __future__ import annotations

import fcntl
import re

import pytest

from editor import backup, build, deployer, deploys, servers
from editor.audit import findings
from editor.models import (
    DeployItem,
    DeployState,
    Drive,
    DriveArray,
    Event,
    Instance,
    InstanceArray,
    Interface,
    ItemState,
    Power,
    Result,
    Server,
    ServerType,
    StoragePool,
)
from editor.outcome import how_it_went
from editor.plan import Kind
from editor.rules import Refused
from editor.storage.base import StorageError
from editor.storage.patience import PatientStorage
from editor.storage.simulated import SimulatedStorage
from editor.volumes import driver_of
from snapshots.models import Snapshot
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.editor.deploying import World, make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(clock: Clock) -> World:  # noqa: F811
    return make_world(clock)


def test_everything_new_is_built(world: World) -> None:
    array = InstanceArray.objects.create(
        infrastructure=world.infrastructure, label="db", server_type=world.web.server_type, count=2
    )
    Interface.objects.create(instance_array=array, index=0, network=world.infrastructure.networks.get(kind="san"))
    logs = DriveArray.objects.create(
        infrastructure=world.infrastructure, label="logs", instance_array=array, count=2, size_mb=2048
    )

    deploy = world.deploy()

    assert deploy.state == DeployState.DONE
    assert world.is_real()
    drives = logs.drives.select_related("instance__server")
    assert [(one.number, one.instance and one.instance.number, one.head_layer) for one in drives] == [
        (1, 1, 1),
        (2, 2, 1),
    ]
    assert world.power() == {"web-1": "on", "web-2": "on", "web-3": "on", "db-1": "off", "db-2": "off"}
    assert [event.verb for event in Event.objects.told().order_by("pk")][-2:] == ["began to deploy", "deployed"]
    assert not DeployItem.objects.exclude(state=ItemState.DONE).exists()


def test_growing_shuts_down_and_switches_on_again_what_was_on(world: World) -> None:
    off = world.web.instances.get(number=2).server
    assert off
    Server.objects.filter(pk=off.pk).update(address="simulated://dark?start=off", power="off")
    world.data.size_mb = 2 * 40960
    world.data.save()

    deploy = world.deploy()

    assert deploy.state == DeployState.DONE
    assert world.is_real()
    assert {world.driver().size_bytes(drive.pk) for drive in world.data.drives.all()} == {80 * 1024**3}
    assert world.power() == {"web-1": "on", "web-2": "off", "web-3": "on"}


def test_shrinking_destroys_what_was_named_and_frees_the_server(world: World) -> None:
    drive = world.data.drives.get(number=2)
    factories.make_snapshots(drive, 2)
    world.web.numbers = world.data.numbers = [1, 3]
    world.web.save()
    world.data.save()

    deploy = world.deploy()

    assert deploy.state == DeployState.DONE
    assert world.is_real()
    assert drive.pk not in world.driver().drives()
    assert not Snapshot.objects.exists()
    assert Server.objects.filter(instance=None).count() == 4
    assert world.power() == {"web-1": "on", "web-3": "on"}


def test_drives_that_are_kept_end_detached(world: World) -> None:
    world.web.leaves = True
    world.web.save()
    world.data.instance_array = None
    world.data.save()

    deploy = world.deploy()

    assert deploy.state == DeployState.DONE
    assert world.is_real()
    assert not InstanceArray.objects.exists()
    assert [drive.instance for drive in world.data.drives.all()] == [None, None, None]


def test_failure_stops_what_depends_on_it_says_so_and_is_retried(world: World) -> None:
    StoragePool.objects.update(capacity_gb=140, label="ssd-b")
    logs = DriveArray.objects.create(infrastructure=world.infrastructure, label="logs", size_mb=10240)
    world.web.numbers = world.data.numbers = [1, 3]
    world.web.save()
    world.data.save()
    driver = driver_of(StoragePool.objects.get())
    assert isinstance(driver, SimulatedStorage)
    driver.fail_next("create_drive", StorageError("The pool is on fire.", permanent=True, detail="E-7"))

    deploy = world.deploy()

    assert deploy.state == DeployState.STOPPED
    went = how_it_went(deploy)
    assert (went.title, went.first_left) == ("Step 1 failed. Steps 2 to 7 did not run.", 1)
    assert went.text == "logs-1 could not be created. The pool is on fire. Nothing was destroyed."
    assert went.detail == "logs-1: E-7"
    assert not logs.drives.exists()
    assert not Drive.objects.exclude(hold="").exists()
    assert not Server.objects.exclude(hold="").exists()
    assert Event.objects.told().first().result == Result.FAILED

    deploys.retry(deploy, by=world.owner)

    assert world.work(deploy).state == DeployState.DONE
    assert world.is_real()
    with pytest.raises(Refused, match=r"Deploy 1 is done\. Only a stopped deploy"):
        deploys.retry(deploy, by=world.owner)


def test_what_is_left_of_a_drive_that_could_not_be_made_goes_with_its_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = DriveArray.objects.create(infrastructure=world.infrastructure, label="logs", size_mb=10240)
    StoragePool.objects.update(engine="qcow2")
    driver = driver_of(StoragePool.objects.get())
    assert isinstance(driver, PatientStorage)

    def fail(*_: object) -> None:
        raise StorageError("The pool is on fire.", permanent=True)

    monkeypatch.setattr(driver.driver, "_switch", fail)

    deploy = world.deploy()

    assert (deploy.state, logs.drives.exists()) == (DeployState.STOPPED, False)
    assert [found.drive for found in driver.audit() if found.drive] == []


def test_failure_that_may_pass_is_tried_again(world: World) -> None:
    DriveArray.objects.create(infrastructure=world.infrastructure, label="logs", size_mb=10240)
    for _ in range(3):
        world.driver().fail_next("create_drive", StorageError("The pool is busy."))

    deploy = world.start()
    world.work(deploy, seconds=2, step=1)

    (item,) = DeployItem.objects.filter(step__deploy=deploy, state=ItemState.RUNNING)
    assert item.detail == "Attempt 2 of 4: The pool is busy. It is tried again in 5 s."
    assert world.work(deploy).state == DeployState.DONE
    assert world.is_real()


@pytest.mark.parametrize("then_hard", [False, True])
def test_server_that_ignores_a_soft_shutdown_is_waited_for_or_forced(world: World, then_hard: bool) -> None:
    world.web.instances.filter(number__gt=1).delete()
    Server.objects.filter(instance__number=1).update(address="simulated://deaf?soft=ignored")
    world.web.leaves = world.data.leaves = True
    world.web.save()
    world.data.save()

    deploy = world.start(soft_seconds=30, then_hard=then_hard)
    world.work(deploy, seconds=75, step=5)

    if then_hard:
        assert deploy.state == DeployState.DONE
        return
    assert deploy.state == DeployState.RUNNING
    item = DeployItem.objects.get(step__deploy=deploy, state=ItemState.RUNNING)
    assert re.fullmatch(r"web-1 is still on after 1:\d\d\. Its operating system was asked again\.", item.detail)
    deploys.stop(deploy, by=world.owner)
    assert world.work(deploy).state == DeployState.STOPPED
    assert how_it_went(deploy).text.startswith("web-1 was asked to shut down and may still go off.")


def test_stop_ends_after_the_steps_that_have_begun(world: World) -> None:
    world.data.size_mb = 2 * 40960
    world.data.save()
    deploy = world.start(soft_seconds=0)
    world.settle()

    deploys.stop(deploy, by=world.owner)
    world.work(deploy)

    assert deploy.state == DeployState.STOPPED
    went = how_it_went(deploy)
    assert went.title == "Stopped after 1 of 4 steps. Steps 2 to 4 did not run."
    assert went.text == "web-1, web-2 and web-3 are still off. Nothing was destroyed."
    deploys.retry(deploy, by=world.owner)
    assert world.work(deploy).state == DeployState.DONE
    assert world.power() == {"web-1": "on", "web-2": "on", "web-3": "on"}


def test_stop_of_a_retry_holds_back_what_began_the_first_time(world: World) -> None:
    world.data.leaves = True
    world.data.save()
    world.driver().fail_next("delete_drive", StorageError("The pool is on fire.", permanent=True))
    deploy = world.deploy()
    assert deploy.state == DeployState.STOPPED
    left = world.data.drives.get()

    deploys.retry(deploy, by=world.owner)
    deploys.stop(deploy, by=world.owner)
    world.work(deploy)

    assert deploy.state == DeployState.STOPPED
    assert world.data.drives.get() == left
    deploys.retry(deploy, by=world.owner)
    assert world.work(deploy).state == DeployState.DONE
    assert world.is_real()


def test_nobody_is_told_that_nothing_was_destroyed_when_storage_may_have(world: World) -> None:
    world.web.numbers = world.data.numbers = [1, 3]
    world.web.save()
    world.data.save()
    gone = world.data.drives.get(number=2)

    def fail() -> None:
        raise StorageError("The drive may be deleted in part.", permanent=True)

    world.driver().after("delete_drive", fail)
    deploy = world.deploy()

    assert deploy.state == DeployState.STOPPED
    assert gone.pk not in world.driver().drives()
    text = how_it_went(deploy).text
    assert "Nothing was destroyed" not in text
    assert text.endswith("web-data-2 may be destroyed already, or in part.")
    world.driver().after("delete_drive", None)
    deploys.retry(deploy, by=world.owner)
    assert world.work(deploy).state == DeployState.DONE


def test_drive_in_work_is_not_given_to_a_running_server(world: World) -> None:
    logs = DriveArray.objects.create(
        infrastructure=world.infrastructure, label="logs", size_mb=10240, instance_array=world.web, count=1
    )
    deploy = world.start()
    create, attach = (
        DeployItem.objects.get(step__deploy=deploy, step__kind=kind) for kind in (Kind.CREATE, Kind.ATTACH)
    )

    build.run(create.pk)
    Drive.objects.filter(drive_array=logs).update(hold="Reverting to #1.")
    build.run(attach.pk)

    drive = logs.drives.get()
    assert (drive.instance, drive.hold) == (None, "Reverting to #1.")
    attach.refresh_from_db()
    assert attach.detail.startswith("Attempt 1 of 4: logs-1 is busy: Reverting to #1.")
    Drive.objects.filter(pk=drive.pk).update(hold="")
    assert world.work(deploy).state == DeployState.DONE
    assert world.is_real()


def test_stop_ends_a_deploy_whose_server_waits_for_a_drive_that_others_hold(world: World) -> None:
    other = factories.make_drive_array(world.infrastructure, "other", instance_array=world.web, count=3)
    world.data.size_mb = 2 * 40960
    world.data.save()
    deploy = world.start(soft_seconds=0)
    other.drives.filter(number=1).update(hold="Storage has not said yet what became of #1.")
    world.work(deploy, seconds=30)
    assert deploy.state == DeployState.RUNNING

    deploys.stop(deploy, by=world.owner)
    world.work(deploy, seconds=30)

    assert deploy.state == DeployState.STOPPED
    assert "somebody else is at work on one of its drives" in how_it_went(deploy).text
    assert world.power() == {"web-1": "off", "web-2": "on", "web-3": "on"}
    assert not Server.objects.exclude(hold="").exists()


def test_deploy_does_not_end_while_a_step_can_begin(world: World) -> None:
    """A worker that looked just before the last item of a step ended sees nothing to do, and would end the deploy."""
    world.data.size_mb = 2 * 40960
    world.data.save()
    deploy = world.start()

    deployer.end(deploy.pk)
    deploy.refresh_from_db()
    assert deploy.state == DeployState.RUNNING
    deploys.stop(deploy, by=world.owner)
    deployer.end(deploy.pk)

    deploy.refresh_from_db()
    assert deploy.state == DeployState.STOPPED


def test_nothing_is_destroyed_that_was_not_reviewed(world: World) -> None:
    world.data.leaves = True
    world.data.save()
    deploy = world.start()
    drive = world.data.drives.get(number=2)
    factories.make_snapshots(drive, 1)

    world.work(deploy)

    assert deploy.state == DeployState.STOPPED
    assert "web-data-2 could not be destroyed: snapshot #1 of it was not reviewed." in how_it_went(deploy).text
    assert list(world.data.drives.all()) == [drive]
    with pytest.raises(Refused, match="web-data-2 has snapshots that were not reviewed"):
        deploys.retry(deploy, by=world.owner)


def test_quota_lowered_after_the_start_gets_no_more_servers_and_says_so(world: World) -> None:
    world.web.numbers = [1, 2, 3, 4, 5]
    world.web.save()
    deploy = world.start()
    world.owner.server_quota = 4
    world.owner.save()

    world.work(deploy)

    assert deploy.state == DeployState.STOPPED
    assert world.web.instances.filter(server__isnull=False).count() == 4
    assert how_it_went(deploy).text.startswith(
        "web-5 could not get a server. Olga Own may have 4 servers; with this deploy it would be 5."
    )


def test_full_quota_lets_servers_be_replaced(world: World) -> None:
    world.owner.server_quota = 3
    world.owner.save()
    world.web.leaves = world.data.leaves = True
    world.web.save()
    world.data.save()
    InstanceArray.objects.create(
        infrastructure=world.infrastructure, label="db", server_type=world.web.server_type, count=3
    )

    assert world.deploy().state == DeployState.DONE
    assert world.is_real()


def test_server_type_of_its_own_gets_no_other_server(world: World) -> None:
    other = ServerType.objects.create(label="L.48.256", cores=48, ram_gb=256)
    InstanceArray.objects.create(infrastructure=world.infrastructure, label="db", server_type=other, count=1)
    Server.objects.create(server_type=other, serial="big-1", address="simulated://big-1?bmc=silent")
    Server.objects.create(server_type=other, serial="big-2", address="simulated://big-2")

    deploy = world.deploy()

    assert deploy.state == DeployState.DONE
    server = Instance.objects.get(instance_array__label="db").server
    assert server
    assert server.serial == "big-2"


def test_bmcs_that_refuse_are_tried_once_however_many_servers_are_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ServerType.objects.create(label="L.48.256", cores=48, ram_gb=256)
    InstanceArray.objects.create(infrastructure=world.infrastructure, label="db", server_type=other, count=3)
    for serial in ("big-1", "big-2", "big-3"):
        Server.objects.create(server_type=other, serial=serial, address=f"simulated://{serial}?not=understood")
    asked: list[int] = []
    read = servers.read

    def watched(pk: int) -> Power:
        asked.append(pk)
        return read(pk)

    monkeypatch.setattr(servers, "read", watched)

    deploy = world.deploy()

    assert "no free server of type L.48.256 answers; the BMCs of 3 are silent." in how_it_went(deploy).text
    assert len(asked) == len(set(asked))


def test_drives_neither_grow_nor_go_while_a_backup_is_made(world: World) -> None:
    world.data.size_mb *= 2
    world.data.numbers = [1, 2]
    world.data.grows = False
    world.data.save()
    deploy = world.start(soft_seconds=0)

    with backup._lock(fcntl.LOCK_EX, seconds=0):
        world.work(deploy, seconds=30)

    assert deploy.state == DeployState.RUNNING
    growing = DeployItem.objects.filter(step__deploy=deploy, state=ItemState.RUNNING)
    assert [item.detail for item in growing] == [
        "web-data-1 waits: a backup is being made.",
        "web-data-2 waits: a backup is being made.",
    ]
    assert world.data.drives.count() == 3
    assert {drive.size_mb for drive in world.data.drives.all()} == {40960}
    assert not [sentence for sentence in findings(world.clock.now) if "held" in sentence]
    assert world.work(deploy).state == DeployState.DONE
    assert world.is_real()
