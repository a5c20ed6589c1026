"""The pages of storage pools in the administration: their place, their room, how full they are, whether they work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from editor import storage
from editor.models import Drive, Event, Infrastructure, StoragePool, User
from editor.reconcile import Worker
from tests import factories
from tests.reading import Page, read

pytestmark = pytest.mark.django_db

GB = 1024**3
LIST = "/admin/editor/storagepool/"


@pytest.fixture
def ada() -> User:
    return factories.make_admin()


@pytest.fixture
def site(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


@pytest.fixture
def atlas(ada: User) -> Infrastructure:
    """Two drives of 40 GB, the second with three snapshots."""
    infrastructure = factories.make_infrastructure(ada)
    array = factories.make_drive_array(infrastructure, count=2)
    array.drives.filter(number=1).update(used_bytes=2 * GB)
    second = array.drives.get(number=2)
    factories.make_snapshots(second, 3)
    array.drives.filter(number=2).update(used_bytes=30 * GB)
    return infrastructure


def form(**changes: object) -> dict[str, object]:
    stated = {"label": "ssd-1", "engine": "qcow2", "storage_type": "iscsi_ssd", "overcommit_percent": 100}
    return stated | changes


def page(pool: StoragePool, verb: str = "change") -> str:
    return f"{LIST}{pool.pk}/{verb}/"


def errors(response: Any) -> dict[str, list[str]]:
    """Sentences by field."""
    return dict(response.context["adminform"].form.errors)


def fill(percent: int, **fields: object) -> StoragePool:
    StoragePool.objects.update(
        total_bytes=500 * GB, free_bytes=(100 - percent) * 5 * GB, usage_seen_at=timezone.now(), **fields
    )
    return StoragePool.objects.get()


# ── Where ────────────────────────────────────────────────────────────────────


def test_pool_is_added_with_its_place_class_and_room(site: Client) -> None:
    site.post(
        f"{LIST}add/", form(folder="/srv/ssd/", capacity_gb=1000, overcommit_percent=150, storage_type="iscsi_hdd")
    )

    pool = StoragePool.objects.get()
    assert (pool.label, pool.engine, pool.folder, pool.storage_type) == ("ssd-1", "qcow2", "/srv/ssd", "iscsi_hdd")
    assert (pool.capacity_gb, pool.overcommit_percent, pool.maintenance) == (1000, 150, False)


def test_engines_are_offered_with_what_they_keep_drives_in_but_not_that_of_tests(site: Client) -> None:
    words = site.get(f"{LIST}add/").content.decode()

    offered = set(re.findall(r'<option value="(\w+)"[^>]*>\1: ', words))
    assert offered == set(storage.ENGINES) - {"simulated"}
    assert 'value="simulated"' not in words


def test_pool_of_another_engine_keeps_it(site: Client) -> None:
    pool = StoragePool.objects.create(label="ssd-1", engine="simulated")

    site.post(page(pool), form(label="ssd-2", engine="simulated"))

    pool.refresh_from_db()
    assert (pool.label, pool.engine) == ("ssd-2", "simulated")


ALL_OF_CEPH = ("ceph_conf", "ceph_user", "ceph_pool")
IN_CEPH: dict[str, object] = {
    "engine": "rbd",
    "ceph_conf": "/etc/ceph/ceph.conf",
    "ceph_user": "editor",
    "ceph_pool": "drives",
}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (IN_CEPH, {}),
        (
            {"engine": "rbd", "folder": "/srv/ssd"},
            {
                "ceph_conf": ["The engine rbd needs this."],
                "ceph_user": ["The engine rbd needs this."],
                "ceph_pool": ["The engine rbd needs this."],
                "folder": ["The engine rbd keeps drives in Ceph. Leave this empty."],
            },
        ),
        (
            IN_CEPH | {"engine": "qcow2"},
            {name: ["The engine qcow2 keeps drives in a folder. Leave this empty."] for name in ALL_OF_CEPH},
        ),
        (IN_CEPH | {"ceph_conf": "ceph.conf"}, {"ceph_conf": ["Write the whole path, beginning with a slash."]}),
        ({"folder": "/srv/taken"}, {"folder": ["taken is in this folder already."]}),
        (
            {"folder": "/srv/taken/below"},
            {"folder": ["taken is in /srv/taken: one pool cannot be inside another."]},
        ),
        ({"folder": "/srv"}, {"folder": ["taken is in /srv/taken: one pool cannot be inside another."]}),
        (
            IN_CEPH | {"ceph_pool": "taken", "ceph_user": "other"},
            {"ceph_pool": ["in-ceph is in this RADOS pool already."]},
        ),
        ({"overcommit_percent": 99}, {"overcommit_percent": ["Ensure this value is greater than or equal to 100."]}),
    ],
)
def test_each_engine_takes_what_says_where_it_keeps_drives(
    site: Client, monkeypatch: pytest.MonkeyPatch, stated: dict[str, object], expected: dict[str, list[str]]
) -> None:
    monkeypatch.setitem(storage.ENGINES, "rbd", storage.SimulatedStorage)  # type: ignore[attr-defined]
    StoragePool.objects.create(label="taken", folder="/srv/taken")
    StoragePool.objects.create(label="in-ceph", engine="rbd", ceph_conf="/etc/ceph/ceph.conf", ceph_pool="taken")

    response = site.post(f"{LIST}add/", form(**stated))

    assert (errors(response) if response.status_code == 200 else {}) == expected
    assert StoragePool.objects.filter(label="ssd-1").exists() == (not expected)


def test_folder_is_the_same_by_another_name(site: Client, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    StoragePool.objects.create(label="taken", folder=str(tmp_path / "disk/pool"))

    linked = site.post(f"{LIST}add/", form(folder=str(tmp_path / "link/pool")))
    dotted = site.post(f"{LIST}add/", form(folder=str(tmp_path / "disk/../disk/pool")))

    assert errors(linked) == {"folder": ["taken is in this folder already."]}
    assert errors(dotted) == {"folder": ["Write the whole path, without two dots in it."]}


def test_ceph_user_may_be_written_as_ceph_does(site: Client) -> None:
    site.post(f"{LIST}add/", form(**IN_CEPH | {"ceph_user": "client.editor"}))

    assert StoragePool.objects.get().ceph_user == "editor"


def test_own_folder_of_a_pool_belongs_to_no_other(site: Client) -> None:
    own = StoragePool.objects.create(label="own")

    response = site.post(f"{LIST}add/", form(folder=str(settings.DATA_DIR / "pools" / str(own.pk))))

    assert errors(response) == {"folder": ["own is in this folder already."]}


def test_first_drive_fixes_the_place_and_nothing_else(site: Client, atlas: Infrastructure) -> None:
    pool = StoragePool.objects.get()

    site.post(page(pool), form(folder="/elsewhere", capacity_gb=500, maintenance="on", label="Fast"))

    pool.refresh_from_db()
    assert (pool.label, pool.engine, pool.folder) == ("Fast", "simulated", "")
    assert (pool.capacity_gb, pool.maintenance) == (500, True)


def test_saving_keeps_what_the_worker_read_meanwhile(site: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = StoragePool.objects.create(label="ssd-1", engine="qcow2")
    save = StoragePool.save

    def late(self: StoragePool, *args: Any, **kwargs: Any) -> None:
        StoragePool.objects.filter(pk=pool.pk).update(total_bytes=7 * GB, free_bytes=GB)
        save(self, *args, **kwargs)

    monkeypatch.setattr(StoragePool, "save", late)
    site.post(page(pool), form(label="ssd-2"))

    pool.refresh_from_db()
    assert (pool.label, pool.total_bytes) == ("ssd-2", 7 * GB)


def test_maintenance_is_told_where_it_matters(site: Client, ada: User, atlas: Infrastructure) -> None:
    pool = StoragePool.objects.get()
    factories.make_infrastructure(ada, "elsewhere")

    site.post(page(pool), form(label=pool.label, maintenance="on"))
    site.post(page(pool), form(label=pool.label))

    told = [(str(event), event.infrastructure) for event in Event.objects.told().order_by("pk")]
    assert told == [
        (f"{ada} put into maintenance: storage pool pool-simulated", atlas),
        (f"{ada} ended the maintenance of storage pool pool-simulated", atlas),
    ]
    assert all(pool.topic in event.topic_list for event in Event.objects.told())


# ── Use ──────────────────────────────────────────────────────────────────────


def test_list_says_how_full_pools_are(site: Client, atlas: Infrastructure) -> None:
    fill(44, capacity_gb=400, overcommit_percent=180)

    words = read(site.get(LIST)).words

    assert "pool-simulated simulated iscsi_ssd 2 220 of 500 GB, 44 % 80 of 720 GB - read just now" in words

    StoragePool.objects.update(maintenance=True)
    assert "80 of 720 GB in maintenance read just now" in read(site.get(LIST)).words


def test_list_begins_with_warnings(site: Client, atlas: Infrastructure) -> None:
    fill(87)
    assert (
        "Storage pool pool-simulated is 87 % full (435 of 500 GB). From 95 % on, no drives"
        in read(site.get(LIST)).words
    )

    fill(40)
    assert "From 95 % on" not in read(site.get(LIST)).words


def test_page_says_what_takes_the_room(site: Client, atlas: Infrastructure) -> None:
    pool = fill(44, held_bytes=32 * GB, capacity_gb=500)

    words = read(site.get(page(pool))).words

    assert "File system 220 of 500 GB, 44 %" in words
    assert "Capacity 32 of 500 GB, 6 %" in words
    assert "Promised sizes 80 of 500 GB in 2 drives" in words
    assert "Kept for snapshots up to 49 MB" in words
    assert "web-data-2 atlas-prod 30 of 40 GB, 75 % 3 web-data-1 atlas-prod 2 of 40 GB, 5 % 0" in words


def test_page_says_why_it_cannot_be_read(site: Client) -> None:
    pool = StoragePool.objects.create(label="ssd-1", usage_error="The cluster is silent.")

    words = read(site.get(page(pool))).words
    assert "could not be read: The cluster is silent. Not checked yet." in words
    assert "The cluster is silent." in read(site.get(LIST)).words


# ── Check ────────────────────────────────────────────────────────────────────


def usage(site: Client, pool: StoragePool) -> Page:
    return read(site.get(page(pool, "usage")))


def test_check_is_asked_for_and_its_result_shown_in_place(
    site: Client, atlas: Infrastructure, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = StoragePool.objects.get()
    found = [storage.Check("Programs"), storage.Check("Folder", "The folder is not writable. Make it so.")]
    monkeypatch.setattr("editor.storage.SimulatedStorage.check", lambda _: found)
    assert "Not checked yet." in usage(site, pool).words

    asked = read(site.post(page(pool, "usage"), {"do": "check"}, headers={"HX-Request": "true"}))
    assert "Checking…" in asked.words
    assert 'hx-trigger="every 1s"' in site.get(page(pool, "usage")).content.decode()
    Worker().run_until_quiet()

    words = usage(site, pool).words
    assert "1 of 2 checks failed. ✓ Programs: works ✗ Folder: The folder is not writable. Make it so." in words
    assert "Checked just now." in words
    assert "Folder: see its check" in read(site.get(LIST)).words


def test_check_works_without_javascript(site: Client, atlas: Infrastructure) -> None:
    pool = StoragePool.objects.get()

    answer = site.post(page(pool, "usage"), {"do": "check"})

    assert (answer.status_code, answer["Location"]) == (302, page(pool))
    assert "Checking…" in read(site.get(page(pool))).words
    Worker().run_until_quiet()
    assert "All that was checked works. ✓ Memory: works" in read(site.get(page(pool))).words


def test_check_that_nobody_makes_says_so(site: Client) -> None:
    asked_at = timezone.now() - timezone.timedelta(seconds=40)  # type: ignore[attr-defined]
    pool = StoragePool.objects.create(label="ssd-1", check_asked_at=asked_at)

    assert "Waiting to be checked. Is a worker running, and does the storage answer?" in usage(site, pool).words


def test_many_are_checked_from_the_list(site: Client) -> None:
    pools = [StoragePool.objects.create(label=label, engine="simulated") for label in ("a", "b")]

    site.post(LIST, {"action": "check_selected", "_selected_action": [pool.pk for pool in pools]})

    assert StoragePool.objects.filter(check_asked_at__isnull=False).count() == 2


def test_staff_who_may_only_look_cannot_check(client: Client, atlas: Infrastructure) -> None:
    sam = User.objects.create_user("sam@example.org", name="Sam Staff", is_staff=True)
    sam.user_permissions.set(Permission.objects.filter(codename="view_storagepool"))
    client.force_login(sam)
    pool = StoragePool.objects.get()

    assert "Check" not in read(client.get(page(pool, "usage"))).names()
    assert client.post(page(pool, "usage"), {"do": "check"}).status_code == 403
    sam.user_permissions.clear()
    assert client.get(page(pool, "usage")).status_code == 403
    assert client.get(f"{LIST}999/usage/").status_code == 404


def test_page_asks_as_much_for_many_drives_as_for_few(
    site: Client, atlas: Infrastructure, django_assert_max_num_queries: Any
) -> None:
    pool = StoragePool.objects.get()
    factories.make_drive_array(atlas, "many", count=50)
    assert Drive.objects.filter(pool=pool).count() == 52

    with django_assert_max_num_queries(8):
        usage(site, pool)
