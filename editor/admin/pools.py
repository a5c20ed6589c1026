"""Storage pools: where they are, the room they offer, how full they are, and whether they work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone

from editor.admin.base import ONLY_A_DEPLOY, Guarded, person
from editor.admin.usage import ask_checks, bar_of, seen_of, usage_of, watch
from editor.models import Result, StoragePool
from editor.pool_rules import IN_CEPH, fill_of, warning_of
from editor.pools import tell
from editor.room import promised_of
from editor.words import counted

if TYPE_CHECKING:
    PoolModelForm = forms.ModelForm[StoragePool]
else:
    PoolModelForm = forms.ModelForm

IN_A_FOLDER, IN_A_CLUSTER = ("folder",), ("ceph_conf", "ceph_user", "ceph_pool")
PLACE = ("engine", *IN_A_FOLDER, *IN_A_CLUSTER)
KEPT_IN = {
    "qcow2": "files in a folder on any disk",
    "btrfs": "a folder on btrfs",
    "reflink": "a folder on XFS",
    "rbd": "a pool in Ceph",
}
"""The engines there are to choose from, and what each keeps drives in. Another one is for tests: it keeps nothing."""


class PoolForm(PoolModelForm):
    """Offers the engines there are, and takes for each what says where it keeps drives, and nothing else."""

    engine = forms.ChoiceField(initial="qcow2", help_text="What keeps the drives, and in what.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Missing where the place is fixed.
        if engine := cast("forms.ChoiceField | None", self.fields.get("engine")):
            kept = self.instance.engine if self.instance.pk else ""
            choices = {name: f"{name}: {where}" for name, where in KEPT_IN.items()}
            engine.choices = list((choices if kept in {"", *choices} else {**choices, kept: kept}).items())

    def clean_folder(self) -> str:
        folder = str(self.cleaned_data["folder"]).strip()
        if not folder:
            return folder
        if not Path(folder).is_absolute():
            raise forms.ValidationError("Write the whole path, beginning with a slash.")
        if ".." in Path(folder).parts:
            raise forms.ValidationError("Write the whole path, without two dots in it.")
        # By another name, through a link, it is the same place.
        own = Path(folder).resolve()
        for other in StoragePool.objects.exclude(pk=self.instance.pk):
            there = other.path.resolve()
            if own == there:
                raise forms.ValidationError(f"{other} is in this folder already.")
            if own in there.parents or there in own.parents:
                raise forms.ValidationError(f"{other} is in {other.path}: one pool cannot be inside another.")
        return str(Path(folder))

    def clean_ceph_user(self) -> str:
        return str(self.cleaned_data["ceph_user"]).strip().removeprefix("client.")

    def clean_ceph_conf(self) -> str:
        conf = str(self.cleaned_data["ceph_conf"]).strip()
        if conf and not Path(conf).is_absolute():
            raise forms.ValidationError("Write the whole path, beginning with a slash.")
        return conf

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "engine" not in self.fields or self.errors:
            return cleaned
        engine = cleaned["engine"]
        wanted, other, where = (
            (IN_A_CLUSTER, IN_A_FOLDER, "Ceph") if engine in IN_CEPH else ((), IN_A_CLUSTER, "a folder")
        )
        for name in wanted:
            if not cleaned[name]:
                self.add_error(name, f"The engine {engine} needs this.")
        for name in other:
            if cleaned[name]:
                self.add_error(name, f"The engine {engine} keeps drives in {where}. Leave this empty.")
        if not self.errors:
            self._demand_own_rados_pool(cleaned["ceph_conf"], cleaned["ceph_pool"])
            self._demand_free_to_move()
        return cleaned

    def _demand_own_rados_pool(self, conf: str, pool: str) -> None:
        others = StoragePool.objects.exclude(pk=self.instance.pk)
        if pool and (other := others.filter(ceph_conf=conf, ceph_pool=pool).first()):
            self.add_error("ceph_pool", f"{other} is in this RADOS pool already.")

    def _demand_free_to_move(self) -> None:
        """A drive may have come since the form was shown; the lock is the one that deploys take to place drives."""
        if self.instance.pk and any(name in PLACE for name in self.changed_data):
            stored = StoragePool.objects.select_for_update(of=("self",)).get(pk=self.instance.pk)
            if stored.drives.exists():
                self.add_error(None, f"{stored} has drives by now: its place stays as it is. Look at it again.")


@admin.register(StoragePool)
class StoragePoolAdmin(Guarded):
    """Where a pool is and who keeps it is fixed by its first drive; what was read of it is only shown."""

    form = PoolForm
    change_form_template = "admin/editor/storagepool/change_form.html"
    change_list_template = "admin/editor/storagepool/change_list.html"
    list_display = ("label", "engine", "storage_type", "drive_count", "used", "promised", "rest", "state")
    search_fields = ("label", "folder", "ceph_pool")
    actions = ("check_selected",)
    fieldsets = (
        (None, {"fields": ("label",)}),
        ("Where", {"fields": PLACE}),
        ("Class", {"fields": ("storage_type",)}),
        ("Room", {"fields": ("capacity_gb", "overcommit_percent", "maintenance")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoragePool]:
        rows: QuerySet[Any] = super().get_queryset(request)
        with_drives: QuerySet[Any] = rows.annotate(drives_in_all=Count("drives"), drives_mb=Sum("drives__size_mb"))
        return with_drives

    @admin.display(description="drives", ordering="drives_in_all")
    def drive_count(self, obj: Any) -> int:
        return int(obj.drives_in_all)

    @admin.display(description="used")
    def used(self, obj: StoragePool) -> str:
        fill = fill_of(obj)
        return render_to_string("admin/editor/storagepool/bar.html", {"bar": bar_of(fill)}) if fill else "not read yet"

    @admin.display(description="promised", ordering="drives_mb")
    def promised(self, obj: Any) -> str:
        return promised_of(obj, obj.drives_mb or 0)

    @admin.display(description="maintenance", ordering="maintenance")
    def rest(self, obj: StoragePool) -> str:
        return "in maintenance" if obj.maintenance else ""

    @admin.display(description="state")
    def state(self, obj: StoragePool) -> str:
        if obj.usage_error:
            return obj.usage_error
        if wrong := next((what for what, wrong in obj.checked if wrong), ""):
            return f"{wrong}: see its check"
        return seen_of(obj, timezone.now())

    def get_readonly_fields(self, request: HttpRequest, obj: StoragePool | None = None) -> tuple[str, ...]:
        del request
        return PLACE if obj and obj.drives.exists() else ()

    def why_not_delete(self, obj: StoragePool) -> str | None:
        drives = obj.drives.count()
        return f"{obj.label} holds {counted(drives, 'drive')}. {ONLY_A_DEPLOY}" if drives else None

    def save_model(self, request: HttpRequest, obj: StoragePool, form: Any, change: Any) -> None:
        if not change:
            obj.save()
            return
        # Only what was edited: the worker writes the other columns meanwhile.
        changed = list(form.changed_data)
        if not changed:
            return
        with transaction.atomic():
            obj.save(update_fields=changed)
            if "maintenance" in changed:
                verb = "put into maintenance:" if obj.maintenance else "ended the maintenance of"
                tell(obj, verb, by=person(request), text=warning_of(obj) or "", result=Result.NOTICE)
            else:
                tell(obj)

    # ── Further pages ────────────────────────────────────────────────────────

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        own = [path("<int:pk>/usage/", guarded(watch(self)), name="editor_storagepool_usage")]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        warnings = [said for pool in StoragePool.objects.all() if (said := warning_of(pool))]
        response: HttpResponse = super().changelist_view(request, {"warnings": warnings} | (extra_context or {}))
        return response

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        pool = self.get_object(request, object_id) if object_id else None
        context: dict[str, Any] = {}
        if pool:
            context = {"usage": usage_of(pool, may_change=self.has_change_permission(request, pool))}
        response: HttpResponse = super().changeform_view(request, object_id, form_url, context | (extra_context or {}))
        return response

    @admin.action(description="Check selected pools", permissions=["change"])
    def check_selected(self, request: HttpRequest, queryset: QuerySet[StoragePool]) -> None:
        number = ask_checks(queryset)
        messages.success(request, f"{counted(number, 'pool')} {'is' if number == 1 else 'are'} being checked.")
