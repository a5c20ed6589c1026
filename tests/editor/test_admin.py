"""The admin site: all models, in few queries, and no way around the rules."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from editor import edits
from editor.models import (
    Deploy,
    Drive,
    DriveArray,
    Event,
    Infrastructure,
    InstanceArray,
    Membership,
    Network,
    Power,
    PowerCommand,
    Role,
    Server,
    StoragePool,
    User,
)
from snapshots.models import Snapshot
from tests import factories

pytestmark = pytest.mark.django_db

MODELS = [
    model
    for app in ("editor", "snapshots")
    for model in apps.get_app_config(app).get_models()
    if not model._meta.auto_created
]


@pytest.fixture
def chief() -> User:
    return User.objects.create_superuser("chief@example.org", "correct horse battery", name="Chief")


@pytest.fixture
def owner() -> User:
    return factories.make_user("Olga Own")


@pytest.fixture
def atlas(owner: User) -> Infrastructure:
    """Two servers, two drives, three snapshots of the first."""
    infrastructure = factories.make_infrastructure(owner)
    fill(infrastructure, "web")
    return infrastructure


@pytest.fixture
def site(client: Client, chief: User) -> Client:
    client.force_login(chief)
    return client


def fill(infrastructure: Infrastructure, label: str) -> None:
    web = factories.make_instance_array(infrastructure, label)
    array = factories.make_drive_array(infrastructure, f"{label}-data", instance_array=web)
    (member,) = infrastructure.members.all()[:1]
    for drive in array.drives.all():
        factories.make_snapshots(drive, 3, by=member)
    deploy = Deploy.objects.create(
        infrastructure=infrastructure,
        number=infrastructure.deploys.count() + 1,
        by=member,
        state="done",
        started_at=timezone.now(),
        review={},
        goal={},
    )
    step = deploy.steps.create(position=1, kind="settle", of=web.topic, title=f"Settle {label}")
    step.items.create(label=label)
    infrastructure.design_steps.create(by=member, at=timezone.now(), title=f"add {label}", changes=[])
    infrastructure.presences.create(user=member, page=label, seen_at=timezone.now())
    topics = [array.topic]
    Event.objects.record(infrastructure.pk, "made", label, by=member, topics=topics)


def page(model: type, verb: str = "changelist", pk: int | None = None) -> str:
    meta = model._meta  # type: ignore[attr-defined]
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{verb}", args=[pk] if pk else [])


def staff(*permissions: str) -> User:
    user = User.objects.create_user("sam@example.org", name="Sam Staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


# ── All models ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_is_there(model: type) -> None:
    assert admin.site.is_registered(model)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_list_takes_as_many_queries_for_many_rows_as_for_few(
    model: type, site: Client, atlas: Infrastructure, owner: User
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert site.get(page(model)).status_code == 200
        return len(captured)

    queries()  # fills caches of content types
    few = queries()
    for label in ("db", "analytics", "cache"):
        fill(atlas, label)
        fill(factories.make_infrastructure(factories.make_user(f"Ann {label}"), f"atlas-{label}"), label)

    assert queries() == few


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_pages_have_no_inline_script_or_style(model: type, site: Client, atlas: Infrastructure) -> None:
    row = model.objects.all()[0]  # type: ignore[attr-defined]
    wanted = {"changelist": None, "change": row.pk, "delete": row.pk, "history": row.pk}
    found = {}
    for verb, pk in wanted.items():
        response = site.get(page(model, verb, pk))
        text = response.content.decode()
        inline = re.findall(
            r"<style|\sstyle=|\son[a-z]+=\"|<script(?![^>]*\ssrc=)(?![^>]*application/json)[^>]*>", text
        )
        found[verb] = (response.status_code in (200, 403), inline)

    assert found == dict.fromkeys(wanted, (True, []))


@pytest.mark.parametrize(
    ("model", "words", "number"),
    [
        (Drive, "web-data-2", 1),
        (Drive, "atlas-prod", 2),
        (Snapshot, "note 2", 2),
        (Server, "web", 2),
        (Event, "Olga", 1),
        (User, "olga", 1),
        (Network, "wan", 1),
        (Infrastructure, "atlas", 1),
        (Membership, "olga", 1),
    ],
)
def test_search_finds(model: type, words: str, number: int, site: Client, atlas: Infrastructure) -> None:
    response = site.get(page(model), {"q": words})

    assert response.context["cl"].result_count == number


def test_people_who_are_no_staff_are_sent_to_sign_in(client: Client, owner: User) -> None:
    client.force_login(owner)

    response = client.get(page(Drive))

    assert (response.status_code, response["Location"]) == (302, f"/admin/login/?next={page(Drive)}")


@pytest.mark.parametrize("verb", ["add", "change", "delete"])
@pytest.mark.parametrize("model", [Event, Drive])
def test_what_happened_and_what_was_made_is_only_shown(
    model: type, verb: str, site: Client, atlas: Infrastructure
) -> None:
    row = model.objects.all()[0]  # type: ignore[attr-defined]

    response = site.post(
        page(model, verb, None if verb == "add" else row.pk), {"verb": "lied", "hold": "", "post": "yes"}
    )

    assert response.status_code == 403
    assert model.objects.get(pk=row.pk).__dict__.keys() == row.__dict__.keys()  # type: ignore[attr-defined]


# ── Snapshots ────────────────────────────────────────────────────────────────


def test_deleting_a_snapshot_runs_the_action(site: Client, chief: User, atlas: Infrastructure) -> None:
    snapshot = Snapshot.objects.filter(drive__number=1).newest_first()[1]

    site.post(page(Snapshot, "delete", snapshot.pk), {"post": "yes"})

    drive = Drive.objects.get(pk=snapshot.drive_id)
    assert list(drive.snapshots.values_list("number", flat=True)) == [3, 1]
    assert (drive.snapshot_count, drive.reclaim_due) == (2, True)
    event = Event.objects.told()[0]
    assert (event.actor, event.verb, event.subject) == (chief, "deleted snapshot #2 of", "web-data-1")


def test_refused_deletion_says_why_and_deletes_nothing(site: Client, atlas: Infrastructure) -> None:
    snapshot = Snapshot.objects.filter(drive__number=1)[0]
    Drive.objects.filter(pk=snapshot.drive_id).update(hold="Reverting to #1.")

    response = site.post(page(Snapshot, "delete", snapshot.pk), {"post": "yes"}, follow=True)

    assert "eb-data-1 is busy: Reverting to #1. Try again in a moment." in response.content.decode()
    assert "was deleted successfully" not in response.content.decode()
    assert Snapshot.objects.filter(pk=snapshot.pk).exists()


def test_refused_deletion_of_many_deletes_none(site: Client, atlas: Infrastructure) -> None:
    Drive.objects.filter(number=2).update(hold="Reverting to #1.")
    chosen = list(Snapshot.objects.filter(number=1).values_list("pk", flat=True))
    form = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}

    response = site.post(page(Snapshot), form, follow=True)

    assert "eb-data-2 is busy: Reverting to #1. Try again in a moment. No snapshot was deleted." in (
        response.content.decode()
    )
    assert Snapshot.objects.count() == 6

    Drive.objects.update(hold="")
    site.post(page(Snapshot), form)

    assert set(Snapshot.objects.values_list("number", flat=True)) == {2, 3}
    assert Event.objects.filter(verb="deleted snapshot #1 of").count() == 2


def test_staff_with_the_permission_deletes_without_being_a_member(client: Client, atlas: Infrastructure) -> None:
    client.force_login(staff("view_snapshot", "delete_snapshot"))
    snapshot = Snapshot.objects.all()[0]

    client.post(page(Snapshot, "delete", snapshot.pk), {"post": "yes"})

    assert not Snapshot.objects.filter(pk=snapshot.pk).exists()
    assert client.get(snapshot.drive.get_absolute_url()).status_code == 404


def test_staff_without_the_permission_deletes_nothing(client: Client, atlas: Infrastructure) -> None:
    client.force_login(staff("view_snapshot"))
    snapshot = Snapshot.objects.all()[0]

    assert client.post(page(Snapshot, "delete", snapshot.pk), {"post": "yes"}).status_code == 403
    assert Snapshot.objects.filter(pk=snapshot.pk).exists()


def test_only_the_note_of_a_snapshot_can_be_changed(site: Client, chief: User, atlas: Infrastructure) -> None:
    snapshot = Snapshot.objects.all()[0]

    site.post(page(Snapshot, "change", snapshot.pk), {"note": "Golden image", "layer": 99, "state": "creating"})

    after = Snapshot.objects.get(pk=snapshot.pk)
    assert (after.note, after.layer, after.state) == ("Golden image", snapshot.layer, "ready")
    assert Event.objects.told()[0].verb == f"changed the note of #{snapshot.number} of"


# ── What cannot be deleted ───────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("find", "reason"),
    [
        (Infrastructure.objects.get, "atlas-prod has 2 servers and 2 drives. Delete all its arrays in the design"),
        (DriveArray.objects.get, "web-data has 2 drives. Only a deploy may take them away"),
        (InstanceArray.objects.get, "web has 2 instances. Only a deploy may take them away"),
        (StoragePool.objects.get, "pool-simulated holds 2 drives. Only a deploy may take them away"),
    ],
)
def test_what_holds_drives_or_instances_cannot_be_deleted(
    find: Callable[[], Infrastructure], reason: str, site: Client, atlas: Infrastructure
) -> None:
    thing = find()
    single = site.post(page(type(thing), "delete", thing.pk), {"post": "yes"})
    form = {"action": "delete_selected", "_selected_action": [thing.pk], "post": "yes"}
    many = site.post(page(type(thing)), form)

    assert [reason in response.content.decode() for response in (single, many)] == [True, True]
    assert type(thing).objects.filter(pk=thing.pk).exists()
    assert Drive.objects.count() == 2


def test_infrastructure_that_was_never_made_real_can_be_deleted(site: Client, owner: User) -> None:
    infrastructure = factories.make_infrastructure(owner)
    Event.objects.record(infrastructure.pk, "moved", "wan", topics=["network-1"])

    site.post(page(Infrastructure, "delete", infrastructure.pk), {"post": "yes"})

    assert not Infrastructure.objects.exists()


# ── Members and people ───────────────────────────────────────────────────────


def test_members_are_changed_and_told(site: Client, chief: User, owner: User) -> None:
    infrastructure = factories.make_infrastructure(owner)
    membership = infrastructure.memberships.get()
    wei = factories.make_user("Wei Chen")
    form = {
        "label": infrastructure.label,
        "description": "",
        "memberships-TOTAL_FORMS": 2,
        "memberships-INITIAL_FORMS": 1,
        "memberships-0-id": membership.pk,
        "memberships-0-infrastructure": infrastructure.pk,
        "memberships-0-user": owner.pk,
        "memberships-0-role": Role.VIEWER,
        "memberships-1-infrastructure": infrastructure.pk,
        "memberships-1-user": wei.pk,
        "memberships-1-role": Role.OPERATOR,
    }

    site.post(page(Infrastructure, "change", infrastructure.pk), form)
    site.post(page(Membership, "delete", membership.pk), {"post": "yes"})

    assert list(infrastructure.memberships.values_list("user", "role")) == [(wei.pk, "operator")]
    assert list(Event.objects.order_by("pk").values_list("actor", "verb", "text", "topics")) == [
        (chief.pk, "added a member to", "Wei Chen, operator.", f" {infrastructure.topic} "),
        (chief.pk, "changed the role of a member of", "Olga Own, viewer.", f" {infrastructure.topic} "),
        (chief.pk, "removed a member from", "Olga Own, viewer.", f" {infrastructure.topic} "),
    ]


def test_deleting_an_account_is_told_where_it_was_a_member(site: Client, owner: User) -> None:
    factories.make_infrastructure(factories.make_user("Ana Marin"), viewer=owner)

    site.post(page(User, "delete", owner.pk), {"post": "yes"})

    assert list(Event.objects.values_list("verb", "text")) == [("removed a member from", "Olga Own, viewer.")]


def test_account_is_made_by_address(site: Client) -> None:
    form = {
        "email": "Vera@Example.org",
        "name": "Vera Lindt",
        "password1": "a long pass phrase",
        "password2": "a long pass phrase",
    }

    site.post(page(User, "add"), form)
    again = site.post(page(User, "add"), form | {"email": "vera@example.org"})

    vera = User.objects.get(email__iexact="vera@example.org")
    assert (vera.name, vera.check_password("a long pass phrase"), vera.is_staff) == ("Vera Lindt", True, False)
    assert "This address has an account already." in again.content.decode()


def test_staff_cannot_make_themselves_more_than_they_are(client: Client, chief: User) -> None:
    sam = staff("view_user", "change_user", "delete_user", "add_user")
    client.force_login(sam)
    form = {"email": sam.email, "name": "Sam", "is_active": "on", "is_staff": "on", "is_superuser": "on"}

    client.post(page(User, "change", sam.pk), form)

    sam.refresh_from_db()
    assert (sam.name, sam.is_superuser) == ("Sam", False)
    password = reverse("admin:auth_user_password_change", args=[chief.pk])
    assert client.post(password, {"password1": "x", "password2": "x"}).status_code == 403
    assert client.post(page(User, "change", chief.pk), form).status_code == 403
    assert client.post(page(User, "delete", chief.pk), {"post": "yes"}).status_code == 403


LAST_CHIEF = "Nobody but Chief can give permissions here."


@pytest.mark.parametrize("lost", ["is_active", "is_staff", "is_superuser"])
def test_last_superuser_cannot_give_it_up(lost: str, site: Client, chief: User) -> None:
    form = {"email": chief.email, "name": "Chief", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    del form[lost]

    answer = site.post(page(User, "change", chief.pk), form)

    chief.refresh_from_db()
    assert LAST_CHIEF in answer.content.decode()
    assert (chief.is_active, chief.is_staff, chief.is_superuser) == (True, True, True)

    User.objects.create_superuser("deputy@example.org", name="Deputy")
    site.post(page(User, "change", chief.pk), form)

    chief.refresh_from_db()
    assert getattr(chief, lost) is False


def test_last_superusers_cannot_be_deleted(site: Client, chief: User, owner: User) -> None:
    User.objects.create_superuser("gone@example.org", name="Gone", is_active=False)
    alone = site.post(page(User, "delete", chief.pk), {"post": "yes"})
    deputy = User.objects.create_superuser("deputy@example.org", name="Deputy")
    everybody = {"action": "delete_selected", "_selected_action": [chief.pk, deputy.pk, owner.pk], "post": "yes"}
    together = site.post(page(User), everybody)

    assert LAST_CHIEF in alone.content.decode()
    assert "can give permissions here." in together.content.decode()
    assert User.objects.count() == 4

    site.post(page(User, "delete", deputy.pk), {"post": "yes"})

    assert not User.objects.filter(pk=deputy.pk).exists()


# ── Servers, pools, designs ──────────────────────────────────────────────────


def server_form(server: Server, **changes: object) -> dict[str, object]:
    form = {
        "serial": server.serial,
        "server_type": server.server_type_id,
        "driver": "simulated",
        "address": server.address,
        "trust": "system",
    }
    return form | changes


def test_new_bmc_address_forgets_what_the_old_one_said(site: Client, atlas: Infrastructure) -> None:
    server = Server.objects.all()[0]

    site.post(page(Server, "change", server.pk), server_form(server, address="simulated://rack-9", power="on"))

    server.refresh_from_db()
    assert (server.address, server.power, server.power_seen_at) == ("simulated://rack-9", Power.UNKNOWN, None)
    event = Event.objects.told()[0]
    assert (event.verb, event.subject, event.text) == ("changed", server.serial, "BMC address")


def test_power_state_is_only_shown(site: Client, atlas: Infrastructure) -> None:
    server = Server.objects.all()[0]

    site.post(page(Server, "change", server.pk), server_form(server, power="on", power_command="reset"))

    server.refresh_from_db()
    assert (server.power, server.power_command) == (Power.OFF, "")


def test_bmc_address_stays_while_something_waits_for_it(site: Client, atlas: Infrastructure) -> None:
    first, second = Server.objects.all()
    Server.objects.filter(pk=first.pk).update(power_command=PowerCommand.RESET)
    Drive.objects.filter(instance__server=second).update(hold="Reverting to #1.")

    answers = {
        f"{first} is waiting for Reset.": server_form(first, address="simulated://rack-8"),
        "web-data-2 is busy: Reverting to #1.": server_form(second, address="simulated://rack-9"),
        f"{first} has this address already.": server_form(second, address=first.address),
    }
    for server, (sentence, form) in zip((first, second, second), answers.items(), strict=True):
        assert sentence in site.post(page(Server, "change", server.pk), form).content.decode()

    Server.objects.filter(pk=first.pk).update(power_command="", hold="Deploy 3 needs it off.")
    answer = site.post(page(Server, "change", first.pk), server_form(first, address="simulated://rack-8"))
    assert f"{first} is being deployed: Deploy 3 needs it off." in answer.content.decode()

    assert not Server.objects.filter(address__startswith="simulated://rack").exists()


def test_pool_with_drives_keeps_its_engine_and_folder(site: Client, atlas: Infrastructure) -> None:
    pool = StoragePool.objects.get()
    form = {
        "label": "Fast",
        "engine": "qcow2",
        "storage_type": "iscsi_ssd",
        "folder": "/elsewhere",
        "overcommit_percent": 100,
    }

    site.post(page(StoragePool, "change", pool.pk), form)

    pool.refresh_from_db()
    assert (pool.label, pool.engine, pool.folder) == ("Fast", "simulated", "")


def test_pool_takes_known_engines_and_whole_paths(site: Client) -> None:
    form = {"label": "Fast", "engine": "zfs", "storage_type": "iscsi_ssd", "folder": "drives"}

    text = site.post(page(StoragePool, "add"), form).content.decode()

    assert "zfs is not one of the available choices" in text
    assert "Write the whole path, beginning with a slash." in text
    assert not StoragePool.objects.exists()


def test_design_is_edited_and_told(site: Client, chief: User, atlas: Infrastructure) -> None:
    array = DriveArray.objects.get()
    form = {"label": "web-disk", "instance_array": array.instance_array_id, "count": 3, "size_mb": 40960}

    site.post(page(DriveArray, "change", array.pk), form | {"storage_type": "iscsi_ssd", "grows": "on", "x": 9})

    array.refresh_from_db()
    assert (array.label, array.count, array.x, array.is_deployed) == ("web-disk", 3, 0, True)
    event = Event.objects.told()[0]
    text = "web-data → web-disk, 2 drives → 3 drives"
    assert (event.actor, event.verb, event.subject, event.text) == (chief, "changed", "web-disk", text)


def test_rules_of_designing_hold_here_too(site: Client, atlas: Infrastructure) -> None:
    array = DriveArray.objects.get()
    form = {"label": "web", "instance_array": array.instance_array_id, "count": 1, "size_mb": 20480, "grows": "on"}
    new = {"infrastructure": atlas.pk, "label": "drives", "count": 1, "size_mb": 40960, "storage_type": "iscsi_ssd"}

    changed = site.post(page(DriveArray, "change", array.pk), form | {"storage_type": "iscsi_hdd"})
    added = site.post(page(DriveArray, "add"), new)

    assert "web is taken in this infrastructure. Choose another label." in changed.content.decode()
    assert "drives is a reserved word. Choose another label." in added.content.decode()
    assert DriveArray.objects.get().revision == 0


def test_stale_form_overwrites_nothing(site: Client, chief: User, owner: User, atlas: Infrastructure) -> None:
    lan = atlas.networks.get(kind="lan")
    edits.rename(lan, by=owner, seen=0, label="inside")

    response = site.post(page(Network, "change", lan.pk), {"label": "office", "seen": 0})

    assert "Olga Own changed inside meanwhile." in response.content.decode()
    site.post(page(Network, "change", lan.pk), {"label": "office", "addresses": "10.0.0.0/8", "seen": 1})
    lan.refresh_from_db()
    assert (lan.label, lan.addresses, lan.changed_by) == ("office", "10.0.0.0/8", chief)


def test_new_products_are_drawn_with_all_that_belongs_to_them(site: Client, chief: User, atlas: Infrastructure) -> None:
    server_type = InstanceArray.objects.get().server_type
    site.post(
        page(InstanceArray, "add"),
        {"infrastructure": atlas.pk, "label": "db", "server_type": server_type.pk, "count": 2},
    )
    site.post(page(Network, "add"), {"infrastructure": atlas.pk, "label": "backup", "addresses": "10.0.0.0/8"})
    site.post(
        page(Infrastructure, "add"), {"label": "new", "memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    )

    db, lan = InstanceArray.objects.get(label="db"), Network.objects.get(label="backup")
    assert (db.change, db.interfaces.count(), db.changed_by) == ("add", 4, chief)
    assert (lan.kind, lan.addresses) == ("lan", "10.0.0.0/8")
    assert [network.kind for network in Infrastructure.objects.get(label="new").networks.all()] == ["wan", "san"]


def test_servers_that_go_are_asked_about(site: Client, atlas: Infrastructure) -> None:
    web = InstanceArray.objects.get()
    form = {"label": "web", "server_type": web.server_type_id, "count": 1}
    form |= {"interfaces-TOTAL_FORMS": 0, "interfaces-INITIAL_FORMS": 0}

    response = site.post(page(InstanceArray, "change", web.pk), form)
    assert "1 drive belongs to a server that goes. Choose whether to keep or to delete" in response.content.decode()

    site.post(page(InstanceArray, "change", web.pk), form | {"drives": "delete"})
    assert (InstanceArray.objects.get().numbers, DriveArray.objects.get().numbers) == ([1], [1])


def test_interfaces_are_connected_by_the_rules(site: Client, atlas: Infrastructure) -> None:
    web = InstanceArray.objects.get()
    san, lan = web.interfaces.all()
    wan, backbone = (atlas.networks.get(kind=kind) for kind in ("wan", "san"))
    form = {"label": "web", "server_type": web.server_type_id, "count": 2}
    form |= {"interfaces-TOTAL_FORMS": 2, "interfaces-INITIAL_FORMS": 2}
    form |= {"interfaces-0-id": san.pk, "interfaces-0-instance_array": web.pk, "interfaces-0-network": backbone.pk}
    form |= {"interfaces-1-id": lan.pk, "interfaces-1-instance_array": web.pk}

    refused = site.post(page(InstanceArray, "change", web.pk), form | {"interfaces-1-network": backbone.pk})
    site.post(page(InstanceArray, "change", web.pk), form | {"interfaces-1-network": wan.pk})

    assert "The SAN carries the drives: it takes if0 only, not if1." in refused.content.decode()
    assert InstanceArray.objects.get().drawn()["interfaces"] == [backbone.pk, wan.pk, None, None]
    assert Event.objects.told()[0].verb == "connected if1 of web to"


def test_only_what_was_never_deployed_is_deleted_here(site: Client, chief: User, atlas: Infrastructure) -> None:
    logs = edits.add_drive_array(atlas, by=chief, label="logs")
    lan, wan = (atlas.networks.get(kind=kind) for kind in ("lan", "wan"))

    refused = [site.post(page(Network, "delete", one.pk), {"post": "yes"}).content.decode() for one in (lan, wan)]
    site.post(page(DriveArray, "delete", logs.pk), {"post": "yes"})

    assert "lan is deployed. Delete it in the design, and deploy that." in refused[0]
    assert "wan is deployed." in refused[1]
    assert not DriveArray.objects.filter(label="logs").exists()


def test_drives_are_attached_within_one_infrastructure(site: Client, atlas: Infrastructure) -> None:
    other = factories.make_instance_array(factories.make_infrastructure(label="other"), "db")
    array = DriveArray.objects.get()
    form = {"label": array.label, "instance_array": other.pk, "count": 2, "size_mb": 40960, "storage_type": "iscsi_ssd"}

    response = site.post(page(DriveArray, "change", array.pk), form)

    assert "db is in another infrastructure. Nothing reaches across." in response.content.decode()
