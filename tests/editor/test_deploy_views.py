"""Reviewing, deploying, and looking at how a deploy goes and went."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from editor import deployer
from editor.models import (
    Deploy,
    DeployItem,
    DeployState,
    DeployStep,
    Infrastructure,
    ItemState,
    Power,
    Server,
    ServerType,
    User,
)
from editor.review import review
from tests import factories
from tests.editor.designing import configure, configure_drives, now_is
from tests.reading import Page, read

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


@dataclass
class World:
    """web ×3 on running servers with web-data ×3; drive 3 has two snapshots. web shall have two, without drive 3."""

    client: Client
    owner: User
    operator: User
    viewer: User
    stranger: User
    infrastructure: Infrastructure
    web: Any
    data: Any

    def sign_in(self, user: User) -> None:
        self.client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")

    @property
    def address(self) -> str:
        return reverse("infrastructure_deploy", args=[self.infrastructure.pk])

    def review(self) -> Page:
        response = self.client.get(self.address, headers=PARTIAL)
        assert response.status_code == 200
        return read(response)

    def deploy(self, *, headers: dict[str, str] | None = None, **fields: Any) -> HttpResponse:
        """Sends the form of the review as its page has it, with some fields changed."""
        form = {"fingerprint": review(self.infrastructure).fingerprint, "destroy": "yes", "how": "wait", "seconds": 120}
        answer = self.client.post(self.address, form | fields, headers=PARTIAL if headers is None else headers)
        assert isinstance(answer, HttpResponse)
        return answer


@pytest.fixture
def world(db: None, client: Client) -> World:
    names = ("Olga Own", "Otto Operate", "Vera View", "Stan Strange")
    owner, operator, viewer, stranger = map(factories.make_user, names)
    infrastructure = factories.make_infrastructure(owner, operator=operator, viewer=viewer)
    web = factories.make_instance_array(infrastructure, count=3, power=Power.ON)
    data = factories.make_drive_array(infrastructure, instance_array=web, count=3)
    factories.make_snapshots(data.drives.get(number=3), 2, by=owner)
    configure(web, by=operator, count=2, drives="delete")
    world = World(client, owner, operator, viewer, stranger, infrastructure, now_is(web), now_is(data))
    world.sign_in(owner)
    return world


# ── The review ───────────────────────────────────────────────────────────────


def test_the_review_names_changes_and_all_that_is_destroyed(world: World) -> None:
    page = world.review()

    assert "Review 1 change" in page.words
    assert "This deploy destroys 1 server, 1 drive and 2 snapshots" in page.words
    assert "web-3, off at deploy; drive web-data-3, 0 B, 2 snapshots (#1 and #2)" in page.words
    assert "web-3 and its drive, 0 B written. Destroyed drives cannot be restored." in page.words
    assert "web InstanceArray, fewer servers" in page.words
    assert "Otto Operate, today" in page.words
    assert "1 server must be off" in page.words
    assert "web-3On, stays off" in page.words.replace("web-3 On", "web-3On")
    assert "Yes, destroy 1 server, 1 drive and 2 snapshots" in page.words
    assert page.control("Deploy 1 change").attributes.get("aria-disabled") is None
    assert page.control("Discard change to web").attributes["href"] == (
        f"/instance-arrays/{world.web.pk}/discard/?from=review"
    )


def test_numbers_of_what_is_destroyed_stay_on_the_line_of_their_units(world: World) -> None:
    html = world.client.get(world.address, headers=PARTIAL).content.decode()

    assert "0\N{NO-BREAK SPACE}B, 2\N{NO-BREAK SPACE}snapshots (#1 and #2)" in html


def test_power_of_what_must_be_off_is_shown_as_it_is_now(world: World) -> None:
    Server.objects.filter(instance__instance_array=world.web, instance__number=3).update(power=Power.OFF)

    html = world.client.get(world.address, headers=PARTIAL).content.decode()

    assert re.search(r'<li id="off-\d+" data-power="off">', html)
    assert f"infrastructure-{world.infrastructure.pk} from:body" in html


def test_without_anything_to_do_there_is_no_way_to_deploy(world: World) -> None:
    world.client.post(reverse("infrastructure_discard", args=[world.infrastructure.pk]))

    page = world.review()

    assert "Nothing to deploy" in page.words
    assert page.control("Deploy").unavailable


def test_what_stands_against_it_is_said_and_the_button_refers_to_it(world: World) -> None:
    configure(world.web, by=world.owner, count=9)

    page, refused = world.review(), world.deploy()

    assert "more servers of type M.16.64 are needed" in page.reason("Deploy 1 change")
    assert refused.status_code == 409
    assert not Deploy.objects.exists()


def test_the_time_it_takes_is_told_as_earlier_deploys_took_it(world: World) -> None:
    assert "There is no estimate of the time: nothing like this was deployed here yet." in world.review().words
    deploy = made(world, [("Grow web-data", [("web-data-1", "done")])], state=DeployState.DONE)
    now = timezone.now()
    deploy.steps.update(kind="settle", started_at=now - timedelta(minutes=6), ended_at=now)
    DeployItem.objects.update(started_at=now)

    page = world.review()

    assert "At least 6 min" in page.words
    assert "How long it takes to shut servers down, destroy drives and give servers back is not known" in page.words


def test_operators_review_and_owners_deploy(world: World) -> None:
    world.sign_in(world.operator)

    page, refused = world.review(), world.deploy()

    assert page.reason("Deploy 1 change").startswith("Only owners deploy.")
    assert "Discard all…" in page.names("a")
    assert refused.status_code == 409
    assert not Deploy.objects.exists()


def test_viewers_read_the_review(world: World) -> None:
    world.sign_in(world.viewer)

    page, refused = world.review(), world.deploy()

    assert page.reason("Deploy 1 change").startswith("You can look but not change anything here.")
    assert not [name for name in page.names("a") if name.startswith("Discard")]
    assert refused.status_code == 409


# ── Starting ─────────────────────────────────────────────────────────────────


def test_deploying_leads_to_the_deploy(world: World) -> None:
    response = world.deploy(how="force", seconds=300)

    deploy = Deploy.objects.get()
    assert json.loads(response["HX-Location"])["path"] == deploy.get_absolute_url() == f"/deploys/{deploy.pk}/"
    assert (deploy.by, deploy.soft_seconds, deploy.then_hard) == (world.owner, 300, True)


def test_without_htmx_deploying_redirects(world: World) -> None:
    response = world.deploy(headers={})

    assert (response.status_code, response["Location"]) == (302, Deploy.objects.get().get_absolute_url())


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        ({"how": "wait", "seconds": 30}, (30, False)),
        ({"how": "wait", "seconds": ""}, (120, False)),
        ({"how": "force", "seconds": 86400}, (86400, True)),
        ({"how": "hard"}, (0, False)),
    ],
)
def test_how_servers_are_shut_down_is_kept(world: World, choice: dict[str, Any], kept: tuple[int, bool]) -> None:
    world.deploy(**choice)

    deploy = Deploy.objects.get()
    assert (deploy.soft_seconds, deploy.then_hard) == kept


@pytest.mark.parametrize("seconds", ["29", "86401", "soon"])
def test_a_time_that_cannot_be_is_said_at_its_field(world: World, seconds: str) -> None:
    response = world.deploy(seconds=seconds)

    assert response.status_code == 422
    assert read(response).texts["id_seconds_error"]
    assert not Deploy.objects.exists()


def test_destroying_must_be_agreed_to(world: World) -> None:
    response = world.deploy(destroy="")

    page = read(response)
    assert response.status_code == 422
    assert page.texts["destroy-error"] == "Tick this to go on."
    assert "data-arrived" in response.content.decode()
    assert not Deploy.objects.exists()


def test_what_changed_while_reading_is_shown_again(world: World) -> None:
    before = review(world.infrastructure).fingerprint
    configure_drives(world.data, by=world.operator, size_mb=81920)

    response = world.deploy(fingerprint=before)

    page = read(response)
    assert response.status_code == 409
    assert "What this deploy would do has changed while you were reading." in page.words
    assert "80 GB" in page.words
    assert "checked" not in re.findall(r'<input[^>]*name="destroy"[^>]*>', response.content.decode())[0]
    assert not Deploy.objects.exists()


def test_one_wish_is_one_deploy(world: World) -> None:
    key = str(uuid4())
    first = review(world.infrastructure).fingerprint

    answers = [world.deploy(key=key, fingerprint=first) for _ in range(2)]

    assert Deploy.objects.count() == 1
    assert answers[0].status_code == 200


# ── A deploy that runs ───────────────────────────────────────────────────────


def test_progress_tells_each_step_and_its_parts(world: World) -> None:
    deploy = made(world, [("Grow web-data", [("web-data-1", "done"), ("web-data-2", "running")]), ("Destroy", [])])

    page = read(world.client.get(deploy.get_absolute_url(), headers=PARTIAL))

    assert "Deploying 1 change" in page.words
    assert "Step 1 of 2" in page.words
    assert "web-data-1 done, web-data-2 running" in page.words
    assert "Stop after this step" in page.names()
    assert "snapshots and power still work" in page.words


def test_while_it_runs_the_review_and_the_header_show_it(world: World) -> None:
    deploy = made(world, [("Grow web-data", [("web-data-1", "running")])])

    page = world.review()
    header = read(world.client.get(reverse("infrastructure_draft", args=[world.infrastructure.pk]), headers=PARTIAL))

    assert "Deploying 1 change" in page.words
    assert header.control("Deploying 1/1").attributes["href"] == deploy.get_absolute_url()
    assert "Undo" not in header.names()


def test_it_can_be_asked_to_stop(world: World) -> None:
    world.deploy()
    deploy = Deploy.objects.get()

    page = read(world.client.post(deploy.get_absolute_url(), {"does": "stop"}, headers=PARTIAL))

    deploy.refresh_from_db()
    assert deploy.stop_asked
    assert "Stopping: what has begun is finished, nothing more begins." in page.words


def test_while_operating_systems_are_asked_the_page_says_how_to_go_on_without_them(world: World) -> None:
    world.deploy()
    DeployItem.objects.filter(step__kind="shut_down").update(state=ItemState.RUNNING)
    deploy = Deploy.objects.get()

    page = read(world.client.get(deploy.get_absolute_url(), headers=PARTIAL))

    assert "Stop now" in page.names()
    assert "Stop this deploy, use Hard Power Off on that server, then Retry here." in page.words


def test_double_clicks_without_scripts_are_answered_as_the_first_click(world: World) -> None:
    world.deploy()
    deploy = Deploy.objects.get()

    def click(**form: str) -> int:
        return world.client.post(deploy.get_absolute_url(), form).status_code

    assert (click(does="stop"), click(does="stop")) == (302, 302)
    deployer.end(deploy.pk)
    assert click(does="stop") == 302
    page = world.client.get(deploy.get_absolute_url(), headers=PARTIAL).content.decode()
    (ended,) = re.findall(r'name="ended" value="([^"]+)"', page)
    assert (click(does="retry", ended=ended), click(does="retry", ended=ended)) == (302, 302)
    deploy.refresh_from_db()
    assert deploy.state == DeployState.RUNNING
    assert click(does="retry", ended="99") == 409


@pytest.mark.parametrize("who", ["operator", "viewer"])
def test_only_owners_stop_it(world: World, who: str) -> None:
    deploy = made(world, [("Grow web-data", [("web-data-1", "running")])])
    world.sign_in(getattr(world, who))

    page = read(world.client.get(deploy.get_absolute_url(), headers=PARTIAL))
    refused = world.client.post(deploy.get_absolute_url(), {"does": "stop"}, headers=PARTIAL)

    assert page.control("Stop after this step").unavailable
    assert refused.status_code == 409


def test_nothing_else_can_be_asked_of_it(world: World) -> None:
    deploy = made(world, [("Grow web-data", [("web-data-1", "running")])])

    assert world.client.post(deploy.get_absolute_url(), {"does": "explode"}).status_code == 409


# ── A deploy that ended ──────────────────────────────────────────────────────


def test_one_that_failed_says_what_did_not_run_and_offers_ways_on(world: World) -> None:
    steps = [("Grow web-data", [("web-data-1", "done"), ("web-data-2", "failed")]), ("Destroy web-3", [("web-3", "")])]
    deploy = made(world, steps, state=DeployState.STOPPED)

    response = world.client.get(deploy.get_absolute_url(), headers=PARTIAL)

    page = read(response)
    assert "Deploy stopped" in page.words
    assert "Step 1 failed. Step 2 did not run." in page.words
    assert "web-data-2 could not grow." in page.words
    assert "stopped at step 1 of 2" in page.words
    assert "not run" in page.words
    assert "Retry from step 1" in page.names()
    assert {"Review remaining changes", "Discard the rest…"} <= set(page.names("a"))
    assert "E-1 pool" in page.words


def test_a_retry_is_refused_with_the_reason_in_place(world: World) -> None:
    deploy = made(world, [("Grow web-data", [("web-data-1", "failed")])], state=DeployState.STOPPED)

    page = read(world.client.get(deploy.get_absolute_url(), headers=PARTIAL))
    refused = world.client.post(deploy.get_absolute_url(), {"does": "retry"}, headers=PARTIAL)

    assert page.reason("Retry from step 1").startswith("The design was changed since deploy 1.")
    assert refused.status_code == 409
    assert "The design was changed since deploy 1." in read(refused).words


def test_one_that_is_done_keeps_its_plan(world: World) -> None:
    world.deploy()
    Deploy.objects.update(state=DeployState.DONE, ended_at=timezone.now())

    page = read(world.client.get(Deploy.objects.get().get_absolute_url(), headers=PARTIAL))

    assert "Deployed 1 change" in page.words
    assert "Destroys 1 server, 1 drive and 2 snapshots." in page.words
    assert "web-3, off at deploy; drive web-data-3, 0 B, 2 snapshots (#1 and #2)" in page.words


def test_the_footer_says_when_and_by_whom(world: World) -> None:
    world.deploy()
    Deploy.objects.update(state=DeployState.DONE, ended_at=timezone.now())

    page = read(world.client.get(world.infrastructure.get_absolute_url()))

    assert re.search(r"Deployed \d\d:\d\d by Olga Own", page.words)


def test_all_deploys_are_listed_newest_first(world: World) -> None:
    for number in (1, 2):
        made(world, [], state=DeployState.STOPPED, number=number)

    page = read(world.client.get(reverse("infrastructure_deploys", args=[world.infrastructure.pk]), headers=PARTIAL))

    assert [name for name in page.names("a") if name.startswith("Deploy ")] == ["Deploy 2", "Deploy 1"]


# ── Who may, and how much it costs ───────────────────────────────────────────


def test_strangers_find_no_deploy(world: World) -> None:
    deploy = made(world, [])
    world.sign_in(world.stranger)

    assert world.client.get(deploy.get_absolute_url()).status_code == 404
    assert world.client.post(deploy.get_absolute_url(), {"does": "stop"}).status_code == 404


@pytest.mark.parametrize("whole", [True, False])
def test_queries_do_not_grow_with_the_steps(world: World, *, whole: bool) -> None:
    def queries(steps: int) -> int:
        Deploy.objects.all().delete()
        parts = [(f"web-data-{number}", "running") for number in range(steps)]
        deploy = made(world, [(f"Step {number}", parts[:3]) for number in range(steps)])
        with CaptureQueriesContext(connection) as found:
            headers = {} if whole else PARTIAL
            assert world.client.get(deploy.get_absolute_url(), headers=headers).status_code == 200
        return len(found)

    assert queries(3) == queries(60) <= 24


def test_queries_do_not_grow_with_what_is_reviewed(world: World) -> None:
    big = factories.make_infrastructure(world.owner, "big")
    array = factories.make_instance_array(big, "big", count=40, power=Power.ON)
    factories.make_drive_array(big, "big-data", instance_array=array, count=40)
    configure(array, by=world.owner, count=2, drives="delete")
    assert ServerType.objects.count() == 1

    def queries(infrastructure: Infrastructure) -> int:
        with CaptureQueriesContext(connection) as found:
            address = reverse("infrastructure_deploy", args=[infrastructure.pk])
            assert world.client.get(address, headers=PARTIAL).status_code == 200
        return len(found)

    assert queries(world.infrastructure) == queries(big) <= 30


def review_of(world: World) -> Any:
    return review(world.infrastructure)


def made(
    world: World,
    steps: list[tuple[str, list[tuple[str, str]]]],
    *,
    state: str = DeployState.RUNNING,
    number: int = 1,
) -> Deploy:
    """A deploy with these steps; each has items with a label and a state ("" for waiting)."""
    now = timezone.now()
    deploy = Deploy.objects.create(
        infrastructure=world.infrastructure,
        number=number,
        by=world.owner,
        state=state,
        started_at=now,
        ended_at=None if state == DeployState.RUNNING else now,
        review=review(world.infrastructure).as_json(),
        goal={},
    )
    for position, (title, items) in enumerate(steps, 1):
        step = DeployStep.objects.create(
            deploy=deploy, position=position, kind="grow", of=world.data.topic, title=title, started_at=now
        )
        for index, (label, how) in enumerate(items):
            failed = how == "failed"
            DeployItem.objects.create(
                step=step,
                number=index,
                label=label,
                state=how or ItemState.WAITING,
                error=f"{label} could not grow." if failed else "",
                detail="E-1 pool" if failed else "",
            )
    return deploy
