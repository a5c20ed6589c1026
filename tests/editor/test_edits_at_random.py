"""Whatever people draw, in whatever order: the design stays whole, and every way back leads to where it began."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from editor import edits
from editor.design import pending, planned, products
from editor.models import (
    Drive,
    DriveArray,
    Infrastructure,
    Instance,
    InstanceArray,
    Network,
    Server,
    ServerType,
    StoragePool,
    User,
)
from editor.plan import Place, State, after
from editor.rules import Refused
from tests import factories
from tests.editor.designing import configure, configure_drives, drawn_in

pytestmark = pytest.mark.django_db

STEPS = 20


class Drawing:
    """People who do anything they can think of with an infrastructure."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ana, self.wei = factories.make_user("Ana Marin"), factories.make_user("Wei Chen")
        self.atlas = factories.make_infrastructure(self.ana, operator=self.wei)
        web = factories.make_instance_array(self.atlas, "web", count=3)
        db = factories.make_instance_array(self.atlas, "db", count=2)
        factories.make_drive_array(self.atlas, "web-data", instance_array=web, count=3)
        factories.make_drive_array(self.atlas, "db-data", instance_array=db, count=4)
        factories.make_drive_array(self.atlas, "spare", count=1)
        self.done: Counter[str] = Counter()

    def any(self, kind: type[Any]) -> Any:
        return self.chance.choice(list(kind.objects.filter(infrastructure=self.atlas)))

    def edit(self, by: User) -> None:
        """Does something that a person can do; often it is refused."""
        chance = self.chance
        drives = chance.choice(["", "keep", "delete"])
        acts: dict[str, Callable[[], object]] = {
            "add servers": lambda: edits.add_instance_array(self.atlas, by=by, count=chance.randrange(4)),
            "add drives": lambda: edits.add_drive_array(
                self.atlas, by=by, instance_array=chance.choice([None, self.any(InstanceArray)])
            ),
            "add network": lambda: edits.add_network(self.atlas, by=by),
            "change servers": lambda: configure(
                self.any(InstanceArray), by=by, count=chance.randrange(6), drives=drives
            ),
            "change drives": lambda: configure_drives(
                self.any(DriveArray), by=by, count=chance.randrange(6), grows=chance.random() < 0.6
            ),
            "rename": lambda: edits.rename(
                self.any(chance.choice([InstanceArray, DriveArray, Network])),
                by=by,
                seen=None,
                label=chance.choice(["web", "db", "lan", "front", "back"]),
            ),
            "attach": lambda: edits.attach(self.any(DriveArray), chance.choice([None, self.any(InstanceArray)]), by=by),
            "connect": lambda: edits.connect(
                self.any(InstanceArray), chance.randrange(4), chance.choice([None, self.any(Network)]), by=by
            ),
            "delete": lambda: edits.delete(
                [self.any(chance.choice([InstanceArray, DriveArray, Network]))], by=by, drives=drives
            ),
            "copy": lambda: edits.copy(self.any(chance.choice([InstanceArray, DriveArray, Network])), by=by),
            "discard": lambda: edits.discard(
                chance.choice(pending(products(self.atlas)) or [self.any(Network)]), by=by
            ),
            "undo": lambda: edits.undo(self.atlas, by=by),
            "redo": lambda: edits.redo(self.atlas, by=by),
        }
        name = chance.choice(list(acts))
        with suppress(Refused):
            acts[name]()
            self.done[name] += 1


def is_whole(infrastructure: Infrastructure) -> bool:
    """Whether a design holds together."""
    rows = products(infrastructure)
    stay = {row.topic: row.drawn() for row in rows if not row.leaves}
    labels = [row.label.lower() for row in rows]
    assert len(set(labels)) == len(labels)
    for drawn in stay.values():
        owner = stay[f"instance-array-{drawn['instance_array']}"] if drawn.get("instance_array") else None
        assert all(f"network-{pk}" in stay for pk in drawn.get("interfaces", ()) if pk)
        if owner:
            assert owner["interfaces"][0]
            assert not drawn["grows"] or set(owner["numbers"]) <= set(drawn["numbers"])
    planned(infrastructure, rows)
    return True


@pytest.mark.parametrize("seed", range(3))
def test_design_of_two_people_stays_whole(seed: int) -> None:
    drawing = Drawing(seed)
    deployed = drawn_in(drawing.atlas)

    for _ in range(STEPS):
        drawing.edit(drawing.chance.choice([drawing.ana, drawing.wei]))
        assert is_whole(drawing.atlas)

    with suppress(Refused):
        edits.discard_all(drawing.atlas, by=drawing.ana)
    assert drawn_in(drawing.atlas) == deployed
    assert pending(products(drawing.atlas)) == []


def deploy_some(drawing: Drawing, *, until_broken: bool) -> None:
    """Does what a deploy would do to the rows, up to some step: as a worker that breaks off there."""
    atlas, chance = drawing.atlas, drawing.chance
    rows = products(atlas)
    goal, state, steps = planned(atlas, rows)
    work = [(step, number) for step in steps for number in (step.numbers or [None])]
    for step, number in work[: chance.randrange(len(work) + 1) if until_broken else len(work)]:
        state = after(state, step, goal, number)
    instances = write_instances(state)
    write_drives(state, instances)
    for row in rows:
        row.deployed, row.unsettled = state.products.get(row.topic), row.topic in state.unsettled
        if row.leaves and row.deployed is None:
            row.delete()
        else:
            row.save(update_fields=["deployed", "unsettled"])


def write_instances(state: State) -> dict[Place, Instance]:
    there: dict[Place, Instance] = {}
    for instance in Instance.objects.select_related("instance_array"):
        place = (instance.instance_array.topic, instance.number)
        if place in state.instances:
            there[place] = instance
        else:
            instance.delete()
    for topic, number in state.instances - there.keys():
        server = Server.objects.create(server_type=ServerType.objects.get(), serial=f"{topic}-{number}-{len(there)}")
        Server.objects.filter(instance=None).exclude(pk=server.pk).delete()
        pk = int(topic.rpartition("-")[2])
        there[topic, number] = Instance.objects.create(instance_array_id=pk, number=number, server=server)
    return there


def write_drives(state: State, instances: dict[Place, Instance]) -> None:
    pool = StoragePool.objects.get()
    Drive.objects.update(instance=None)
    there = {(drive.drive_array.topic, drive.number): drive for drive in Drive.objects.select_related("drive_array")}
    for place in there.keys() - state.drives.keys():
        there[place].delete()
    for (topic, number), wanted in state.drives.items():
        pk = int(topic.rpartition("-")[2])
        drive = there.get((topic, number)) or Drive(drive_array_id=pk, number=number, pool=pool)
        drive.size_mb, drive.instance = wanted.size_mb, instances.get(wanted.instance) if wanted.instance else None
        drive.save()


def unnamed(drawn: dict[str, Any] | None) -> dict[str, Any]:
    return (drawn or {}) | {"label": ""}


@pytest.mark.parametrize("seed", range(229, 231))
def test_broken_deploy_can_be_discarded(seed: int) -> None:
    drawing = Drawing(seed)
    for _ in range(3):
        for _ in range(STEPS // 2):
            drawing.edit(drawing.ana)
        deploy_some(drawing, until_broken=True)

        with suppress(Refused):
            edits.discard_all(drawing.atlas, by=drawing.ana)
        rows = products(drawing.atlas)
        # Labels may be those drawn, when two real ones are alike just then.
        assert {row.topic: unnamed(row.deployed) for row in rows} == {row.topic: unnamed(row.drawn()) for row in rows}
        assert not any(row.leaves for row in rows)

        deploy_some(drawing, until_broken=False)
        assert pending(products(drawing.atlas)) == []


@pytest.mark.parametrize("seed", range(100, 102))
def test_one_person_gets_all_the_way_back_and_forth(seed: int) -> None:
    drawing = Drawing(seed)
    begun = drawn_in(drawing.atlas)
    for _ in range(STEPS):
        drawing.edit(drawing.ana)
    while edits.can_redo(drawing.atlas, drawing.ana):
        edits.redo(drawing.atlas, by=drawing.ana)
    ended = drawn_in(drawing.atlas)

    while edits.can_undo(drawing.atlas, drawing.ana):
        edits.undo(drawing.atlas, by=drawing.ana)
        assert is_whole(drawing.atlas)
    assert drawn_in(drawing.atlas) == begun

    while edits.can_redo(drawing.atlas, drawing.ana):
        edits.redo(drawing.atlas, by=drawing.ana)
    assert drawn_in(drawing.atlas) == ended


def test_all_that_people_can_do_was_tried() -> None:
    drawing = Drawing(0)

    for _ in range(8 * STEPS):
        drawing.edit(drawing.ana)

    assert len(drawing.done) == 13
