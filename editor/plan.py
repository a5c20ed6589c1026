"""From what is real to what is drawn: the steps of a deploy, as a pure function of both.

A `State` holds all of one infrastructure that a deploy can change. `wanted` tells the state that a design asks for,
`plan` the steps that lead there, and `after` the state once one item of a step is done. The worker does to servers
and drives what `after` does to a State; a plan that was broken off is simply planned again from what is real then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

Drawn = Mapping[str, Any]
"""The design of one product, as `drawn()` of its model answers it."""
Place = tuple[str, int]
"""One numbered thing: the topic of its array, and its number. web-2 is ("instance-array-7", 2)."""


@dataclass(frozen=True)
class DriveState:
    """A drive as it is: its size, and the instance that it is attached to."""

    size_mb: int
    instance: Place | None = None


@dataclass(frozen=True)
class State:
    """What is real, or wanted, in one infrastructure. Products are known by topic ("drive-array-3")."""

    products: Mapping[str, Drawn] = field(default_factory=dict)
    instances: frozenset[Place] = frozenset()
    drives: Mapping[Place, DriveState] = field(default_factory=dict)
    unsettled: frozenset[str] = frozenset()
    """Products at which a deploy was broken off: even undone designs leave something to put right."""


class Kind(StrEnum):
    """What a step does. Those in `DESTROYING` lose what cannot be had back."""

    ALLOCATE = "allocate"
    CREATE = "create"
    SHUT_DOWN = "shut_down"
    DETACH = "detach"
    GROW = "grow"
    ATTACH = "attach"
    DESTROY = "destroy"
    RELEASE = "release"
    SETTLE = "settle"
    REMOVE = "remove"
    POWER_ON = "power_on"


DESTROYING = frozenset({Kind.DESTROY, Kind.RELEASE})


@dataclass(frozen=True)
class Step:
    """One kind of work on one product; its items, by number, are independent of each other.

    A step begins when all steps in `after` are done. `to` is what a product is settled as, else empty.
    """

    kind: Kind
    of: str
    numbers: tuple[int, ...] = ()
    after: tuple[str, ...] = ()
    to: Drawn = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names the step within its plan: "grow drive-array-3"."""
        return f"{self.kind} {self.of}"


def places_of(steps: Iterable[Step], *kinds: Kind) -> list[Place]:
    """Answers the places that steps of these kinds name, in order, each once."""
    return list(dict.fromkeys((step.of, number) for step in steps if step.kind in kinds for number in step.numbers))


def kind_of(topic: str) -> str:
    """Answers "network", "instance-array" or "drive-array"."""
    return topic.rpartition("-")[0]


def topic_of_array(pk: int | None) -> str:
    """Answers the topic of the InstanceArray that a drawn DriveArray names."""
    return f"instance-array-{pk}"


# ── What a design asks for ───────────────────────────────────────────────────


def wanted(design: Mapping[str, Drawn], real: State) -> State:
    """Answers the state that a design asks for, where `real` is what is there. Drives never shrink.

    `design` lacks what the design deletes. A drive belongs to the instance with its own number.
    """
    instances = frozenset(
        (topic, number)
        for topic, drawn in design.items()
        if kind_of(topic) == "instance-array"
        for number in drawn["numbers"]
    )
    drives: dict[Place, DriveState] = {}
    for topic, drawn in design.items():
        if kind_of(topic) != "drive-array":
            continue
        for number in drawn["numbers"]:
            there = real.drives.get((topic, number))
            partner = (topic_of_array(drawn["instance_array"]), number)
            drives[topic, number] = DriveState(
                size_mb=max(drawn["size_mb"], there.size_mb) if there else drawn["size_mb"],
                instance=partner if partner in instances else None,
            )
    return State({topic: _without_deleted(drawn, design) for topic, drawn in design.items()}, instances, drives)


def _without_deleted(drawn: Drawn, design: Mapping[str, Drawn]) -> Drawn:
    """What a product is attached or connected to, and the design deletes, it is not attached to any more."""
    fixed = dict(drawn)
    if topic_of_array(fixed.get("instance_array")) not in design and "instance_array" in fixed:
        fixed["instance_array"] = None
    if "interfaces" in fixed:
        fixed["interfaces"] = [pk if f"network-{pk}" in design else None for pk in fixed["interfaces"]]
    return fixed


# ── The steps ────────────────────────────────────────────────────────────────


def plan(goal: State, real: State) -> tuple[Step, ...]:
    """Answers the steps from what is real to the goal, each after those it depends on; none when nothing is to do.

    What adds comes first, so that a lack of room shows before any server goes off; what destroys comes last, and
    only when all the rest is done.
    """
    work = _Work(goal, real)
    building = work.building()
    destroying = work.destroying(tuple(step.key for step in building))
    # Power is no part of a design: what was only shut down has nothing to settle.
    done = {step.key for step in (*building, *destroying) if step.kind != Kind.SHUT_DOWN}
    settling = work.settling(done)
    return (*building, *destroying, *settling, *work.powering_on([*building, *destroying]))


class _Work:
    """What differs between a goal and what is real, looked at kind by kind."""

    def __init__(self, goal: State, real: State) -> None:
        self.goal, self.real = goal, real
        self.lost = {place for place in real.drives if place not in goal.drives}
        self.kept = [place for place in goal.drives if place in real.drives]
        self.grown = {place for place in self.kept if goal.drives[place].size_mb > real.drives[place].size_mb}
        self.parted = {
            place
            for place in self.kept
            if real.drives[place].instance and real.drives[place].instance != goal.drives[place].instance
        }
        self.leaving = real.instances - goal.instances
        touched = (real.drives[place].instance for place in (*self.lost, *self.grown, *self.parted))
        self.off = {place for place in touched if place in real.instances} | self.leaving

    def building(self) -> list[Step]:
        goal, real = self.goal, self.real
        steps = _steps(Kind.ALLOCATE, goal.instances - real.instances)
        steps += _steps(Kind.CREATE, goal.drives.keys() - real.drives.keys())
        added = tuple(step.key for step in steps)
        off = _steps(Kind.SHUT_DOWN, self.off, added)
        is_off = tuple(step.key for step in off)
        parting = _steps(Kind.DETACH, self.parted, is_off)
        has_parted = tuple(step.key for step in parting)
        growing = _steps(Kind.GROW, self.grown, (*is_off, *has_parted) or added)
        joining = [
            place
            for place, drive in goal.drives.items()
            if drive.instance and (place not in real.drives or real.drives[place].instance != drive.instance)
        ]
        # A server that gets a drive may be running: the drive has grown by then.
        grown = {step.of: step.key for step in growing}
        attaching = [
            replace(step, after=(*step.after, *([grown[step.of]] if step.of in grown else [])))
            for step in _steps(Kind.ATTACH, joining, (*added, *has_parted))
        ]
        return [*steps, *off, *parting, *growing, *attaching]

    def destroying(self, built: tuple[str, ...]) -> list[Step]:
        steps = _steps(Kind.DESTROY, self.lost, built)
        return steps + _steps(Kind.RELEASE, self.leaving, (*built, *(step.key for step in steps)))

    def settling(self, done: set[str]) -> list[Step]:
        goal, real = self.goal, self.real
        settling = []
        for topic, drawn in sorted(goal.products.items()):
            after = tuple(sorted(key for key in done if key.endswith(f" {topic}")))
            if after or topic in real.unsettled or real.products.get(topic) != drawn:
                settling.append(Step(Kind.SETTLE, topic, after=after, to=drawn))
        all_settled = tuple(step.key for step in settling)
        return settling + [
            Step(Kind.REMOVE, topic, after=(*sorted(key for key in done if key.endswith(f" {topic}")), *all_settled))
            for topic in sorted(real.products.keys() - goal.products.keys())
        ]

    def powering_on(self, done: list[Step]) -> list[Step]:
        """Servers that had to be off and stay; whether one was on before is known when it is shut down."""
        return _steps(Kind.POWER_ON, self.off - self.leaving, tuple(step.key for step in done))


def _steps(kind: Kind, places: Iterable[Place], after: tuple[str, ...] = ()) -> list[Step]:
    """One step for each array, with the numbers in order."""
    numbers: dict[str, list[int]] = {}
    for topic, number in sorted(places):
        numbers.setdefault(topic, []).append(number)
    return [Step(kind, topic, tuple(found), after) for topic, found in numbers.items()]


# ── What a step does ─────────────────────────────────────────────────────────


def after(state: State, step: Step, goal: State, number: int | None = None) -> State:
    """Answers the state once a step's item (or a step without items) is done; done twice changes nothing more."""
    if step.kind == Kind.SETTLE:
        return replace(state, products={**state.products, step.of: step.to}, unsettled=state.unsettled - {step.of})
    if step.kind == Kind.REMOVE:
        return replace(state, products=_less(state.products, step.of), unsettled=state.unsettled - {step.of})
    if step.kind in (Kind.SHUT_DOWN, Kind.POWER_ON):
        return state  # power is immediate and no part of a design
    assert number is not None
    place = (step.of, number)
    instances, drives = state.instances, dict(state.drives)
    if step.kind == Kind.ALLOCATE:
        instances |= {place}
    elif step.kind == Kind.RELEASE:
        instances -= {place}
    elif step.kind == Kind.DESTROY:
        drives.pop(place, None)
    elif step.kind == Kind.CREATE:
        drives.setdefault(place, DriveState(goal.drives[place].size_mb))
    elif step.kind == Kind.GROW:
        drives[place] = replace(drives[place], size_mb=goal.drives[place].size_mb)
    else:
        partner = goal.drives[place].instance if step.kind == Kind.ATTACH else None
        drives[place] = replace(drives[place], instance=partner)
    there = instances if kind_of(step.of) == "instance-array" else drives
    return State(
        {
            **state.products,
            step.of: real_so_far(state.products.get(step.of), goal.products.get(step.of), step.of, there),
        },
        instances,
        drives,
        state.unsettled | {step.of},
    )


def real_so_far(deployed: Drawn | None, drawn: Drawn | None, topic: str, there: Iterable[Place]) -> Drawn:
    """Answers what is real of a product in the middle of a deploy: its numbers are those that are there.

    A new one has its looks at once; what it is attached to comes last.
    """
    base = dict(deployed if deployed is not None else {**(drawn or {}), "instance_array": None})
    if kind_of(topic) == "instance-array":
        base.pop("instance_array", None)
    base["numbers"] = sorted(number for of, number in there if of == topic)
    return base


def _less(products: Mapping[str, Drawn], topic: str) -> dict[str, Drawn]:
    return {other: drawn for other, drawn in products.items() if other != topic}


# ── Numbers ──────────────────────────────────────────────────────────────────


def with_count(numbers: Iterable[int], count: int, prefer: Iterable[int] = ()) -> list[int]:
    """Answers the numbers once there are at least `count`: first those preferred, then the lowest free ones."""
    taken = set(numbers)
    for number in sorted(prefer):
        if len(taken) < count:
            taken.add(number)
    number = 1
    while len(taken) < count:
        taken.add(number)
        number += 1
    return sorted(taken)
