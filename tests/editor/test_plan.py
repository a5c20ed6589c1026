"""editor.plan: for any two states, deploying reaches the design, wherever it was broken off on the way."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from editor.plan import (
    DESTROYING,
    Drawn,
    DriveState,
    Kind,
    Place,
    State,
    Step,
    after,
    kind_of,
    plan,
    topic_of_array,
    wanted,
    with_count,
)

IDS = range(1, 4)
NUMBERS = st.lists(st.integers(1, 5), unique=True, max_size=4).map(sorted)
TOPICS = [f"{kind}-{pk}" for kind in ("network", "instance-array", "drive-array") for pk in IDS]


def given(*states: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As Hypothesis's own, with fewer examples: each is a whole deploy, often several."""
    return lambda test: settings(max_examples=40)(for_all(*states)(test))


@st.composite
def designs(draw: st.DrawFn) -> dict[str, Drawn]:
    """Any drawing of three products of each kind."""
    design: dict[str, Drawn] = {}
    for topic in draw(st.sets(st.sampled_from(TOPICS))):
        drawn: dict[str, object] = {"label": draw(st.sampled_from(["a", "b"]))}
        if kind_of(topic) == "instance-array":
            drawn["numbers"] = draw(NUMBERS)
            drawn["interfaces"] = draw(st.lists(st.sampled_from([None, *IDS]), min_size=4, max_size=4))
        if kind_of(topic) == "drive-array":
            drawn["numbers"] = draw(NUMBERS)
            drawn["size_mb"] = draw(st.sampled_from([1024, 2048]))
            drawn["instance_array"] = draw(st.sampled_from([None, *IDS]))
        design[topic] = drawn
    return design


def growing(design: dict[str, Drawn], real: State) -> dict[str, Drawn]:
    """The design without what no rule would let through: an array of smaller drives than it was deployed with."""
    least = {topic: drawn.get("size_mb", 0) for topic, drawn in real.products.items()}
    return {
        topic: {**drawn, "size_mb": max(drawn["size_mb"], least.get(topic, 0))} if "size_mb" in drawn else drawn
        for topic, drawn in design.items()
    }


@st.composite
def realities(draw: st.DrawFn) -> State:
    """What some deploys, the last one perhaps broken off, have left."""
    state = State()
    for design in draw(st.lists(designs(), max_size=2)):
        seed, limit = draw(st.integers(0, 99)), draw(st.integers(0, 30))
        state = deployed(growing(design, state), state, random.Random(seed), limit)
    return state


def units(step: Step) -> list[tuple[Step, int | None]]:
    return [(step, number) for number in step.numbers] or [(step, None)]


def deployed(design: dict[str, Drawn], real: State, order: random.Random, limit: int = 10_000) -> State:
    """Does the items in any order that the steps allow, at most so many of them."""
    goal = wanted(design, real)
    todo = {step.key: units(step) for step in plan(goal, real)}
    steps = {key: items[0][0] for key, items in todo.items()}
    while todo and limit:
        ready = sorted(key for key in todo if not set(steps[key].after) & todo.keys())
        assert ready, "The steps wait for each other."
        key = order.choice(ready)
        step, number = todo[key].pop(order.randrange(len(todo[key])))
        real = after(real, step, goal, number)
        if not todo[key]:
            del todo[key]
        limit -= 1
    return real


@given(designs(), realities(), st.integers(0, 99))
def test_deploying_reaches_the_design(design: dict[str, Drawn], real: State, seed: int) -> None:
    end = deployed(design, real, random.Random(seed))

    assert end == wanted(design, real)
    assert plan(wanted(design, end), end) == ()


@given(designs(), realities(), st.integers(0, 40), st.integers(0, 99))
def test_plan_that_was_broken_off_anywhere_is_planned_again_and_ends_the_same(
    design: dict[str, Drawn], real: State, limit: int, seed: int
) -> None:
    broken_off = deployed(design, real, random.Random(seed), limit)

    assert deployed(design, broken_off, random.Random(seed + 1)) == deployed(design, real, random.Random(seed))


@given(designs(), realities(), st.integers(0, 40), st.integers(0, 99))
def test_discarding_after_any_part_of_a_deploy_keeps_what_is_real(
    design: dict[str, Drawn], real: State, limit: int, seed: int
) -> None:
    broken_off = deployed(growing(design, real), real, random.Random(seed), limit)
    discarded = dict(broken_off.products)

    steps = plan(wanted(discarded, broken_off), broken_off)

    assert not [step for step in steps if step.kind in DESTROYING | {Kind.ALLOCATE, Kind.CREATE, Kind.GROW}]
    end = deployed(discarded, broken_off, random.Random(seed))
    assert (end.instances, end.drives.keys()) == (broken_off.instances, broken_off.drives.keys())


@given(designs(), realities(), st.integers(0, 99))
def test_step_done_twice_is_done_once(design: dict[str, Drawn], real: State, seed: int) -> None:
    goal = wanted(design, real)
    for step in plan(goal, real):
        for _, number in units(step):
            once = after(real, step, goal, number)
            assert after(once, step, goal, number) == once
            real = once


@given(designs(), realities())
def test_any_plan_keeps_the_rules_of_deploys(design: dict[str, Drawn], real: State) -> None:
    goal = wanted(design, real)
    steps = {step.key: step for step in plan(goal, real)}
    end = deployed(design, real, random.Random(0))

    assert_nothing_outside_the_plan_changes(steps, real, end)
    assert_only_what_the_design_lacks_is_destroyed_and_only_after_all_that_builds(steps, goal)
    assert_nobody_loses_a_drive_or_its_growth_while_running(steps, real)
    assert_server_is_off_before_it_is_released(steps)
    assert_drive_is_attached_when_both_are_there_and_it_has_left_its_former_server(steps, goal, real)


def assert_nothing_outside_the_plan_changes(steps: dict[str, Step], real: State, end: State) -> None:
    named = {step.of for step in steps.values()}

    for place in real.instances ^ end.instances:
        assert place[0] in named
    for place in real.drives.keys() | end.drives.keys():
        if real.drives.get(place) != end.drives.get(place):
            assert place[0] in named
    for topic in real.products.keys() | end.products.keys():
        if real.products.get(topic) != end.products.get(topic):
            assert topic in named


def assert_only_what_the_design_lacks_is_destroyed_and_only_after_all_that_builds(
    steps: dict[str, Step], goal: State
) -> None:
    builds = {Kind.ALLOCATE, Kind.CREATE, Kind.GROW, Kind.ATTACH}
    building = {step.key for step in steps.values() if step.kind in builds}

    for step in steps.values():
        if step.kind == Kind.DESTROY:
            assert all((step.of, number) not in goal.drives for number in step.numbers)
        if step.kind == Kind.RELEASE:
            assert all((step.of, number) not in goal.instances for number in step.numbers)
        if step.kind in DESTROYING:
            assert building <= set(step.after)


def assert_nobody_loses_a_drive_or_its_growth_while_running(steps: dict[str, Step], real: State) -> None:
    """Whatever is grown, detached or destroyed under an instance waits until that instance was shut down."""
    for step in steps.values():
        if step.kind not in {Kind.GROW, Kind.DETACH, Kind.DESTROY}:
            continue
        for number in step.numbers:
            instance = real.drives[step.of, number].instance
            if instance in real.instances:
                assert f"{Kind.SHUT_DOWN} {instance[0]}" in _before(step, steps)
                assert instance[1] in steps[f"{Kind.SHUT_DOWN} {instance[0]}"].numbers


def assert_server_is_off_before_it_is_released(steps: dict[str, Step]) -> None:
    for step in steps.values():
        if step.kind == Kind.RELEASE:
            off = steps[f"{Kind.SHUT_DOWN} {step.of}"]
            assert off.key in _before(step, steps)
            assert set(step.numbers) <= set(off.numbers)


def assert_drive_is_attached_when_both_are_there_and_it_has_left_its_former_server(
    steps: dict[str, Step], goal: State, real: State
) -> None:
    for step in steps.values():
        for number in step.numbers if step.kind == Kind.ATTACH else ():
            instance = goal.drives[step.of, number].instance
            assert instance is not None
            if (step.of, number) not in real.drives:
                assert f"{Kind.CREATE} {step.of}" in _before(step, steps)
            elif real.drives[step.of, number].instance:
                assert f"{Kind.DETACH} {step.of}" in _before(step, steps)
            if instance not in real.instances:
                assert f"{Kind.ALLOCATE} {instance[0]}" in _before(step, steps)


def _before(step: Step, steps: dict[str, Step]) -> set[str]:
    found = set(step.after)
    for key in step.after:
        found |= _before(steps[key], steps)
    return found


@given(designs())
def test_drive_belongs_to_the_instance_with_its_number(design: dict[str, Drawn]) -> None:
    end = deployed(design, State(), random.Random(0))

    for (topic, number), drive in end.drives.items():
        partner: Place = (topic_of_array(design[topic]["instance_array"]), number)
        assert drive == DriveState(design[topic]["size_mb"], partner if partner in end.instances else None)


def test_drive_that_moves_is_detached_before_it_is_attached_elsewhere() -> None:
    web, db = ({"label": label, "numbers": [1], "interfaces": [None] * 4} for label in ("web", "db"))
    data: Drawn = {"label": "data", "numbers": [1], "size_mb": 1024, "instance_array": 1}
    real = deployed({"instance-array-1": web, "instance-array-2": db, "drive-array-1": data}, State(), random.Random(0))
    moved: dict[str, Drawn] = {
        "instance-array-1": web,
        "instance-array-2": db,
        "drive-array-1": {**data, "instance_array": 2},
    }

    steps = plan(wanted(moved, real), real)

    assert [(step.kind, step.of) for step in steps] == [
        (Kind.SHUT_DOWN, "instance-array-1"),
        (Kind.DETACH, "drive-array-1"),
        (Kind.ATTACH, "drive-array-1"),
        (Kind.SETTLE, "drive-array-1"),
        (Kind.POWER_ON, "instance-array-1"),
    ]
    assert steps[2].after == ("detach drive-array-1",)


def test_drive_has_grown_before_a_running_server_gets_it() -> None:
    web: Drawn = {"label": "web", "numbers": [1], "interfaces": [None] * 4}
    data: Drawn = {"label": "data", "numbers": [1], "size_mb": 1024, "instance_array": None}
    real = deployed({"instance-array-1": web, "drive-array-1": data}, State(), random.Random(0))
    larger: Drawn = {**data, "size_mb": 2048, "instance_array": 1}

    steps = plan(wanted({"instance-array-1": web, "drive-array-1": larger}, real), real)

    assert [step.kind for step in steps] == [Kind.GROW, Kind.ATTACH, Kind.SETTLE]
    assert steps[1].after == ("grow drive-array-1",)


def test_drives_never_shrink() -> None:
    drawn = {"label": "data", "numbers": [1], "size_mb": 1024, "instance_array": None}
    real = State({"drive-array-1": drawn}, drives={("drive-array-1", 1): DriveState(4096)})

    assert wanted({"drive-array-1": drawn}, real).drives == real.drives
    assert plan(wanted({"drive-array-1": drawn}, real), real) == ()


def test_unsettled_product_is_settled_even_if_nothing_else_differs() -> None:
    drawn = {"label": "lan"}
    real = State({"network-1": drawn}, unsettled=frozenset({"network-1"}))

    (step,) = plan(wanted({"network-1": drawn}, real), real)

    assert (step.kind, step.of) == (Kind.SETTLE, "network-1")
    assert after(real, step, real) == replace(real, unsettled=frozenset())


def test_new_numbers_are_the_preferred_ones_then_the_lowest_free() -> None:
    assert with_count([1, 3], 4) == [1, 2, 3, 4]
    assert with_count([1, 3], 4, prefer=[7, 9]) == [1, 3, 7, 9]
    assert with_count([1, 2, 3], 2) == [1, 2, 3]
