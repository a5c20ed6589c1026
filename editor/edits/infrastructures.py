"""Creating, renaming and deleting whole infrastructures."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from editor.actions import demand, own_key, role_of
from editor.design_rules import (
    why_not_create_infrastructure,
    why_not_delete_infrastructure,
    why_not_description,
    why_not_infrastructure_label,
    why_not_own,
)
from editor.models import Event, Infrastructure, Membership, Network, NetworkKind, Role, User
from editor.rules import Refused

FIRST_PLACES = {NetworkKind.WAN: (0, 0), NetworkKind.SAN: (0, 364)}
"""WAN above everything, SAN between the InstanceArrays and their drives."""


def create_infrastructure(label: str, description: str = "", *, by: User, key: UUID | None = None) -> Infrastructure:
    """Begins an infrastructure with its WAN and SAN, owned by this person."""
    with transaction.atomic():
        # Locked, so that two requests at once do not both find room in the quota.
        User.objects.select_for_update(no_key=True).get(pk=by.pk)
        key = own_key(key, "create infrastructure", by)
        if key and (earlier := Infrastructure.objects.filter(events__request_key=key).first()):
            return earlier
        demand(why_not_create_infrastructure(by))
        demand(why_not_infrastructure_label(label, _labels_of(by)))
        demand(why_not_description(description))
        infrastructure = Infrastructure.objects.create(label=label, description=description)
        Membership.objects.create(infrastructure=infrastructure, user=by, role=Role.OWNER)
        draw_first_networks(infrastructure)
        _tell(infrastructure, "created", by=by, key=key)
        return infrastructure


def draw_first_networks(infrastructure: Infrastructure) -> None:
    """Draws WAN and SAN, which every infrastructure has from its beginning: no deploy is needed for them."""
    for kind, (x, y) in FIRST_PLACES.items():
        Network.objects.create(
            infrastructure=infrastructure, label=kind.value, kind=kind, x=x, y=y, deployed={"label": kind.value}
        )


def rename_infrastructure(infrastructure: Infrastructure, *, by: User, label: str, description: str) -> Infrastructure:
    """Changes what it is called and how it is described, at once; nothing in it changes."""
    with transaction.atomic():
        fresh = _locked(infrastructure, by, or_permission="editor.change_infrastructure")
        before = fresh.label
        demand(why_not_infrastructure_label(label, _labels_of(by, but=fresh)))
        demand(why_not_description(description))
        if (label, description) == (before, fresh.description):
            return fresh
        fresh.label, fresh.description = label, description
        fresh.save(update_fields=["label", "description"])
        _tell(fresh, f"renamed {before} to" if label != before else "changed the description of", by=by)
        return fresh


def delete_infrastructure(infrastructure: Infrastructure, *, by: User) -> None:
    """Deletes an infrastructure in which nothing is real, with its design and its activity log."""
    with transaction.atomic():
        fresh = _locked(infrastructure, by, or_permission="editor.delete_infrastructure")
        demand(why_not_delete_infrastructure(fresh))
        fresh.delete()


def _locked(infrastructure: Infrastructure, by: User, *, or_permission: str) -> Infrastructure:
    fresh = Infrastructure.objects.select_for_update(of=("self",), no_key=True).filter(pk=infrastructure.pk).first()
    if fresh is None:
        raise Refused(f"{infrastructure.label} is not there any more.")
    if not (by.is_staff and by.has_perm(or_permission)):
        demand(why_not_own(role_of(by, fresh.pk)))
    return fresh


def _labels_of(user: User, but: Infrastructure | None = None) -> set[str]:
    """The labels of what a person sees, in small letters; one query."""
    seen = Infrastructure.objects.visible_to(user).values_list("pk", "label")
    return {label.lower() for pk, label in seen if but is None or pk != but.pk}


def _tell(infrastructure: Infrastructure, verb: str, *, by: User, key: UUID | None = None) -> None:
    Event.objects.record(
        infrastructure.pk,
        verb,
        infrastructure.label,
        by=by,
        url=infrastructure.get_absolute_url(),
        topics=[infrastructure.topic],
        request_key=key,
    )
