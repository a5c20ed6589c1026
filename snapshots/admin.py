"""Snapshots for staff: a list, notes, and deleting through the action that everybody goes through.

They are created and reverted to on the drive's page, where what will be lost is seen.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected as delete_selected_of_django
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from editor.admin.base import Guarded, person
from editor.models import Drive
from editor.rules import Refused
from editor.words import up_to
from snapshots import actions as do
from snapshots.models import Snapshot


@admin.register(Snapshot)
class SnapshotAdmin(Guarded):
    list_display = (
        "shown_number",
        "drive",
        "shown_infrastructure",
        "note",
        "state",
        "taken_at",
        "created_by",
        "written",
    )
    list_filter = (
        "state",
        "taken_at",
        ("drive__drive_array__infrastructure", admin.RelatedOnlyFieldListFilter),
        ("created_by", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("drive__drive_array__infrastructure", "created_by")
    search_fields = ("note", "drive__drive_array__label", "drive__drive_array__infrastructure__label")
    ordering = ("-pk",)
    fields = (
        *("drive", "number", "note", "name", "state", "taken_at", "created_by", "written"),
        *("layer", "new_layer", "requested_at", "requested_by", "replaces"),
    )
    actions = ("delete_selected",)

    def get_readonly_fields(self, request: HttpRequest, obj: Snapshot | None = None) -> tuple[str, ...]:
        del request, obj
        return tuple(name for name in self.fields if name != "note")

    def has_add_permission(self, request: HttpRequest) -> bool:
        del request
        return False

    @admin.display(description="#", ordering="number")
    def shown_number(self, obj: Snapshot) -> str:
        return f"#{obj.number}"

    @admin.display(description="infrastructure", ordering="drive__drive_array__infrastructure__label")
    def shown_infrastructure(self, obj: Snapshot) -> str:
        return obj.drive.drive_array.infrastructure.label

    @admin.display(description="written since", ordering="written_since_bytes")
    def written(self, obj: Snapshot) -> str:
        return up_to(obj.written_since_bytes)

    def save_model(self, request: HttpRequest, obj: Snapshot, form: Any, change: Any) -> None:
        del change
        if "note" in form.changed_data:
            do.edit_note(obj, note=obj.note, by=person(request))

    def delete_model(self, request: HttpRequest, obj: Snapshot) -> None:
        do.delete(obj, by=person(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Snapshot]) -> None:
        """All or none."""
        with transaction.atomic():
            rows = list(queryset.select_related("drive__drive_array"))
            # All drives first, by id: recording an Event takes the lock that orders events, and nobody may wait
            # for a drive while holding that.
            list(
                Drive.objects.select_for_update(of=("self",))
                .filter(pk__in={row.drive_id for row in rows})
                .order_by("pk")
            )
            for row in rows:
                do.delete(row, by=person(request))

    # A refusal undoes all that the page did, and is told where the person came from.

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except Refused as refused:
            return self._refused(request, refused)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except Refused as refused:
            return self._refused(request, refused)

    @admin.action(description="Delete selected snapshots", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Snapshot]) -> HttpResponse | None:
        try:
            with transaction.atomic():
                return delete_selected_of_django(self, request, queryset)
        except Refused as refused:
            self.message_user(request, f"{refused} No snapshot was deleted.", messages.ERROR)
            return None

    def _refused(self, request: HttpRequest, refused: Refused) -> HttpResponse:
        self.message_user(request, str(refused), messages.ERROR)
        return redirect(reverse("admin:snapshots_snapshot_changelist"))
