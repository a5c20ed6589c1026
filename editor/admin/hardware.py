"""What infrastructures stand on: servers and storage pools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from editor import power, storage
from editor.admin.base import ONLY_A_DEPLOY, Guarded, Recorded
from editor.models import Drive, Instance, Power, Server, ServerType, StoragePool
from editor.words import ago, counted

if TYPE_CHECKING:
    ServerModelForm = forms.ModelForm[Server]
    PoolModelForm = forms.ModelForm[StoragePool]
else:
    ServerModelForm = PoolModelForm = forms.ModelForm

POWER_READING = ("power", "power_seen_at", "power_error")
POWER_COMMAND = ("power_command", "power_asked_at", "power_asked_by", "power_deadline", "power_overdue")


class ServerForm(ServerModelForm):
    """Offers the drivers there are, and refuses a BMC that something is waiting for."""

    driver = forms.ChoiceField(choices=[(name, name) for name in power.NAMES], initial=power.NAMES[0])

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        driver, address = cleaned.get("driver"), cleaned.get("address")
        others = Server.objects.filter(driver=driver, address=address).exclude(pk=self.instance.pk)
        if other := others.first():
            self.add_error("address", f"{other} has this address already. Two servers cannot share a BMC.")
        if self.instance.pk and {"driver", "address"} & set(self.changed_data):
            # Locked until the page's transaction ends: nobody may ask for something in between.
            server = Server.objects.select_for_update(of=("self",)).get(pk=self.instance.pk)
            held = Drive.objects.filter(instance__server=server).exclude(hold="").select_related("drive_array").first()
            if server.power_command:
                self.add_error(None, f"{server} is waiting for {server.get_power_command_display()}. Try again later.")
            elif server.hold:
                self.add_error(None, f"{server} is being deployed: {server.hold} Try again later.")
            elif held:
                self.add_error(None, f"{held} is busy: {held.hold} Try again in a moment.")
        return cleaned


@admin.register(Server)
class ServerAdmin(Recorded):
    """Where its BMC is can be changed; what the BMC says is only shown."""

    form = ServerForm
    list_display = ("serial", "instance", "server_type", "address", "shown_power", "seen", "power_error")
    list_filter = ("power", "server_type", "driver", "power_overdue", ("instance", admin.EmptyFieldListFilter))
    list_select_related = ("server_type", "instance__instance_array")
    search_fields = ("serial", "address", "instance__instance_array__label")
    fieldsets = (
        (None, {"fields": ("serial", "server_type", "driver", "address")}),
        ("Power", {"fields": POWER_READING}),
        ("Command", {"fields": POWER_COMMAND}),
    )
    readonly_fields = (*POWER_READING, *POWER_COMMAND)

    @admin.display(description="power", ordering="power")
    def shown_power(self, obj: Server) -> str:
        return str(obj.shown_power.label)

    @admin.display(description="seen", ordering="power_seen_at")
    def seen(self, obj: Server) -> str:
        return ago(timezone.now() - obj.power_seen_at) if obj.power_seen_at else "never"

    def infrastructure(self, obj: Server) -> int | None:
        instance = self._instance(obj)
        return instance.instance_array.infrastructure_id if instance else None

    def topics(self, obj: Server) -> list[str]:
        instance = self._instance(obj)
        return [obj.topic, instance.instance_array.topic] if instance else [obj.topic]

    def _instance(self, obj: Server) -> Instance | None:
        return Instance.objects.select_related("instance_array").filter(server=obj.pk).first()

    def save_model(self, request: HttpRequest, obj: Server, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if change and {"driver", "address"} & set(form.changed_data):
            # What the old BMC said tells nothing about the machine behind the new one.
            obj.power, obj.power_seen_at = Power.UNKNOWN, None
            obj.power_error = "The BMC address was changed, and the new one was not read yet."
            obj.save(update_fields=["power", "power_seen_at", "power_error"])


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
