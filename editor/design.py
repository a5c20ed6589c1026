"""The design of an infrastructure, read from its rows: what is drawn, what is real, and what waits for a deploy.

Nothing here writes, but for `mark_deployed`. editor.plan turns what is read here into the steps of a deploy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from editor.models import Drive, DriveArray, Infrastructure, Instance, InstanceArray, Network, Product
from editor.plan import Drawn, DriveState, State, Step, plan, topic_of_array, wanted

AnyProduct = Network | InstanceArray | DriveArray


def products(infrastructure: Infrastructure | int) -> list[AnyProduct]:
    """Answers all that is drawn, networks first; four queries, whatever their number."""
    pk = infrastructure if isinstance(infrastructure, int) else infrastructure.pk
    return [
        *Network.objects.filter(infrastructure=pk).select_related("changed_by"),
        *InstanceArray.objects.filter(infrastructure=pk)
        .select_related("changed_by", "server_type")
        .prefetch_related("interfaces"),
        *DriveArray.objects.filter(infrastructure=pk).select_related("changed_by"),
    ]


def design_of(rows: Iterable[AnyProduct]) -> dict[str, Drawn]:
    """Answers the design of each product by topic, without those that the next deploy deletes."""
    return {row.topic: row.drawn() for row in rows if not row.leaves}


def real_of(infrastructure: Infrastructure | int, rows: Iterable[AnyProduct]) -> State:
    """Answers what is real; two queries."""
    pk = infrastructure if isinstance(infrastructure, int) else infrastructure.pk
    instances = Instance.objects.filter(instance_array__infrastructure=pk, server__isnull=False)
    drives = Drive.objects.filter(drive_array__infrastructure=pk).values_list(
        "drive_array_id", "number", "size_mb", "instance__instance_array_id", "instance__number"
    )
    rows = list(rows)
    return State(
        products={row.topic: row.deployed for row in rows if row.deployed is not None},
        instances=frozenset(
            (topic_of_array(array), number) for array, number in instances.values_list("instance_array_id", "number")
        ),
        drives={
            (f"drive-array-{array}", number): DriveState(
                size_mb, (topic_of_array(instance_array), instance) if instance_array else None
            )
            for array, number, size_mb, instance_array, instance in drives
        },
        unsettled=frozenset(row.topic for row in rows if row.unsettled),
    )


def planned(infrastructure: Infrastructure | int, rows: list[AnyProduct]) -> tuple[State, State, tuple[Step, ...]]:
    """Answers what is wanted, what is real, and the steps of a deploy that would begin now."""
    real = real_of(infrastructure, rows)
    goal = wanted(design_of(rows), real)
    return goal, real, plan(goal, real)


def pending(rows: Iterable[AnyProduct]) -> list[AnyProduct]:
    """Answers the products that the next deploy changes: those it destroys first, then changes, then additions."""
    order = ["del", "edit", "add"]
    return sorted((row for row in rows if row.change), key=lambda row: order.index(row.change))


def decisions(rows: Iterable[AnyProduct]) -> dict[AnyProduct, list[DriveArray]]:
    """Answers `pending`, as people decided it: each with the DriveArrays whose drives only come and go along with it.

    Which are deleted and which come back with their servers is one decision, and is discarded as one.
    """
    waiting = pending(rows)
    arrays = {row.pk: row for row in waiting if isinstance(row, InstanceArray)}
    found: dict[AnyProduct, list[DriveArray]] = {}
    along: list[tuple[InstanceArray, DriveArray]] = []
    for row in waiting:
        owner = arrays.get(row.instance_array_id or 0) if isinstance(row, DriveArray) else None
        if owner and isinstance(row, DriveArray) and _goes_along(row, owner):
            along.append((owner, row))
        else:
            found[row] = []
    for owner, drives in along:
        found[owner].append(drives)
    return found


def _goes_along(drives: DriveArray, owner: InstanceArray) -> bool:
    """Whether all that changes of a DriveArray is that drives come or go with the servers of the same numbers."""
    if not drives.deployed or not owner.deployed or drives.leaves or owner.leaves or drives.unsettled:
        return False
    drawn = drives.drawn()
    if drives.deployed | {"numbers": drawn["numbers"]} != drawn:
        return False
    was, now = set(drives.deployed["numbers"]), set(drawn["numbers"])
    servers_were, servers_now = set(owner.deployed["numbers"]), set(owner.numbers)
    return was - now <= servers_were - servers_now and now - was <= servers_now - servers_were


def decisions_in(infrastructures: Iterable[int]) -> Counter[int]:
    """Answers how many decisions wait for a deploy in each infrastructure, by its id; four queries."""
    ids = list(infrastructures)
    rows: list[AnyProduct] = [
        *Network.objects.filter(infrastructure__in=ids),
        *InstanceArray.objects.filter(infrastructure__in=ids).prefetch_related("interfaces"),
        *DriveArray.objects.filter(infrastructure__in=ids),
    ]
    return Counter(row.infrastructure_id for row in decisions(rows))


def mark_deployed(infrastructure: Infrastructure) -> None:
    """Says of all that is drawn that it is real: for installations that begin with machines and drives at hand."""
    rows = products(infrastructure)
    for row in rows:
        row.deployed, row.unsettled = row.drawn(), False
        row.save(update_fields=["deployed", "unsettled"])


def numbers_shown(array: InstanceArray | DriveArray) -> list[int]:
    """Answers the numbers of what is real or drawn of an array, in order: the bays of its card."""
    return sorted({*array.numbers, *(array.deployed or {}).get("numbers", ())})


def by_topic(rows: Iterable[AnyProduct]) -> dict[str, AnyProduct]:
    """Answers the rows by topic."""
    return {row.topic: row for row in rows}


def labels(rows: Iterable[Product]) -> set[str]:
    """Answers the labels in use, in small letters: DNS does not tell capitals apart."""
    return {row.label.lower() for row in rows}
