"""The power history: what is drawn from the Events, and what is not made up."""

from __future__ import annotations

import itertools
import re
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from editor import actions, timelines
from editor.models import Event, InstanceArray, Power, Result, Told
from editor.reconcile import Worker
from editor.timelines import Change, Segment, segments, timelines_of
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture

DAY = timedelta(hours=24)


def drawn(
    now: datetime, *changes: tuple[float, str, str], at_start: str | None = None
) -> list[tuple[str, float, float]]:
    """The last 24 hours, in hours before now, of changes so many hours ago."""
    told = [Change(now - timedelta(hours=ago), before, power) for ago, before, power in changes]
    found = segments(told, at_start=at_start, is_now="on", since=now - DAY, start=now - DAY, now=now)
    return [(one.power, _hours(now - one.since), _hours(now - one.until)) for one in found]


def _hours(ago: timedelta) -> float:
    return round(ago / timedelta(hours=1), 2)


def test_line_has_no_gaps_and_ends_now(clock: Clock) -> None:  # noqa: F811
    assert drawn(clock(), (10, "on", "off"), (4, "off", "on")) == [("on", 24, 10), ("off", 10, 4), ("on", 4, 0)]


def test_before_the_first_change_it_was_as_that_found_it(clock: Clock) -> None:  # noqa: F811
    assert drawn(clock(), (10, "on", "off"), at_start="off") == [("off", 24, 0)]
    assert drawn(clock(), (10, "", "off")) == [("", 24, 10), ("off", 10, 0)]
    assert drawn(clock()) == [("on", 24, 0)]


def test_what_tells_the_same_again_is_no_change(clock: Clock) -> None:  # noqa: F811
    assert drawn(clock(), (10, "on", "on"), (4, "on", "on")) == [("on", 24, 0)]


def test_clock_that_was_set_back_does_not_outdate_what_was_written_later(clock: Clock) -> None:  # noqa: F811
    """First off, an hour ahead of time, then on: it is on."""
    assert drawn(clock(), (-1, "on", "off"), (2, "off", "on")) == [("on", 24, 0)]


def test_machine_that_flaps_all_day_is_drawn_in_as_many_pieces_as_can_be_told_apart(clock: Clock) -> None:  # noqa: F811
    flaps = [
        (24 - number / 100, "on" if number % 2 else "off", "off" if number % 2 else "on") for number in range(2400)
    ]

    line = drawn(clock(), *flaps)

    assert len(line) <= timelines.SEGMENTS_MAX
    assert (line[0][1], line[-1][2]) == (24, 0)
    assert all(one[2] == other[1] for one, other in itertools.pairwise(line))


@pytest.fixture
def array(db: None, clock: Clock) -> InstanceArray:  # noqa: F811
    operator = factories.make_user("Otto Op")
    return factories.make_instance_array(factories.make_infrastructure(operator=operator), count=1, power=Power.ON)


def line_of(array: InstanceArray, clock: Clock) -> list[str]:  # noqa: F811
    instance = array.instances.select_related("server").get()
    found = timelines_of(array, {instance.pk: instance.shown_power}, span=DAY, now=clock())
    return [one.power for one in found[instance.pk]]


def test_what_is_asked_and_what_is_seen_is_drawn(array: InstanceArray, clock: Clock) -> None:  # noqa: F811
    operator = array.infrastructure.memberships.get().user
    worker = Worker()
    worker.one_pass(clock())
    clock.advance(60)
    actions.soft_shut_down(array.instances.get(), by=operator)
    for _ in range(10):
        clock.advance(1)
        worker.one_pass(clock())
    before = line_of(array, clock)
    clock.advance(2 * 24 * 3600)

    assert before == ["on", "shutting_down", "off"]
    assert line_of(array, clock) == ["off"]


def test_events_too_many_to_draw_leave_the_time_before_them_empty(
    array: InstanceArray,
    clock: Clock,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timelines, "EVENTS_MAX", 2)
    instance = array.instances.get()
    for power, before in (("off", "on"), ("on", "off"), ("off", "on"), ("on", "off")):
        clock.advance(3600)
        Event.objects.record(
            array.infrastructure_id, result=Result.SILENT, topics=[], told=Told(instance.pk, before, power)
        )
    clock.advance(60)

    assert line_of(array, clock) == ["", "on", "off", "on"]


def test_history_is_on_the_instances_tab_in_a_picture_and_in_words(array: InstanceArray, clock: Clock) -> None:  # noqa: F811
    instance = array.instances.get()
    for hours, told in ((0, ("on", "off")), (2, ("off", "on"))):
        clock.advance(hours * 3600)
        Event.objects.record(array.infrastructure_id, result=Result.SILENT, topics=[], told=Told(instance.pk, *told))
    clock.advance(3600)
    client = Client()
    client.force_login(array.infrastructure.memberships.get().user)
    url = reverse("instance_array_instances", args=[array.pk])

    day, week = (client.get(url, {"history": key}).content.decode() for key in ("nonsense", "7d"))

    labels = [re.findall(r'aria-label="(Power of [^"]*)"', page) for page in (day, week)]
    assert labels == [
        ["Power of web-1 in the last 24 hours: on until 14:02, off until 16:02, on since then."],
        ["Power of web-1 in the last 7 days: on until 14 May 14:02, off until 14 May 16:02, on since then."],
    ]
    assert re.findall(r'<rect data-power="(\w+)" x="([\d.]+)" width="([\d.]+)"', day)[:3] == [
        ("on", "0.0", "875.0"),
        ("off", "875.0", "83.3"),
        ("on", "958.3", "41.7"),
    ]
    assert f'hx-get="{url}?history=7d"\n         hx-swap' in week
    assert "style=" not in week.partition('class="powerlines"')[2].partition("</section>")[0]


def test_segment_of_no_length_is_left_out(clock: Clock) -> None:  # noqa: F811
    now = clock()
    told = [Change(now, "on", "off")]

    found = segments(told, at_start=None, is_now="off", since=now - DAY, start=now - DAY, now=now)

    assert found == [Segment("on", now - DAY, now)]
