"""What is drawn, and what a deploy made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import CharField, Count, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.http import HttpRequest

from editor.admin.base import Recorded, Shown, why_not_delete_drawn
from editor.admin.people import MembershipInline, record_member
from editor.models import Drive, DriveArray, Infrastructure, Instance, InstanceArray, Interface, Network
from editor.words import size

if TYPE_CHECKING:
    Inline = admin.TabularInline[Any, Any]
    DriveArrayModelForm = forms.ModelForm[DriveArray]
else:
    Inline, DriveArrayModelForm = admin.TabularInline, forms.ModelForm


@admin.register(Infrastructure)
class InfrastructureAdmin(Recorded):
    """With its members. It goes away only when nothing in it was ever made real."""

    list_display = ("label", "description", "member_count", "created_at")
    search_fields = ("label", "description")
    date_hierarchy = "created_at"
    readonly_fields = ("created_at",)
    inlines = (MembershipInline,)
    goes_along = ("event",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Infrastructure]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(members_in_all=Count("memberships"))
        return rows

    @admin.display(description="members", ordering="members_in_all")
    def member_count(self, obj: Any) -> int:
        return int(obj.members_in_all)

    def infrastructure(self, obj: Infrastructure) -> int | None:
        return obj.pk

    def topics(self, obj: Infrastructure) -> list[str]:
        return [obj.topic]

    def why_not_delete(self, obj: Infrastructure) -> str | None:
        drives = Drive.objects.filter(drive_array__infrastructure=obj).count()
        instances = Instance.objects.filter(instance_array__infrastructure=obj).count()
        return why_not_delete_drawn(obj.label, drives=drives, instances=instances)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Infrastructure]) -> None:
        del request  # its activity goes with it, so there is nowhere left to tell
        # A plain query: an annotated one cannot delete on every database.
        Infrastructure.objects.filter(pk__in=list(queryset.values_list("pk", flat=True))).delete()

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: Any) -> None:
        super().save_formset(request, form, formset, change)
        for membership in formset.new_objects:
            record_member(request, "added a member to", membership)
        for membership, _ in formset.changed_objects:
            record_member(request, "changed the role of a member of", membership)
        for membership in formset.deleted_objects:
            record_member(request, "removed a member from", membership)


class DrawnAdmin(Recorded):
    """An InstanceArray, DriveArray or Network: its design can be edited; its place is changed on the canvas."""

    list_select_related: ClassVar[Any] = ("infrastructure",)
    list_filter: ClassVar[Any] = (("infrastructure", admin.RelatedOnlyFieldListFilter),)
    search_fields: ClassVar[Any] = ("label", "infrastructure__label")
    autocomplete_fields: ClassVar[Any] = ("infrastructure",)
    readonly_fields: ClassVar[Any] = ("x", "y", "deployed")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        return ("infrastructure", *fields) if obj else fields

    def topics(self, obj: Any) -> list[str]:
        return [obj.topic, f"infrastructure-{obj.infrastructure_id}", f"wiring-{obj.infrastructure_id}"]


@admin.register(Network)
class NetworkAdmin(DrawnAdmin):
    list_display = ("label", "infrastructure", "kind", "addresses", "is_deployed")
    list_filter = ("kind", *DrawnAdmin.list_filter)


class InterfaceInline(Inline):
    model = Interface
    extra = 0
    max_num = 4

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offers the networks of the same infrastructure only."""
        if db_field.name == "network":
            array = request.resolver_match.kwargs.get("object_id") if request.resolver_match else None
            kwargs["queryset"] = Network.objects.filter(infrastructure__instance_arrays=array)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


@admin.register(InstanceArray)
class InstanceArrayAdmin(DrawnAdmin):
    list_display = ("label", "infrastructure", "server_type", "count", "is_deployed")
    list_filter = ("server_type", *DrawnAdmin.list_filter)
    list_select_related = ("infrastructure", "server_type")
    inlines = (InterfaceInline,)

    def why_not_delete(self, obj: InstanceArray) -> str | None:
        return why_not_delete_drawn(obj.label, drives=0, instances=obj.instances.count())

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: Any) -> None:
        super().save_formset(request, form, formset, change)
        if formset.new_objects or formset.changed_objects or formset.deleted_objects:
            self.record(request, "changed", form.instance, text="Network interfaces")


class DriveArrayForm(DriveArrayModelForm):
    """Keeps a drive array and what it is attached to in one infrastructure."""

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        array = cleaned.get("instance_array")
        home = cleaned.get("infrastructure") or getattr(self.instance, "infrastructure", None)
        if array and home and array.infrastructure_id != home.pk:
            self.add_error("instance_array", f"{array} is in another infrastructure. Choose one of {home}.")
        return cleaned


@admin.register(DriveArray)
class DriveArrayAdmin(DrawnAdmin):
    form = DriveArrayForm
    list_display = ("label", "infrastructure", "instance_array", "count", "size_mb", "storage_type", "is_deployed")
    list_filter = ("storage_type", *DrawnAdmin.list_filter)
    list_select_related = ("infrastructure", "instance_array")
    autocomplete_fields = ("infrastructure", "instance_array")

    def why_not_delete(self, obj: DriveArray) -> str | None:
        return why_not_delete_drawn(obj.label, drives=obj.drives.count(), instances=0)


@admin.register(Interface)
class InterfaceAdmin(Shown):
    """Interfaces are edited with their InstanceArray."""

    list_display = ("instance_array", "index", "network")
    list_filter = (("instance_array__infrastructure", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("instance_array", "network")
    search_fields = ("instance_array__label", "network__label")


class NumberedAdmin(Shown):
    """Something with a number in an array, found by its whole label: "web-data-2"."""

    array = ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        number = Cast("number", CharField())
        whole = Concat(f"{self.array}__label", Value("-"), number, output_field=CharField())
        rows: QuerySet[Any] = super().get_queryset(request).annotate(whole_label=whole)
        return rows

    @admin.display(description="label", ordering="whole_label")
    def shown_label(self, obj: Any) -> str:
        return str(obj.label)

    @admin.display(description="infrastructure")
    def shown_infrastructure(self, obj: Any) -> str:
        return str(getattr(obj, self.array).infrastructure)


@admin.register(Instance)
class InstanceAdmin(NumberedAdmin):
    array = "instance_array"
    list_display = ("shown_label", "shown_infrastructure", "server", "address", "power")
    list_filter = (("instance_array__infrastructure", admin.RelatedOnlyFieldListFilter), "server__power")
    list_select_related = ("instance_array__infrastructure", "server")
    search_fields = ("whole_label", "server__serial", "instance_array__infrastructure__label")

    @admin.display(description="power", ordering="server__power")
    def power(self, obj: Instance) -> str:
        return str(obj.shown_power.label)


@admin.register(Drive)
class DriveAdmin(NumberedAdmin):
    array = "drive_array"
    list_display = (
        *("shown_label", "shown_infrastructure", "pool", "size_mb", "used", "snapshot_count", "instance", "hold"),
    )
    list_filter = (
        "pool",
        ("hold", admin.EmptyFieldListFilter),
        "reclaim_due",
        ("drive_array__infrastructure", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("drive_array__infrastructure", "pool", "instance__instance_array")
    search_fields = ("whole_label", "drive_array__infrastructure__label")

    @admin.display(description="written", ordering="used_bytes")
    def used(self, obj: Drive) -> str:
        return size(obj.used_bytes)
