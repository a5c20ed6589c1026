"""Deploys and people at the same moment, with a worker that works in threads, on both databases."""

from __future__ import annotations

import gc
import time
from uuid import uuid4

import pytest
from django.utils import timezone

from editor import deploys
from editor.models import (
    Deploy,
    DeployState,
    Drive,
    DriveArray,
    Event,
    Infrastructure,
    Instance,
    InstanceArray,
    Result,
    Server,
    ServerType,
    StoragePool,
    User,
)
from editor.reconcile import Worker
from editor.review import review
from snapshots.actions import request_create
from tests import factories
from tests.together import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

WAIT_SECONDS = 60


def start(infrastructure: Infrastructure, by: User, **choices: object) -> Deploy:
    said: dict[str, object] = {
        "fingerprint": review(infrastructure).fingerprint,
        "destroy": True,
        "soft_seconds": 0,
        "then_hard": True,
    }
    return deploys.start(infrastructure, by=by, **{**said, **choices})  # type: ignore[arg-type]


def wait_for(*running: Deploy) -> None:
    """Lets a worker work in threads until all have ended."""
    worker = Worker(since=timezone.now())
    worker.start()
    try:
        end = time.monotonic() + WAIT_SECONDS
        while Deploy.objects.filter(state=DeployState.RUNNING).exists():
            assert time.monotonic() < end, "A deploy did not end."
            time.sleep(0.05)
    finally:
        worker.stop()
        gc.collect()  # closes the connections of its threads
    for deploy in running:
        deploy.refresh_from_db()


def test_deploys_side_by_side_never_get_the_same_server_and_one_that_comes_too_late_says_so() -> None:
    owner = factories.make_user()
    server_type = ServerType.objects.create(label="M.16.64", cores=16, ram_gb=64)
    StoragePool.objects.create(label="pool", engine="simulated", capacity_gb=1000)
    for number in range(9):
        Server.objects.create(server_type=server_type, serial=f"S{number}", address=f"simulated://S{number}?start=off")
    begun = []
    for label in ("one", "two"):
        infrastructure = factories.make_infrastructure(owner, label)
        array = InstanceArray.objects.create(
            infrastructure=infrastructure, label="web", server_type=server_type, count=5
        )
        DriveArray.objects.create(infrastructure=infrastructure, label="data", instance_array=array, count=5)
        begun.append(start(infrastructure, owner))

    wait_for(*begun)

    assert sorted(deploy.state for deploy in begun) == [DeployState.DONE, DeployState.STOPPED]
    servers = list(Instance.objects.values_list("server", flat=True))
    assert len(servers) == len(set(servers)) == 9
    (stopped,) = [deploy for deploy in begun if deploy.state == DeployState.STOPPED]
    Server.objects.create(server_type=server_type, serial="late", address="simulated://late?start=off")
    deploys.retry(stopped, by=owner)
    wait_for(stopped)
    assert stopped.state == DeployState.DONE
    assert Drive.objects.filter(instance__isnull=False, head_layer=1, hold="").count() == 10


def test_deploys_side_by_side_never_promise_more_than_a_pool_may() -> None:
    owner = factories.make_user()
    StoragePool.objects.create(label="pool", engine="simulated", capacity_gb=10, overcommit_percent=150)
    begun = []
    for label in ("one", "two"):
        infrastructure = factories.make_infrastructure(owner, label)
        DriveArray.objects.create(infrastructure=infrastructure, label="data", size_mb=1024, count=8)
        begun.append(start(infrastructure, owner))

    wait_for(*begun)

    assert sorted(deploy.state for deploy in begun) == [DeployState.DONE, DeployState.STOPPED]
    assert Drive.objects.filter(head_layer=1).count() == 15
    failed = Event.objects.get(result=Result.FAILED)
    assert "storage pool pool has 0 B left to promise, 1 GB are needed. Ask an administrator for room." in failed.text


def test_of_two_who_start_at_once_one_gets_through() -> None:
    owner = factories.make_user()
    infrastructure = factories.make_infrastructure(owner)
    web = factories.make_instance_array(infrastructure, count=1)
    array = factories.make_drive_array(infrastructure, instance_array=web, count=1, made=False)
    Worker().run_until_quiet()
    array.leaves = True
    array.save()
    fingerprint = review(infrastructure).fingerprint

    ended = together(
        *(lambda: start(infrastructure, owner, fingerprint=fingerprint, key=uuid4()) for _ in range(2)),
        lambda: start(infrastructure, owner, fingerprint=fingerprint),
    )

    assert sorted(ended) == ["", *["atlas-prod is being deployed already. Wait until that ends."] * 2]
    wait_for()
    assert not Drive.objects.exists()


def test_of_a_deploy_and_a_snapshot_one_gets_through() -> None:
    owner = factories.make_user()
    infrastructure = factories.make_infrastructure(owner)
    array = factories.make_drive_array(infrastructure, count=1, made=False)
    Worker().run_until_quiet()
    drive = array.drives.get()
    array.leaves = True
    array.save()
    fingerprint = review(infrastructure).fingerprint

    ended = together(
        lambda: start(infrastructure, owner, fingerprint=fingerprint), lambda: request_create(drive, by=owner)
    )

    # Whoever comes second finds the drive held, or more on it than was reviewed.
    assert sorted(map(bool, ended)) == [False, True]
    assert Deploy.objects.count() + drive.snapshots.count() == 1
