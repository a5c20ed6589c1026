"""What infrastructures stand on, but for the servers themselves: their types, and storage pools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from editor import storage
from editor.admin.base import ONLY_A_DEPLOY, Guarded
from editor.models import ServerType, StoragePool
from editor.words import counted

if TYPE_CHECKING:
    PoolModelForm = forms.ModelForm[StoragePool]
else:
    PoolModelForm = forms.ModelForm


@admin.register(ServerType)
class ServerTypeAdmin(Guarded):
    list_display = ("label", "cores", "ram_gb", "server_count")
    search_fields = ("label",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServerType]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(servers_in_all=Count("servers"))
        return rows

    @admin.display(description="servers", ordering="servers_in_all")
    def server_count(self, obj: Any) -> int:
        return int(obj.servers_in_all)


class PoolForm(PoolModelForm):
    """Offers the engines there are."""

    engine = forms.ChoiceField(choices=[(name, name) for name in storage.ENGINES], initial="qcow2")

    def clean_folder(self) -> str:
        folder = str(self.cleaned_data["folder"]).strip()
        if not folder:
            return folder
        if not Path(folder).is_absolute():
            raise forms.ValidationError("Write the whole path, beginning with a slash.")
        folder = str(Path(folder))
        if other := StoragePool.objects.filter(folder=folder).exclude(pk=self.instance.pk).first():
            raise forms.ValidationError(f"{other} is in this folder already.")
        return folder


@admin.register(StoragePool)
class StoragePoolAdmin(Guarded):
    """Where a pool is and who keeps it is fixed by its first drive."""

    form = PoolForm
    list_display = ("label", "engine", "storage_type", "folder", "drive_count")
    list_filter = ("engine", "storage_type")
    search_fields = ("label", "folder")

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoragePool]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(drives_in_all=Count("drives"))
        return rows

    @admin.display(description="drives", ordering="drives_in_all")
    def drive_count(self, obj: Any) -> int:
        return int(obj.drives_in_all)

    def get_readonly_fields(self, request: HttpRequest, obj: StoragePool | None = None) -> tuple[str, ...]:
        del request
        return ("engine", "folder") if obj and obj.drives.exists() else ()

    def why_not_delete(self, obj: StoragePool) -> str | None:
        drives = obj.drives.count()
        return f"{obj.label} holds {counted(drives, 'drive')}. {ONLY_A_DEPLOY}" if drives else None
