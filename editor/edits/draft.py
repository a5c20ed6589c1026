"""One edit of a design, from its lock to its DesignStep: what all verbs have in common.

A verb opens a `Draft`, looks at the products that it is about, says what becomes of each, and records. The design of
a product is what its `drawn()` answers; null means that it is not there, or that the next deploy deletes it. As each
DesignStep keeps both, before and after, for all that it touched, undo and redo are one mechanism for all verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.utils import timezone

from editor import canvas
from editor.actions import demand, demand_operator, own_key
from editor.design import AnyProduct
from editor.design_rules import why_not_design
from editor.models import (
    DesignStep,
    Event,
    Infrastructure,
    Network,
    User,
)
from editor.plan import Drawn, kind_of
from editor.rules import Refused

from .rows import KINDS, pk_of, put, row_of, rows_of, state_of, whole, write_rows

P = TypeVar("P", bound=AnyProduct)

TOPICS_MAX = 60
"""More products than that are told as one: everybody looks at the whole canvas again."""


class Stale(Refused):
    """Somebody else changed the product after the form was shown. Both are by field of the form, in words."""

    def __init__(self, product: AnyProduct, theirs: dict[str, str], yours: dict[str, str]) -> None:
        who = product.changed_by or "Somebody"
        super().__init__(f"{who} changed {product.label} meanwhile. Look at both, then save what it shall be.")
        self.product, self.theirs, self.yours = product, theirs, yours


class Draft:
    """The design of one infrastructure, locked for one edit of one person. Open it inside a transaction."""

    def __init__(self, infrastructure: int, *, by: User, or_permission: str = "", key: UUID | None = None) -> None:
        self.by, self.key = by, own_key(key, f"edit {infrastructure}", by)
        self.infrastructure = Infrastructure.objects.select_for_update(of=("self",), no_key=True).filter(
            pk=infrastructure
        ).first() or _gone("The infrastructure")
        self.earlier = Event.objects.filter(request_key=self.key).first() if self.key else None
        """What was recorded when the same request came before: then there is nothing to do."""
        demand_operator(by, infrastructure, or_permission=or_permission)
        if not self.earlier:
            demand(why_not_design(self.infrastructure))
        self.rows: dict[str, AnyProduct] = {}
        self.before: dict[str, Drawn | None] = {}
        self.after: dict[str, Drawn | None] = {}
        self.places: dict[str, list[int]] = {}
        self.added: set[str] = set()
        self.revived: set[str] = set()

    # ── Reading ──────────────────────────────────────────────────────────────

    def look(self, product: P) -> P:
        """Answers the product as it is now, under the lock; refused when it is not there any more."""
        if product.topic in self.rows:
            return self.rows[product.topic]  # type: ignore[return-value]
        found = whole(type(product).objects.filter(pk=product.pk, infrastructure=self.infrastructure)).first()
        if found is None:
            # Read lately: the log is long, and this is rare.
            last = Event.objects.filter(infrastructure=self.infrastructure).about(product.topic).first()
            who = f" by {last.actor}" if last and last.actor else ""
            raise Refused(f"{product.label} was deleted{who} meanwhile.")
        return self.take([found])[0]  # type: ignore[no-any-return]

    def look_at(self, products: Iterable[AnyProduct]) -> list[AnyProduct]:
        """As `look`, at many with few queries."""
        products = list(products)
        here = self.infrastructure.pk
        self.take(row for row in rows_of(one.topic for one in products).values() if row.infrastructure_id == here)
        return [self.look(product) for product in products]

    def take(self, rows: Iterable[Any]) -> list[Any]:
        """Registers rows that were read under the lock; answers those that are registered."""
        taken = []
        for row in rows:
            if row.topic not in self.rows:
                self.rows[row.topic] = row
                self.before[row.topic] = self.after[row.topic] = state_of(row)
                self.places[row.topic] = [row.x, row.y]
            taken.append(self.rows[row.topic])
        return taken

    def drawn(self, row: AnyProduct) -> dict[str, Any]:
        """Answers the design of a product that stays, as this edit has made it so far."""
        drawn = self.after[row.topic]
        drawn = drawn if drawn is not None else row.drawn()
        return {field: list(value) if isinstance(value, list) else value for field, value in drawn.items()}

    def labels_like(self, label: str, but: AnyProduct | None = None) -> set[str]:
        """Answers the label in small letters when something else has it; one query."""
        return self._labels(lambda rows: rows.filter(label__iexact=label), *([but] if but else []))

    def free_label(self, stem: str, *, numbered: bool = True) -> str:
        """Answers "instance-array-3" of "instance-array", the lowest free one; without a number when that will do."""
        taken = self._labels(lambda rows: rows.filter(label__istartswith=stem))
        if not numbered and stem.lower() not in taken:
            return stem
        number = 1 if numbered else 2
        while f"{stem}-{number}".lower() in taken:
            number += 1
        return f"{stem}-{number}"

    def labels_among(self, labels: Iterable[str]) -> set[str]:
        """Answers those of the labels, in small letters, that products not looked at have."""
        wanted = {label.lower() for label in labels}
        if not wanted:
            return set()
        return self._labels(lambda rows: rows.annotate(low=Lower("label")).filter(low__in=wanted), *self.rows.values())

    def _labels(self, chosen: Callable[[QuerySet[Any]], QuerySet[Any]], *but: AnyProduct) -> set[str]:
        found = []
        for kind in KINDS.values():
            rows = chosen(kind.objects.filter(infrastructure=self.infrastructure))
            if known := [row.pk for row in but if type(row) is kind]:
                rows = rows.exclude(pk__in=known)
            found.append(rows.order_by().values_list("label"))
        return {label.lower() for (label,) in found[0].union(*found[1:])}

    # ── Saying what becomes of it ────────────────────────────────────────────

    def change(self, row: AnyProduct, **fields: Any) -> None:
        """Sets some of what `drawn()` answers."""
        self.after[row.topic] = self.drawn(row) | fields

    def take_away(self, row: AnyProduct) -> None:
        """Takes a product out of the design; drives and servers that are there stay until the next deploy."""
        self.after[row.topic] = None

    def add(self, row: P, drawn: Drawn | None = None) -> P:
        """Adds a product to the design, as its columns say, or as `drawn` does."""
        row.infrastructure = self.infrastructure
        if drawn is not None:
            put(row, drawn)
        row.changed_at, row.changed_by = timezone.now(), self.by
        row.save(force_insert=True)
        self.added.add(row.topic)
        self.rows[row.topic] = row
        self.before[row.topic] = None
        self.after[row.topic] = dict(drawn if drawn is not None else row.drawn())
        self.places[row.topic] = [row.x, row.y]
        return row

    def bring_back(self, topic: str, drawn: Drawn, at: list[int], *, revision: int) -> None:
        """Adds a product again that was there, under its old primary key and at its old place."""
        row = KINDS[kind_of(topic)](
            pk=pk_of(topic), infrastructure=self.infrastructure, label=drawn["label"], x=at[0], y=at[1]
        )
        if isinstance(row, Network):
            row.kind = "lan"  # the others are never taken away
        row.revision = revision
        self.rows[topic] = row
        self.revived.add(topic)
        self.before[topic], self.after[topic], self.places[topic] = None, dict(drawn), at

    # ── Writing ──────────────────────────────────────────────────────────────

    @property
    def changed(self) -> list[str]:
        """The topics of what is another than before, what is referred to first."""
        order = list(KINDS)
        topics = [topic for topic, before in self.before.items() if before != self.after[topic]]
        return sorted(topics, key=lambda topic: order.index(kind_of(topic)))

    def record(self, title: str, verb: str, subject: str, text: str = "", *, url: str = "") -> DesignStep | None:
        """Writes all that changed, so that it can be undone, and tells everybody; nothing when nothing changed."""
        if not (changed := self.changed):
            return None
        entries = self.write()
        DesignStep.objects.filter(infrastructure=self.infrastructure, by=self.by, undone=True).delete()
        step = DesignStep.objects.create(
            infrastructure=self.infrastructure, by=self.by, at=timezone.now(), title=title[:200], changes=entries
        )
        self.tell(verb, subject, text, url=url, topics=changed)
        return step

    def write(self) -> list[dict[str, Any]]:
        """Writes columns; answers what a DesignStep keeps of it."""
        changed = self.changed
        entries = [
            {
                "topic": topic,
                "before": self.before[topic],
                "after": self.after[topic],
                "at": self.places[topic],
                "revision": self.rows[topic].revision + 1,
            }
            for topic in changed
        ]
        now = timezone.now()
        for topic in changed:
            row = self.rows[topic]
            row.revision += 1
            row.changed_at, row.changed_by = now, self.by
            row.leaves = self.after[topic] is None
        for kind in KINDS.values():
            alike = [self.rows[topic] for topic in changed if type(self.rows[topic]) is kind]
            write_rows(alike, self.after, added=self.added, revived=self.revived)
        return entries

    def tell(self, verb: str, subject: str, text: str = "", *, topics: list[str], url: str = "") -> None:
        """Writes the Event of this edit."""
        pk = self.infrastructure.pk
        here = [f"infrastructure-{pk}", f"wiring-{pk}", f"design-{pk}"]
        if len(topics) > TOPICS_MAX:
            topics = [*topics[:1], f"nodes-{pk}"]
        elif any(self._height(topic, self.before) != self._height(topic, self.after) for topic in topics):
            here.append(f"nodes-{pk}")
        Event.objects.record(
            pk,
            verb,
            subject[:130],
            by=self.by,
            text=text,
            url=url,
            topics=[*topics, *here],
            request_key=self.key,
        )

    def _height(self, topic: str, designs: Mapping[str, Drawn | None]) -> int:
        """The height of a card, which also shows what is real and goes; 0 when there is none."""
        deployed = self.rows[topic].deployed
        drawn = designs[topic]
        if drawn is None and deployed is None:
            return 0
        numbers = {*(drawn or {}).get("numbers", ()), *(deployed or {}).get("numbers", ())}
        return canvas.card_height(len(numbers))


def made_earlier(draft: Draft, kind: type[P]) -> P:
    """Answers what the same request made before."""
    assert draft.earlier is not None
    row = row_of(draft.earlier.topic_list[0])
    if not isinstance(row, kind):
        raise Refused("This was added before, and is not there any more.")
    return row


def _gone(what: str) -> Infrastructure:
    raise Refused(f"{what} is not there any more.")
