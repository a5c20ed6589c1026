"""What administrators do with servers: register, change, drain, have checked, replace under an instance.

As in `editor.actions`: each locks, asks the rules, writes, and records an Event where an instance is concerned. One
administrator writes at a time, so that no two servers get one BMC.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from editor import bell
from editor.actions import demand, power_topics
from editor.entries import WRITTEN, Entry, Register, apply, faults, label_of
from editor.models import Drive, Event, Instance, Result, Server, User
from editor.rules import Refused
from editor.server_rules import why_not_administer, why_not_put_in, why_not_replace

# Any fixed number serves, as long as nothing else in the database uses the same.
INVENTORY_LOCK = 0x53455256


# ── One server ───────────────────────────────────────────────────────────────


def register(entry: Entry, *, by: User) -> Server:
    """Adds a server, and has its connection checked. Raises Refused."""
    entry = entry.clean()
    with transaction.atomic():
        one_at_a_time()
        demand(why_not_administer(by, "add_server"))
        demand(_said(faults(entry, None, Register.read())))
        server = Server()
        apply(entry, server, by=by)
        server.save()
        transaction.on_commit(bell.ring)
    return server


def change(server: Server, entry: Entry, *, by: User) -> Server:
    """Changes what is stated of a server; nothing else of its row. Raises Refused."""
    entry = entry.clean()
    with transaction.atomic():
        one_at_a_time()
        demand(why_not_administer(by, "change_server"))
        fresh = Server.objects.select_for_update(of=("self",)).get(pk=server.pk)
        demand(_said(faults(entry, fresh, Register.read(without=[fresh.pk]))))
        if changed := apply(entry, fresh, by=by):
            fresh.save(update_fields=WRITTEN)
            record(fresh, "changed", by=by, text=", ".join(label_of(name) for name in changed))
            transaction.on_commit(bell.ring)
    return fresh


def _said(found: Iterable[tuple[str, str]]) -> str | None:
    return " ".join(sentence for _, sentence in found) or None


def one_at_a_time() -> None:
    """Lets nobody else write servers' entries until the transaction ends. SQLite has one writer anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INVENTORY_LOCK])


def record(server: Server, verb: str, *, by: User, text: str = "") -> None:
    """Tells the infrastructure that the server serves, if any; last in a transaction."""
    instance = Instance.objects.select_related("instance_array").filter(server=server).first()
    if instance:
        Event.objects.record(
            instance.instance_array.infrastructure_id,
            verb,
            str(server),
            by=by,
            text=text,
            url=instance.get_absolute_url(),
            topics=power_topics(instance),
        )


# ── Out of the pool, and back ────────────────────────────────────────────────


def set_drained(server: Server, *, drained: bool, by: User) -> bool:
    """Keeps new instances off a server, or lets them have it again; answers whether that is new."""
    with transaction.atomic():
        demand(why_not_administer(by, "change_server"))
        fresh = Server.objects.select_for_update(of=("self",)).get(pk=server.pk)
        if fresh.drained == drained:
            return False
        fresh.drained, fresh.changed_by = drained, by
        fresh.revision += 1
        fresh.save(update_fields=["drained", "changed_by", "revision"])
        record(fresh, "drained" if drained else "gave back to the pool", by=by)
    return True


def ask_checks(servers: QuerySet[Server], *, by: User) -> int:
    """Has the worker ask these servers' BMCs to describe themselves; answers how many. It is stored with each."""
    with transaction.atomic():
        demand(why_not_administer(by, "change_server"))
        number = Server.objects.filter(pk__in=list(servers.values_list("pk", flat=True))).update(
            check_asked_at=timezone.now()
        )
        transaction.on_commit(bell.ring)
    return number


# ── Another server for an instance ───────────────────────────────────────────


def ask_replace(instance: Instance, server: Server, *, by: User, drain: bool, vouched: bool = False) -> None:
    """Promises a free server to an instance; the worker swaps them once the one there is surely off.

    The instance keeps name, number, address and drives. `drain`: the one that goes gets no instance any more.
    `vouched`: somebody made sure that it has no power, since its BMC cannot say. Raises Refused.
    """
    with transaction.atomic():
        one_at_a_time()
        demand(why_not_administer(by, "change_server"))
        # By id, as everybody does; the drives after them.
        rows = Server.objects.select_for_update(of=("self",)).filter(pk__in=[server.pk, instance.server_id])
        locked = {row.pk: row for row in rows.order_by("pk")}
        list(Drive.objects.select_for_update(of=("self",)).filter(instance=instance).order_by("pk"))
        fresh = Instance.objects.select_related("instance_array").get(pk=instance.pk)
        old = locked.get(fresh.server_id or 0)
        if fresh.server_id and old is None:
            raise Refused(f"{fresh.label} has another server by now. Look at it again.")
        fresh.server = old
        demand(why_not_replace(fresh, vouched=vouched))
        new = locked[server.pk]
        demand(why_not_put_in(new, fresh))
        assert old is not None
        new.replaces, new.replace_asked_by, new.replace_vouched = fresh, by, vouched
        new.save(update_fields=["replaces", "replace_asked_by", "replace_vouched"])
        old.hold = f"{new} is taking its place."
        old.trouble = None
        if drain and not old.drained:
            old.drained, old.changed_by = True, by
            old.revision += 1
        old.save(update_fields=["hold", "trouble", "drained", "changed_by", "revision"])
        said = f"{old} → {new}." + (f" {by} made sure that {old} has no power." if vouched else "")
        Event.objects.record(
            fresh.instance_array.infrastructure_id,
            "asked to replace the server of",
            fresh.label,
            by=by,
            text=said,
            url=fresh.get_absolute_url(),
            result=Result.FORCED if vouched else Result.STARTED,
            topics=power_topics(fresh),
        )
