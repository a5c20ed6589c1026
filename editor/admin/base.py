"""What the pages of the admin site have in common: what may be deleted, what is saved, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from editor.models import Event, User
from editor.rules import Refused
from editor.words import counted

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
    AnyForm = forms.ModelForm[Any]
else:
    Admin, AnyForm = admin.ModelAdmin, forms.ModelForm

ONLY_A_DEPLOY = "Only a deploy may take them away: delete the array in the design, and deploy that."


def person(request: HttpRequest) -> User:
    """Answers who is asking; the admin site lets in nobody who is not signed in."""
    assert isinstance(request.user, User)
    return request.user


class Shown(Admin):
    """To look at: nothing can be added, changed or deleted."""

    view_on_site = False
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        del request, args
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        del request, obj
        return False


class Guarded(Admin):
    """Deletes only what `why_not_delete` has nothing against, alone or many at a time."""

    view_on_site = False
    show_full_result_count = False
    goes_along: ClassVar[tuple[str, ...]] = ()
    """Names of models whose rows are deleted with it, although nobody may delete them alone."""

    def why_not_delete(self, obj: Any) -> str | None:
        """Answers what stands against it, or None."""
        del obj
        return None

    def get_deleted_objects(
        self, objs: Sequence[Any] | QuerySet[Any], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Django's preview of a deletion; the deletion goes no further while its last part is not empty."""
        if reasons := [reason for obj in objs if (reason := self.why_not_delete(obj))]:
            return [], {}, set(), reasons
        deleted, counts, not_permitted, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, not_permitted - set(self.goes_along), protected


class Recorded(Guarded):
    """Tells browsers and the activity log about each change."""

    def infrastructure(self, obj: Any) -> int | None:
        """Answers whose activity log it belongs into; None for nobody's."""
        return int(obj.infrastructure_id)

    def topics(self, obj: Any) -> list[str]:
        """Answers who should look again."""
        return [obj.topic, f"infrastructure-{obj.infrastructure_id}", f"wiring-{obj.infrastructure_id}"]

    def record(self, request: HttpRequest, verb: str, obj: Any, text: str = "") -> None:
        infrastructure = self.infrastructure(obj)
        if infrastructure:
            Event.objects.record(infrastructure, verb, str(obj), by=person(request), text=text, topics=self.topics(obj))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        if not change:
            obj.save()
            self.record(request, "added", obj)
            return
        # Only what was edited: the worker and people on the canvas write the other columns meanwhile.
        columns = {field.name for field in self.opts.concrete_fields}
        if changed := [name for name in form.changed_data if name in columns]:
            obj.save(update_fields=changed)
            self.record(request, "changed", obj, text=", ".join(str(form[name].label) for name in changed))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.delete_queryset(request, type(obj).objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            objs = list(queryset)
            queryset.delete()
            # Last: recording takes the lock that orders events, and nobody may wait for a row while holding that.
            for obj in objs:
                self.record(request, "deleted", obj)


class EditForm(AnyForm):
    """Goes through the verbs that everybody goes through; what these refuse is said in the form."""

    by: User

    def carry_out(self, cleaned: dict[str, Any]) -> Any:
        """Does what the form says; answers the row. Raises Refused."""
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                rehearse(lambda: self.carry_out(cleaned))
            except Refused as no:
                self.add_error(None, str(no))
        return cleaned


class Edited(Recorded):
    """Saves what its EditForm says."""

    def get_form(self, request: HttpRequest, obj: Any = None, change: Any = False, **kwargs: Any) -> Any:  # noqa: FBT002 - as Django has it
        form = super().get_form(request, obj, change=change, **kwargs)
        form.by = person(request)  # type: ignore[attr-defined]
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        del request, change
        obj.pk = form.carry_out(form.cleaned_data).pk


def rehearse(act: Callable[[], object]) -> None:
    """Does something and takes it back, to know what stands against it."""
    with transaction.atomic():
        act()
        transaction.set_rollback(True)


def why_not_delete_drawn(label: str, *, drives: int, instances: int) -> str | None:
    """What stands against deleting something that is drawn."""
    parts = [counted(drives, "drive")] * bool(drives) + [counted(instances, "instance")] * bool(instances)
    return f"{label} has {' and '.join(parts)}. {ONLY_A_DEPLOY}" if parts else None
