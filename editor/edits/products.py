"""What is done to any product, and between two of them: rename, delete, attach, connect."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db import transaction

from editor import canvas
from editor.actions import demand
from editor.design import AnyProduct
from editor.design_rules import (
    why_not_attach,
    why_not_change,
    why_not_connect,
    why_not_delete,
    why_not_disconnect,
    why_not_label,
)
from editor.models import DriveArray, Infrastructure, InstanceArray, Network, NetworkKind, User
from editor.rules import Refused
from editor.words import named

from .arrays import demand_seen
from .draft import Draft, P, made_earlier
from .growth import DELETE, attached_to, drives_to_leave, set_numbers
from .rows import whole


def add_network(infrastructure: Infrastructure, *, by: User, key: UUID | None = None, label: str = "") -> Network:
    """Adds a LAN to the design."""
    with transaction.atomic():
        draft = Draft(infrastructure.pk, by=by, key=key, or_permission="editor.add_network")
        if draft.earlier:
            return made_earlier(draft, Network)
        label = label or draft.free_label("network")
        demand(why_not_label(label, draft.labels_like(label)))
        network = Network(label=label, kind=NetworkKind.LAN)
        network.x, network.y = place_of_lan(draft)
        draft.add(network)
        draft.record(f"add {label}", "added network", label, url=network.get_absolute_url())
        return network


def place_of_lan(draft: Draft) -> tuple[int, int]:
    """Left of the arrays, in the first gap between WAN and SAN, or else below all of them."""
    taken = sorted(draft.infrastructure.networks.values_list("y", flat=True))
    y = canvas.NETWORK_STEP_Y
    while any(abs(y - other) < canvas.PLATE_H + canvas.GRID for other in taken):
        y += canvas.GRID
    return 0, y


def rename(product: P, *, by: User, seen: int | None, label: str) -> P:
    """Gives a product another label; the names of its servers and drives follow when it is deployed."""
    with transaction.atomic():
        draft = Draft(product.infrastructure_id, by=by, or_permission=permission("change", product))
        row = draft.look(product)
        demand_seen(row, seen, {"label": row.label}, {"label": label})
        demand(why_not_change(row))
        demand(why_not_label(label, draft.labels_like(label, but=row)))
        before = row.label
        draft.change(row, label=label)
        draft.record(f"rename {before} to {label}", f"renamed {before} to", label, url=row.get_absolute_url())
        return row


def delete(products: Collection[AnyProduct], *, by: User, drives: str = "") -> None:
    """Takes products out of the design, all or none. The next deploy deletes what is real of them.

    `drives` says what becomes of drives that are attached to an InstanceArray among them: "keep" detaches them.
    """
    if not products:
        raise Refused("Nothing is selected. Select what shall be deleted.")
    first = next(iter(products))
    with transaction.atomic():
        draft = Draft(first.infrastructure_id, by=by, or_permission=permission("delete", first))
        rows = draft.look_at(products)
        for row in rows:
            demand(why_not_delete(row))
            draft.take_away(row)
        for row in rows:
            if isinstance(row, InstanceArray):
                _let_drives_go(draft, row, drives)
        leave_networks(draft, [row for row in rows if isinstance(row, Network)])
        names = named([row.label for row in rows])
        deployed = any(row.is_deployed for row in rows)
        url = rows[0].get_absolute_url() if len(rows) == 1 and deployed else ""
        draft.record(f"delete {names}", "marked for deletion" if deployed else "removed", names, url=url)


def _let_drives_go(draft: Draft, array: InstanceArray, drives: str) -> None:
    """Detaches what is attached to an InstanceArray that goes, or takes the drives of its servers away."""
    attached = [each for each in attached_to(draft, array) if draft.after[each.topic] is not None]
    leaving = drives_to_leave(attached, array.numbers, drives)
    for each in attached:
        numbers = set(each.numbers)
        if drives == DELETE or each.is_deployed:
            numbers -= leaving[each.pk]
        if not numbers and each.numbers:
            draft.take_away(each)
            continue
        draft.change(each, instance_array=None)
        set_numbers(draft, each, numbers)


def leave_networks(draft: Draft, networks: list[Network]) -> None:
    """Takes all interfaces off networks that go."""
    if not networks:
        return
    going = {network.pk for network in networks}
    for array in draft.take(
        whole(InstanceArray.objects.filter(interfaces__network__in=going, leaves=False).distinct())
    ):
        if draft.after[array.topic] is not None:
            ports = draft.drawn(array)["interfaces"]
            draft.change(array, interfaces=[None if pk in going else pk for pk in ports])


def attach(
    drive_array: DriveArray, instance_array: InstanceArray | None, *, by: User, seen: int | None = None
) -> DriveArray:
    """Gives the drives to the servers with the same numbers, or to nobody. One that grows gets a drive for each."""
    with transaction.atomic():
        draft = Draft(drive_array.infrastructure_id, by=by, or_permission="editor.change_drivearray")
        row = draft.look(drive_array)
        theirs = {"instance_array": str(row.instance_array or "nothing")}
        demand_seen(row, seen, theirs, {"instance_array": str(instance_array or "nothing")})
        if instance_array is None:
            demand(why_not_change(row))
            before = row.instance_array
            draft.change(row, instance_array=None)
            text = f"It was attached to {before}." if before else ""
            draft.record(f"detach {row.label}", "detached", row.label, text, url=row.get_absolute_url())
            return row
        if instance_array.infrastructure_id != row.infrastructure_id:
            demand(why_not_attach(row, instance_array))
        owner = draft.look(instance_array)
        demand(why_not_attach(row, owner))
        draft.change(row, instance_array=owner.pk)
        if row.grows:
            set_numbers(draft, row, {*row.numbers, *owner.numbers})
        title = f"attach {row.label} to {owner.label}"
        draft.record(title, f"attached {row.label} to", owner.label, url=row.get_absolute_url())
        return row


def connect(
    instance_array: InstanceArray, index: int, network: Network | None, *, by: User, seen: int | None = None
) -> InstanceArray:
    """Puts an interface of all servers of an InstanceArray on a network, or on none."""
    with transaction.atomic():
        draft = Draft(instance_array.infrastructure_id, by=by, or_permission="editor.change_instancearray")
        row = draft.look(instance_array)
        if network is None:
            demand(why_not_disconnect(row, index))
        else:
            demand(why_not_connect(row, index, network))
            network = draft.look(network)
            demand(why_not_connect(row, index, network))
        ports = draft.drawn(row)["interfaces"]
        there = Network.objects.filter(pk=ports[index]).first()
        field = f"if{index}"
        demand_seen(row, seen, {field: str(there or "nothing")}, {field: str(network or "nothing")})
        ports[index] = network.pk if network else None
        draft.change(row, interfaces=ports)
        title, verb, subject = f"disconnect {field} of {row.label}", f"disconnected {field} of", row.label
        if network:
            title, verb = f"connect {row.label} to {network.label}", f"connected {field} of {row.label} to"
            subject = network.label
        text = f"It was on {there}." if there else ""
        draft.record(title, verb, subject, text, url=row.get_absolute_url())
        return row


def permission(what: str, product: AnyProduct) -> str:
    """Answers the permission with which staff may do this without being a member."""
    return f"editor.{what}_{type(product).__name__.lower()}"
