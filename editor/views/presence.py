"""Who else has an infrastructure open, and which card they look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

from editor.models import DriveArray, Infrastructure, InstanceArray, Network, User
from editor.models.presence import PRESENCE_SECONDS

SHOWN = 4
"""So many people are shown in the bar; the others are counted."""


@dataclass(frozen=True)
class Viewer:
    """Somebody with a page open. `topic` is the card they look at, "" when none."""

    user: User
    topic: str
    label: str

    @property
    def says(self) -> str:
        """ "Tomás Reyes is viewing db"; "… the canvas" when nothing is selected there."""
        return f"{self.user} is viewing {self.label or 'the canvas'}"


@dataclass(frozen=True)
class Here:
    """Who else is here. A person with several pages is one person, with an avatar on each card that is looked at."""

    people: list[Viewer]
    on_cards: list[Viewer]

    @property
    def shown(self) -> list[Viewer]:
        return self.people[:SHOWN]

    @property
    def more(self) -> list[Viewer]:
        return self.people[SHOWN:]

    @property
    def names(self) -> str:
        return ", ".join(str(one.user) for one in self.people)


def people_here(infrastructure: Infrastructure, *, besides: User | AnonymousUser) -> Here:
    """Answers who was heard of in the last seconds, in the order of their names. Four queries at most."""
    alive_after = timezone.now() - timedelta(seconds=PRESENCE_SECONDS)
    rows = (
        infrastructure.presences.filter(seen_at__gt=alive_after)
        .exclude(user=besides.pk)
        .select_related("user")
        .order_by("user__name", "user_id", "-looks_at")
    )
    looks = list(dict.fromkeys((row.user, row.looks_at) for row in rows))
    labels = _labels(infrastructure, {topic for _, topic in looks if topic}) if looks else {}
    viewers = [Viewer(user, topic if topic in labels else "", labels.get(topic, "")) for user, topic in looks]
    first: dict[User, Viewer] = {}
    for viewer in viewers:
        if viewer.user not in first or not first[viewer.user].topic:
            first[viewer.user] = viewer
    return Here(people=list(first.values()), on_cards=[one for one in viewers if one.topic])


def _labels(infrastructure: Infrastructure, topics: Collection[str]) -> dict[str, str]:
    """Answers the labels of cards by topic, of those that exist; a query for each kind of card among them."""
    ids: dict[str, list[int]] = defaultdict(list)
    for topic in topics:
        kind, _, number = topic.rpartition("-")
        ids[kind].append(int(number))
    models: dict[str, type[Network | InstanceArray | DriveArray]] = {
        "network": Network,
        "instance-array": InstanceArray,
        "drive-array": DriveArray,
    }
    return {
        f"{kind}-{pk}": label
        for kind, pks in ids.items()
        for pk, label in models[kind]
        .objects.filter(infrastructure=infrastructure, pk__in=pks)
        .values_list("pk", "label")
    }
