"""How many servers an owner may have, over all infrastructures: asked when a deploy begins, and at each server."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet

from editor.models import DeployItem, DeployState, Infrastructure, Instance, ItemState, Membership, Role, User
from editor.plan import Kind
from editor.words import counted


def lock_owners(infrastructure: int) -> None:
    """Locks those whose quota counts, so that two deploys at once do not both find room in it."""
    list(_limited(infrastructure).select_for_update(of=("self",), no_key=True))


def why_not_add_servers(infrastructure: int, number: int) -> Iterable[str]:
    """Answers why a deploy may not add so many servers, less those that leave: they are free for others afterwards."""
    if number <= 0:
        return
    for owner in _limited(infrastructure):
        # Deploys that run elsewhere get theirs one after the other.
        used = _used(owner) + _getting(owner, ItemState.WAITING, ItemState.RUNNING)
        if used + number > (owner.server_quota or 0):
            yield _say(owner, used + number)


def why_not_get_server(item: DeployItem) -> str | None:
    """Whether the quota still has room for the server of an item that begins; it may be lower than at the start.

    Servers that leave in the same deploy make room, though they leave last.
    """
    own = DeployItem.objects.filter(step__deploy=item.step.deploy_id)
    leaving = own.filter(step__kind=Kind.RELEASE)
    if own.filter(step__kind=Kind.ALLOCATE).count() <= leaving.count():
        return None
    room = leaving.exclude(state=ItemState.DONE).count()
    for owner in _limited(item.step.deploy.infrastructure_id):
        number = _used(owner) + _getting(owner, ItemState.RUNNING, but=item) + 1 - room
        if number > (owner.server_quota or 0):
            return _say(owner, number)
    return None


def _limited(infrastructure: int) -> QuerySet[User]:
    owners = Membership.objects.filter(infrastructure=infrastructure, role=Role.OWNER).values("user")
    return User.objects.filter(pk__in=owners, server_quota__isnull=False).order_by("pk")


def _used(owner: User) -> int:
    """Servers of all infrastructures of an owner count."""
    return Instance.objects.filter(server__isnull=False, instance_array__infrastructure__in=_owned(owner)).count()


def _getting(owner: User, *states: ItemState, but: DeployItem | None = None) -> int:
    items = DeployItem.objects.filter(
        step__kind=Kind.ALLOCATE,
        state__in=states,
        step__deploy__state=DeployState.RUNNING,
        step__deploy__infrastructure__in=_owned(owner),
    )
    return (items.exclude(pk=but.pk) if but else items).count()


def _owned(owner: User) -> QuerySet[Infrastructure]:
    return Infrastructure.objects.filter(memberships__user=owner, memberships__role=Role.OWNER)


def _say(owner: User, number: int) -> str:
    return (
        f"{owner} may have {counted(owner.server_quota or 0, 'server')}; with this deploy it would be {number}. "
        "Ask an administrator for a higher quota, or draw fewer."
    )
