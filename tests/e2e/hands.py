"""Hands on the installation, in a process of their own: they make worlds and look at what is on the drives.

While Playwright is open, Django refuses database work in its process. So tests ask here: one JSON object a line, in
and out. `Hands` is the end that tests hold; run as a program, this module is the other.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.product import ROOT, Product


@dataclass(frozen=True)
class World:
    """One infrastructure of a test's own: web on servers, and web-data, real drives; ids in the order of numbers."""

    infrastructure: int
    label: str
    instance_array: int
    drive_array: int
    instances: list[int]
    drives: list[int]
    snapshots: list[list[int]] = field(default_factory=list)
    """Ids of each drive's snapshots, oldest first."""

    @property
    def canvas(self) -> str:
        return f"/infrastructures/{self.infrastructure}/"

    def drive(self, number: int, tab: str = "snapshots/") -> str:
        """The address of a drive's tab."""
        return f"/drives/{self.drives[number - 1]}/{tab}"

    @property
    def list_of_instances(self) -> str:
        return f"/instance-arrays/{self.instance_array}/instances/"


class Hands:
    """The tests' end."""

    def __init__(self, product: Product) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.hands"],
            cwd=ROOT,
            env=product.environment | {"DJANGO_SETTINGS_MODULE": "editor.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def make(self, **wishes: Any) -> World:
        """Makes a world; see `Maker.make` for what can be wished."""
        return World(**self._ask("make", **wishes))

    def session(self, who: str) -> str:
        """Answers the key of a session in which a person is signed in."""
        return str(self._ask("session", who=who))

    def write(self, drive: int, text: str) -> None:
        """Puts a text at the beginning of a drive, through `manage.py drive write`."""
        self._ask("write", drive=drive, text=text)

    def text(self, drive: int) -> str:
        """Answers the text at the beginning of a drive."""
        return str(self._ask("text", drive=drive))

    def facts(self, drive: int) -> dict[str, Any]:
        """Answers what the rows say: hold, trouble, count, and the snapshots as [number, note, state], oldest first."""
        facts: dict[str, Any] = self._ask("facts", drive=drive)
        return facts

    def log_in(self, drive: int) -> None:
        """The worker has seen the server of a drive logged in to it."""
        self._ask("log_in", drive=drive)

    def fill_pool(self, drive: int, percent: int) -> None:
        """The drive is alone in a pool that is so full."""
        self._ask("fill_pool", drive=drive, percent=percent)

    def create(self, drive: int, *, by: str, note: str = "") -> None:
        """Somebody else takes a snapshot, on another page."""
        self._ask("create", drive=drive, by=by, note=note)

    def delete(self, snapshot: int, *, by: str) -> None:
        """Somebody else deletes a snapshot, on another page."""
        self._ask("delete", snapshot=snapshot, by=by)

    def press_power_button(self, instance: int, state: str) -> None:
        """Somebody stands before the machine: at once it is on or off, and somebody else presses "Check now"."""
        self._ask("press_power_button", instance=instance, state=state)

    def let_time_limit_pass(self, instance: int) -> None:
        """The soft shutdown of an instance was asked for its whole time limit ago."""
        self._ask("let_time_limit_pass", instance=instance)

    def remember_power(self, instance: int) -> None:
        """An instance was silent, off, and on its way between, in the last week."""
        self._ask("remember_power", instance=instance)

    def be_present(self, who: str, infrastructure: int, topic: str) -> None:
        """For an hour somebody looks at a card, on a page of their own."""
        self._ask("be_present", who=who, infrastructure=infrastructure, topic=topic)

    def free_servers(self, number: int, kind: str = "M.16.64") -> None:
        """An administrator adds servers that nobody has, all off; the type is made if need be."""
        self._ask("free_servers", number=number, kind=kind)

    def add_drives(self, world: World, *, by: str, attached: bool = False, **design: Any) -> int:
        """Somebody else draws a DriveArray of 1 GB drives; answers its id."""
        return int(
            self._ask(
                "add_drives",
                infrastructure=world.infrastructure,
                by=by,
                instance_array=world.instance_array if attached else None,
                **({"size_mb": 1024} | design),
            )
        )

    def add_servers(self, world: World, *, by: str, kind: str = "M.16.64", **design: Any) -> int:
        """Somebody else draws an InstanceArray; answers its id."""
        return int(self._ask("add_servers", infrastructure=world.infrastructure, by=by, kind=kind, **design))

    def configure_drives(self, drive_array: int, *, by: str, **changes: Any) -> None:
        """Somebody else saves the form of a DriveArray, with some fields changed."""
        self._ask("configure_drives", drive_array=drive_array, by=by, changes=changes)

    def configure_servers(self, instance_array: int, *, by: str, **changes: Any) -> None:
        """Somebody else saves the form of an InstanceArray, with some fields changed."""
        self._ask("configure_servers", instance_array=instance_array, by=by, changes=changes)

    def real(self, infrastructure: int) -> dict[str, Any]:
        """Answers what exists: `servers` by label, `drives` by label, and how the `deploys` went, oldest first.

        A server is [id of its instance, power], a drive [id, GB of its volume, label of its server].
        """
        real: dict[str, Any] = self._ask("real", infrastructure=infrastructure)
        return real

    def infrastructure(self, label: str) -> int:
        """Answers the id of an infrastructure that was made on a page."""
        return int(self._ask("infrastructure", label=label))

    def last_try(self, infrastructure: int) -> None:
        """What a deploy does for the second time has failed often enough when that fails."""
        self._ask("last_try", infrastructure=infrastructure)

    def demo(self) -> dict[str, int]:
        """Answers the ids of the demo's infrastructures, arrays and drives by their paths: "atlas-prod/web-data-2"."""
        ids: dict[str, int] = self._ask("demo")
        return ids

    def _ask(self, what: str, **words: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": what, **words}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"The hands ended at {what!r}; see the captured output."
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["answer"]


# ── The other end ────────────────────────────────────────────────────────────


class Maker:
    """Does what tests ask for. Everything a test may do to an installation stands here."""

    def __init__(self) -> None:
        from editor.models import User

        # Ana owns the worlds of all tests.
        User.objects.update(infrastructure_quota=1000)
        self.people = {user.email.partition("@")[0]: user for user in User.objects.all()}
        self.people["stranger"] = User.objects.create_user("stranger@example.org", None, name="Sam Stranger")
        self.made = self.freed = 0

    def make(
        self,
        *,
        count: int = 2,
        power: str = "off",
        options: str = "",
        snapshots: int = 0,
        texts: list[str] | None = None,
        attached: bool = True,
        deployed: bool = True,
        bmcs: list[dict[str, str]] | None = None,
        engine: str = "qcow2",
        ceph: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """`snapshots` are taken of each drive; `texts` are what was on the first drive at each of them, and after.

        `bmcs` are what an administrator enters for the BMC of each server; nobody has read them yet. `ceph` is what one
        enters for the pool of the engine in Ceph.
        """
        from django.db import transaction

        from editor import actions
        from editor.models import Power, StoragePool
        from tests import factories

        self.made += 1
        ana = self.people["ana"]
        StoragePool.objects.get_or_create(label=f"pool-{engine}", defaults={"engine": engine, **(ceph or {})})
        with transaction.atomic():
            infrastructure = factories.make_infrastructure(
                ana, f"world-{self.made}", operator=self.people["tomas"], viewer=self.people["vera"]
            )
            array = factories.make_instance_array(
                infrastructure, count=count, power=Power(power), options=options if attached else ""
            )
            for instance, fields in zip(array.instances.order_by("number"), bmcs or (), strict=False):
                self._put_behind(instance.server, **fields)
            drive_array = factories.make_drive_array(
                infrastructure,
                instance_array=array if attached else None,
                count=count,
                engine=engine,
                size_mb=1024,
                made=False,
            )
            if not deployed:
                type(drive_array).objects.filter(pk=drive_array.pk).update(deployed=None)
            drives = list(drive_array.drives.select_related("pool"))
            taken = [self._fill(drive, snapshots, texts if index == 0 else None) for index, drive in enumerate(drives)]
            if not deployed:
                drive_array.drives.update(head_layer=None, next_layer=1)
        actions.tidy_up(infrastructure, by=ana)
        return {
            "infrastructure": infrastructure.pk,
            "label": infrastructure.label,
            "instance_array": array.pk,
            "drive_array": drive_array.pk,
            "instances": [instance.pk for instance in array.instances.order_by("number")],
            "drives": [drive.pk for drive in drives],
            "snapshots": taken,
        }

    def _put_behind(self, server: Any, *, address: str, password: str, **fields: str) -> None:
        """Gives a server a BMC that speaks Redfish."""
        from editor import sealed
        from editor.models import Power

        server.driver, server.address = "redfish", address
        server.password_sealed = sealed.first_key().seal(password)
        for name, value in fields.items():
            setattr(server, name, value)
        server.power, server.power_seen_at = Power.UNKNOWN, None
        server.save()

    def _fill(self, drive: Any, snapshots: int, texts: list[str] | None) -> list[int]:
        """Makes the volume and its snapshots as a worker would have, before any worker can see the drive."""
        from editor.volumes import driver_of
        from tests import factories

        driver = driver_of(drive.pool)
        driver.create_drive(drive.pk, layer=1, size_bytes=drive.size_bytes)
        drive.head_layer, drive.next_layer, drive.observe_due = 1, 2, True
        drive.save()
        taken = factories.make_snapshots(drive, snapshots, by=self.people["tomas"])
        for index, snapshot in enumerate(taken):
            if texts:
                driver.write(drive.pk, offset=0, data=_sector(texts[index]))
            driver.snapshot(drive.pk, frozen=snapshot.layer, new_layer=snapshot.new_layer)
        if texts and len(texts) > len(taken):
            driver.write(drive.pk, offset=0, data=_sector(texts[-1]))
        return [snapshot.pk for snapshot in taken]

    def session(self, *, who: str) -> str:
        from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
        from django.contrib.sessions.backends.db import SessionStore

        user = self.people[who]
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        return str(session.session_key)

    def write(self, *, drive: int, text: str) -> None:
        from django.core.management import call_command

        call_command("drive", "write", str(drive), "--text", text.ljust(512, "."), stdout=io.StringIO())

    def text(self, *, drive: int) -> str:
        from editor.models import Drive
        from editor.volumes import driver_of

        row = Drive.objects.select_related("pool").get(pk=drive)
        return driver_of(row.pool).read(drive, offset=0, length=512).strip(b"\0.").decode()

    def facts(self, *, drive: int) -> dict[str, Any]:
        from editor.models import Drive

        row = Drive.objects.select_related("trouble").get(pk=drive)
        return {
            "hold": row.hold,
            "trouble": row.trouble.text if row.trouble else "",
            "count": row.snapshot_count,
            "snapshots": [list(one) for one in row.snapshots.order_by("number").values_list("number", "note", "state")],
        }

    def log_in(self, *, drive: int) -> None:
        from editor.iscsi_names import initiator_iqn
        from editor.models import Drive

        row = Drive.objects.select_related("instance").get(pk=drive)
        assert row.instance
        row.sessions = [[initiator_iqn(row.instance), "192.0.2.21"]]
        row.save(update_fields=["sessions"])

    def fill_pool(self, *, drive: int, percent: int) -> None:
        from editor.models import Drive, StoragePool

        row, held_bytes = Drive.objects.select_related("pool").get(pk=drive), percent * 1024**3 // 100 + 1
        # The same folder, written so that it passes for one of its own: the volume stays where it is.
        folder = f"{row.pool.path}{'/.' * StoragePool.objects.count()}"
        pool, _ = StoragePool.objects.get_or_create(label=f"ssd-{drive}", defaults={"folder": folder, "capacity_gb": 1})
        Drive.objects.filter(pk=drive).update(pool=pool, used_bytes=held_bytes)
        StoragePool.objects.filter(pk=pool.pk).update(held_bytes=held_bytes)

    def create(self, *, drive: int, by: str, note: str) -> None:
        from editor.models import Drive
        from snapshots import actions
        from snapshots.rules import deleted_next

        row = Drive.objects.get(pk=drive)
        victim = deleted_next(list(row.snapshots.all()))
        actions.request_create(row, by=self.people[by], note=note, expect_delete=victim.pk if victim else None)

    def delete(self, *, snapshot: int, by: str) -> None:
        from snapshots import actions
        from snapshots.models import Snapshot

        actions.delete(Snapshot.objects.select_related("drive").get(pk=snapshot), by=self.people[by])

    def press_power_button(self, *, instance: int, state: str) -> None:
        from editor import actions
        from editor.models import Instance
        from editor.power import PowerState
        from editor.power.simulated import _Machine, _parsed

        server, driver = self._machine(instance)
        with driver._locked():
            driver._save(_parsed(server.address), _Machine(PowerState(state)))
        here = Instance.objects.select_related("instance_array").filter(pk=instance)
        actions.look_now(here[0].instance_array, here, by=self.people["ana"])

    def let_time_limit_pass(self, *, instance: int) -> None:
        from datetime import timedelta

        from django.conf import settings
        from django.utils import timezone

        from editor.models import Server

        now = timezone.now()
        Server.objects.filter(instance=instance).update(
            power_asked_at=now - timedelta(seconds=settings.SHUTDOWN_SECONDS),
            power_sent_at=now,
            power_deadline=now,
        )

    def remember_power(self, *, instance: int) -> None:
        from datetime import timedelta

        from django.utils import timezone

        from editor.models import Event, Instance, Result, Told

        one = Instance.objects.select_related("instance_array").get(pk=instance)
        week = (150, "unknown"), (140, "on"), (40, "shutting_down"), (39.9, "off"), (20, "powering_on"), (19.9, "on")
        before = ""
        for hours, power in (*week, (3, "shutting_down"), (2.9, "off"), (1, "powering_on"), (0.9, one.shown_power)):
            told = Told(one.pk, before, power)
            event = Event.objects.record(
                one.instance_array.infrastructure_id, result=Result.SILENT, topics=[], told=told
            )
            Event.objects.filter(pk=event.pk).update(at=timezone.now() - timedelta(hours=hours))
            before = power

    def be_present(self, *, who: str, infrastructure: int, topic: str) -> None:
        from datetime import timedelta

        from django.utils import timezone

        from editor.models.presence import Presence

        Presence.objects.update_or_create(
            infrastructure_id=infrastructure,
            page=f"page of {who}",
            defaults={
                "user": self.people[who],
                "looks_at": topic,
                "seen_at": timezone.now() + timedelta(hours=1),
            },
        )

    def free_servers(self, *, number: int, kind: str) -> None:
        from editor.models import Server, ServerType

        server_type, _ = ServerType.objects.get_or_create(label=kind, defaults={"cores": 16, "ram_gb": 64})
        for _ in range(number):
            self.freed += 1
            serial = f"FREE-{self.freed}"
            Server.objects.create(server_type=server_type, serial=serial, address=f"simulated://{serial}?start=off")

    def add_drives(self, *, infrastructure: int, by: str, instance_array: int | None, **design: Any) -> int:
        from editor import edits
        from editor.models import Infrastructure, InstanceArray

        owner = InstanceArray.objects.get(pk=instance_array) if instance_array else None
        row = Infrastructure.objects.get(pk=infrastructure)
        return int(edits.add_drive_array(row, by=self.people[by], instance_array=owner, **design).pk)

    def add_servers(self, *, infrastructure: int, by: str, kind: str, **design: Any) -> int:
        from editor import edits
        from editor.models import Infrastructure, ServerType

        server_type, _ = ServerType.objects.get_or_create(label=kind, defaults={"cores": 16, "ram_gb": 64})
        row = Infrastructure.objects.get(pk=infrastructure)
        return int(edits.add_instance_array(row, by=self.people[by], server_type=server_type, **design).pk)

    def configure_drives(self, *, drive_array: int, by: str, changes: dict[str, Any]) -> None:
        from editor.models import DriveArray
        from tests.editor import designing

        designing.configure_drives(DriveArray.objects.get(pk=drive_array), by=self.people[by], **changes)

    def configure_servers(self, *, instance_array: int, by: str, changes: dict[str, Any]) -> None:
        from editor.models import InstanceArray
        from tests.editor import designing

        designing.configure(InstanceArray.objects.get(pk=instance_array), by=self.people[by], **changes)

    def real(self, *, infrastructure: int) -> dict[str, Any]:
        from editor.models import Deploy, Drive, Instance
        from editor.volumes import driver_of

        instances = Instance.objects.filter(instance_array__infrastructure=infrastructure, server__isnull=False)
        drives = Drive.objects.filter(drive_array__infrastructure=infrastructure, head_layer__isnull=False)
        return {
            "servers": {
                one.label: [one.pk, one.server.power if one.server else ""]
                for one in instances.select_related("instance_array", "server").order_by("pk")
            },
            "drives": {
                one.label: [
                    one.pk,
                    driver_of(one.pool).size_bytes(one.pk) / 1024**3,
                    one.instance.label if one.instance else "",
                ]
                for one in drives.select_related("pool", "drive_array", "instance__instance_array").order_by("pk")
            },
            "deploys": [str(one.state) for one in Deploy.objects.filter(infrastructure=infrastructure).order_by("pk")],
        }

    def infrastructure(self, *, label: str) -> int:
        from editor.models import Infrastructure

        return int(Infrastructure.objects.get(label=label).pk)

    def last_try(self, *, infrastructure: int) -> None:
        from editor.build.items import TRIES
        from editor.models import DeployItem, ItemState

        running = DeployItem.objects.filter(step__deploy__infrastructure=infrastructure, state=ItemState.RUNNING)
        for item in running:
            item.payload["tries"] = TRIES - 1
            item.save(update_fields=["payload"])

    def demo(self) -> dict[str, int]:
        from editor.models import DriveArray, Infrastructure, InstanceArray

        ids = {}
        for infrastructure in Infrastructure.objects.exclude(label__startswith="world-"):
            ids[infrastructure.label] = infrastructure.pk
            for model in (InstanceArray, DriveArray):
                for array in model._default_manager.filter(infrastructure=infrastructure):
                    ids[f"{infrastructure.label}/{array.label}"] = array.pk
                    for drive in array.drives.all() if isinstance(array, DriveArray) else ():
                        ids[f"{infrastructure.label}/{drive.label}"] = drive.pk
        return ids

    def _machine(self, instance: int) -> tuple[Any, Any]:
        from editor.models import Server
        from editor.servers import driver_of

        server = Server.objects.get(instance=instance)
        return server, driver_of(server)


def _sector(text: str) -> bytes:
    return text.encode().ljust(512, b".")


def main() -> None:
    import django

    # Whatever prints must not end up between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    django.setup()
    maker = Maker()
    for line in sys.stdin:
        words = json.loads(line)
        try:
            answer = {"answer": getattr(maker, words.pop("do"))(**words)}
        except Exception as error:  # noqa: BLE001 - the test shall know, whatever it was
            answer = {"error": repr(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
