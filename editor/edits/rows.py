"""The rows of products: found by topic, and written as a design says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import F, QuerySet

from editor.design import AnyProduct
from editor.models import INTERFACES, DriveArray, InstanceArray, Interface, Network
from editor.plan import Drawn, kind_of

KINDS: dict[str, type[AnyProduct]] = {
    "network": Network,
    "instance-array": InstanceArray,
    "drive-array": DriveArray,
}
"""By the first part of their topics; in this order one never refers to a later one."""

_COLUMNS = {"numbers": ["count", "own_numbers"]}
"""What `drawn()` answers under another name than its columns have."""


def row_of(topic: str) -> AnyProduct | None:
    """Answers the product of a topic, with all that `drawn()` needs; null when it is not there."""
    return rows_of([topic]).get(topic)


def rows_of(topics: Iterable[str]) -> dict[str, AnyProduct]:
    """Answers those of the products that are there, by topic; at most four queries."""
    pks: dict[str, list[int]] = {}
    for topic in topics:
        pks.setdefault(kind_of(topic), []).append(pk_of(topic))
    found: dict[str, AnyProduct] = {}
    for kind, wanted in pks.items():
        found |= {row.topic: row for row in whole(KINDS[kind].objects.filter(pk__in=wanted))}
    return found


def whole(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Answers the rows with what `drawn()` and the words about them need."""
    if rows.model is InstanceArray:
        return rows.select_related("changed_by", "server_type").prefetch_related("interfaces")
    if rows.model is DriveArray:
        return rows.select_related("changed_by", "instance_array")
    return rows.select_related("changed_by")


def pk_of(topic: str) -> int:
    """Answers 7 of "drive-array-7"."""
    return int(topic.rpartition("-")[2])


def state_of(row: AnyProduct) -> Drawn | None:
    """Answers what the design says of a product: null when it goes."""
    return None if row.leaves else row.drawn()


def put(row: AnyProduct, drawn: Drawn) -> None:
    """Writes a design into the columns of a row. Interfaces have rows of their own."""
    row.label = drawn["label"]
    if isinstance(row, InstanceArray):
        row.server_type_id = drawn["server_type"]
        row.numbers = drawn["numbers"]
    elif isinstance(row, DriveArray):
        row.storage_type, row.size_mb = drawn["storage_type"], drawn["size_mb"]
        row.numbers, row.grows = drawn["numbers"], drawn["grows"]
        row.instance_array_id = drawn["instance_array"]


# ── Writing ──────────────────────────────────────────────────────────────────


def write_rows(rows: list[Any], designs: Mapping[str, Drawn | None], *, added: set[str], revived: set[str]) -> None:
    """Writes what a design says of rows of one kind.

    Those in `added` are in the database already, as they are to be; those in `revived` are not there yet.
    """
    if not rows:
        return
    model = type(rows[0])
    if going := [row.pk for row in rows if row.leaves and row.deployed is None]:
        model.objects.filter(pk__in=going).delete()
    staying = [(row, drawn) for row in rows if (drawn := designs[row.topic]) is not None]
    there = [(row, drawn) for row, drawn in staying if row.topic not in revived]
    renamed = [row for row, drawn in there if row.label != drawn["label"]]
    if len(renamed) + len(revived) > 1:
        # Two that swap their labels would meet. Nobody sees these.
        for row in renamed:
            row.label = f"-{row.pk}"
        model.objects.bulk_update(renamed, ["label"], batch_size=200)
    was = {row.topic: row.drawn() for row, _ in there if row.topic not in added}
    for row, drawn in staying:
        put(row, drawn)
        if row.topic in revived:
            row.save(force_insert=True)
    _write_columns([row for row in rows if row.topic not in revived and row.pk not in going], was, designs)
    if model is InstanceArray:
        _write_interfaces(staying, was)


def _write_columns(rows: list[Any], was: Mapping[str, Drawn], designs: Mapping[str, Drawn | None]) -> None:
    """Writes what changed of rows that are there: few columns, as these may be many rows."""
    for leaves in (True, False):
        if alike := [row for row in rows if row.leaves == leaves]:
            type(rows[0]).objects.filter(pk__in=[row.pk for row in alike]).update(
                leaves=leaves,
                revision=F("revision") + 1,
                changed_at=alike[0].changed_at,
                changed_by=alike[0].changed_by,
            )
    changed: dict[tuple[str, ...], list[Any]] = {}
    for row in rows:
        before, after = was.get(row.topic), designs[row.topic]
        if before is not None and after is not None:
            fields = tuple(field for field in after if before[field] != after[field] and field != "interfaces")
            changed.setdefault(fields, []).append(row)
    for fields, alike in changed.items():
        if fields:
            columns = [column for field in fields for column in _COLUMNS.get(field, [field])]
            type(rows[0]).objects.bulk_update(alike, columns, batch_size=200)


def _write_interfaces(staying: list[tuple[Any, Drawn]], was: Mapping[str, Drawn]) -> None:
    changed = []
    for array, drawn in staying:
        now = drawn["interfaces"]
        there = was[array.topic]["interfaces"] if array.topic in was else None
        changed += [
            Interface(instance_array=array, index=index, network_id=now[index])
            for index in range(INTERFACES)
            if there is None or there[index] != now[index]
        ]
        # What was read before is not true any more.
        getattr(array, "_prefetched_objects_cache", {}).clear()
    if changed:
        Interface.objects.bulk_create(
            changed,
            batch_size=200,
            update_conflicts=True,
            unique_fields=["instance_array", "index"],
            update_fields=["network"],
        )
