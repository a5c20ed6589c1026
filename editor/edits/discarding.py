"""Discarding: a product goes back to what is real of it, or away when nothing ever was."""

from __future__ import annotations

from collections import Counter

from django.db import transaction

from editor.actions import demand
from editor.design import AnyProduct, pending, products
from editor.models import DriveArray, Infrastructure, InstanceArray, Network, User
from editor.plan import Drawn
from editor.rules import Refused
from editor.words import counted

from .draft import Draft
from .growth import attached_to, follow, set_numbers
from .integrity import fit_drives, references, why_not_stand, without_gone
from .products import leave_networks
from .rows import rows_of, whole


def discard(product: AnyProduct, *, by: User) -> None:
    """Discards what is changed of one product, and of others only what hangs on that.

    What is attached to something new that goes is detached; what came and went with servers goes and comes back.
    """
    with transaction.atomic():
        draft = Draft(product.infrastructure_id, by=by)
        row = draft.look(product)
        demand(why_not_discard(row))
        if row.deployed is None:
            _take_away(draft, row)
        else:
            _go_back(draft, row)
        fit_drives(draft)
        demand(why_not_stand(draft))
        gone = draft.after[row.topic] is None
        url = "" if gone else row.get_absolute_url()
        draft.record(f"discard the changes of {row.label}", "discarded the changes of", row.label, url=url)


def discard_all(infrastructure: Infrastructure, *, by: User) -> None:
    """Makes the design what is real."""
    with transaction.atomic():
        draft = Draft(infrastructure.pk, by=by)
        rows = products(infrastructure)
        changed = [row for row in pending(rows) if row.leaves or row.deployed != row.drawn()]
        if not changed:
            raise Refused(f"{infrastructure.label} has no changes to discard.")
        draft.take(changed)
        for topic, drawn in _real_designs(rows).items():
            if topic in draft.rows:
                draft.after[topic] = drawn
        for row in changed:
            if row.deployed is None:
                draft.take_away(row)
            else:
                _forget_gone(draft, row)
        text = f"{counted(len(changed), 'change')}."
        label = infrastructure.label
        url = infrastructure.get_absolute_url()
        draft.record("discard all changes", "discarded all changes of", label, text, url=url)


def _real_designs(rows: list[AnyProduct]) -> dict[str, Drawn]:
    """Answers the design of each product as far as it is real, by topic.

    A deploy that was broken off in the middle of renaming may have made two labels alike: then those drawn stay.
    """
    stay = {row.topic: row for row in rows if row.deployed is not None}
    designs = without_gone({topic: row.deployed or {} for topic, row in stay.items()}, stay)
    while True:
        count = Counter(drawn["label"].lower() for drawn in designs.values())
        alike = [
            topic
            for topic, drawn in designs.items()
            if count[drawn["label"].lower()] > 1 and drawn["label"] != stay[topic].label
        ]
        if not alike:
            return designs
        designs |= {topic: {**designs[topic], "label": stay[topic].label} for topic in alike}


def _forget_gone(draft: Draft, row: AnyProduct) -> None:
    """Takes out of what is real of a product what was never made, and goes: a deploy was broken off before that."""
    assert row.deployed is not None
    drawn = draft.drawn(row)
    for field in ("interfaces", "instance_array"):
        if field in drawn and drawn[field] != row.deployed[field]:
            row.deployed = {**row.deployed, field: drawn[field]}
            row.save(update_fields=["deployed"])


def why_not_discard(row: AnyProduct) -> str | None:
    """Whether there is nothing to discard."""
    if row.leaves or row.deployed != row.drawn():
        return None
    if row.unsettled:
        return f"A deploy was broken off at {row.label}. Deploy again to put that right."
    return f"{row.label} has no changes to discard."


def _take_away(draft: Draft, row: AnyProduct) -> None:
    draft.take_away(row)
    if isinstance(row, InstanceArray):
        for each in attached_to(draft, row):
            draft.change(each, instance_array=None)
    if isinstance(row, Network):
        leave_networks(draft, [row])


def _go_back(draft: Draft, row: AnyProduct) -> None:
    assert row.deployed is not None
    there = rows_of(references(row.deployed))
    draft.after[row.topic] = without_gone({row.topic: row.deployed}, there)[row.topic]
    _forget_gone(draft, row)
    if isinstance(row, InstanceArray):
        _servers_go_back(draft, row)
    if isinstance(row, Network) and row.leaves:
        _connect_again(draft, row)


def _servers_go_back(draft: Draft, array: InstanceArray) -> None:
    if array.leaves:
        # Their removal detached these, or took them along.
        were = whole(DriveArray.objects.filter(infrastructure=draft.infrastructure, deployed__instance_array=array.pk))
        for each in draft.take(were):
            if each.leaves or each.instance_array_id is None:
                draft.change(each, instance_array=array.pk)
        come = set(draft.drawn(array)["numbers"])
    else:
        follow(draft, array, drives="keep")
        come = set(draft.drawn(array)["numbers"]) - set((draft.before[array.topic] or {})["numbers"])
    for row in list(draft.rows.values()):
        if isinstance(row, DriveArray) and draft.drawn(row)["instance_array"] == array.pk:
            were_there = come & set((row.deployed or {}).get("numbers", ()))
            set_numbers(draft, row, {*draft.drawn(row)["numbers"], *were_there})


def _connect_again(draft: Draft, network: Network) -> None:
    """Puts the interfaces back that were taken off a network whose removal is discarded."""
    deployed = InstanceArray.objects.filter(infrastructure=draft.infrastructure, leaves=False, deployed__isnull=False)
    for array in whole(deployed):
        ports = list(array.drawn()["interfaces"])
        back = [
            network.pk if were == network.pk and port is None else port
            for port, were in zip(ports, array.deployed["interfaces"], strict=True)
        ]
        if back != ports:
            draft.change(draft.take([array])[0], interfaces=back)
