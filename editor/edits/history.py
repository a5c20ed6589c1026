"""Undo and redo: each person goes back and forth in what they did themselves, as long as nobody built on it."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from editor.actions import demand
from editor.models import Deploy, DesignStep, Infrastructure, User
from editor.rules import Refused

from .draft import Draft
from .integrity import fit_drives, why_not_stand
from .rows import rows_of


def can_undo(infrastructure: Infrastructure, user: User) -> str | None:
    """Answers the title of what undo would take back: "rename web to front"."""
    step = _to_undo(infrastructure, user)
    return step.title if step else None


def can_redo(infrastructure: Infrastructure, user: User) -> str | None:
    """Answers the title of what redo would do again."""
    step = _to_redo(infrastructure, user)
    return step.title if step else None


def undo(infrastructure: Infrastructure, *, by: User) -> DesignStep:
    """Takes back what this person did last; everything it touched goes back to what it was."""
    with transaction.atomic():
        draft = Draft(infrastructure.pk, by=by)
        step = _to_undo(infrastructure, by)
        if step is None:
            raise Refused(f"There is nothing of yours to undo{_since(infrastructure)}.")
        _go(draft, step, back=True)
        draft.tell("undid:", step.title, topics=[entry["topic"] for entry in step.changes])
        return step


def redo(infrastructure: Infrastructure, *, by: User) -> DesignStep:
    """Does again what this person undid last."""
    with transaction.atomic():
        draft = Draft(infrastructure.pk, by=by)
        step = _to_redo(infrastructure, by)
        if step is None:
            raise Refused(f"There is nothing of yours to do again{_since(infrastructure)}.")
        _go(draft, step, back=False)
        draft.tell("did again:", step.title, topics=[entry["topic"] for entry in step.changes])
        return step


def _steps(infrastructure: Infrastructure, user: User) -> QuerySet[DesignStep]:
    """What a person did since the last deploy began: that made everything before it real."""
    steps = DesignStep.objects.filter(infrastructure=infrastructure, by=user)
    last = Deploy.objects.filter(infrastructure=infrastructure).values_list("started_at", flat=True).first()
    return steps.filter(at__gt=last) if last else steps


def _to_undo(infrastructure: Infrastructure, user: User) -> DesignStep | None:
    return _steps(infrastructure, user).filter(undone=False).first()


def _to_redo(infrastructure: Infrastructure, user: User) -> DesignStep | None:
    return _steps(infrastructure, user).filter(undone=True).order_by("pk").first()


def _since(infrastructure: Infrastructure) -> str:
    return " since the last deploy" if Deploy.objects.filter(infrastructure=infrastructure).exists() else ""


def _go(draft: Draft, step: DesignStep, *, back: bool) -> None:
    """Goes from one end of a step to the other, and keeps in it what came of that."""
    have, want = ("after", "before") if back else ("before", "after")
    entries = {entry["topic"]: entry for entry in step.changes}
    draft.take(rows_of(entries).values())
    for topic, entry in entries.items():
        if draft.before.get(topic) != entry[have]:
            demand(_why_not_over(draft, step, entry, "Undo" if back else "Redo"))
    for topic, entry in entries.items():
        wanted = entry[want]
        if topic in draft.rows:
            draft.after[topic] = wanted
        elif wanted is not None:
            draft.bring_back(topic, wanted, entry["at"], revision=entry["revision"])
    fit_drives(draft)
    demand(why_not_stand(draft))
    for written in draft.write():
        # What came along belongs to the step from now on, so that it goes the other way along, too.
        entry = entries.setdefault(written["topic"], {"topic": written["topic"]})
        entry |= {have: written["before"], want: written["after"], "at": written["at"], "revision": written["revision"]}
    step.changes, step.undone = list(entries.values()), back
    step.save(update_fields=["changes", "undone"])


def _why_not_over(draft: Draft, step: DesignStep, entry: dict[str, Any], verb: str) -> str:
    """Says who changed a product after the step."""
    topic = entry["topic"]
    row = draft.rows.get(topic)
    label = row.label if row else (entry["before"] or entry["after"])["label"]
    later = DesignStep.objects.filter(infrastructure=draft.infrastructure, pk__gt=step.pk).exclude(by=draft.by)
    who = next(
        (one.by for one in later.select_related("by") if any(change["topic"] == topic for change in one.changes)),
        row.changed_by if row else None,
    )
    return f"{who or 'Somebody'} changed {label} since. {verb} would lose that: change it by hand."
