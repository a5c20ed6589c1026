"""What is drawn, and what a deploy made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import CharField, Count, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.http import HttpRequest

from editor import edits
from editor.admin.base import Edited, EditForm, Shown, person, rehearse, why_not_delete_drawn
from editor.admin.people import MembershipInline, record_member
from editor.design_rules import (
    why_not_delete,
    why_not_delete_infrastructure,
    why_not_design,
    why_not_infrastructure_label,
)
from editor.models import Drive, DriveArray, Infrastructure, Instance, InstanceArray, Interface, Network, User
from editor.rules import Refused
from editor.words import size

if TYPE_CHECKING:
    Inline = admin.TabularInline[Any, Any]
    InlineFormSet = forms.BaseInlineFormSet[Interface, InstanceArray, Any]
else:
    Inline, InlineFormSet = admin.TabularInline, forms.BaseInlineFormSet


class InfrastructureForm(EditForm):
    """One that is added here belongs to those who are made its owners below."""

    def carry_out(self, cleaned: dict[str, Any]) -> Infrastructure:
        label, description = cleaned["label"], cleaned["description"]
        if self.instance.pk:
            return edits.rename_infrastructure(self.instance, by=self.by, label=label, description=description)
        if reason := why_not_infrastructure_label(label, set()):
            raise Refused(reason)
        infrastructure = Infrastructure.objects.create(label=label, description=description)
        edits.draw_first_networks(infrastructure)
        return infrastructure


@admin.register(Infrastructure)
class InfrastructureAdmin(Edited):
    """With its members. It goes away only when nothing in it was ever made real."""

    form = InfrastructureForm

    list_display = ("label", "description", "member_count", "created_at")
    search_fields = ("label", "description")
    date_hierarchy = "created_at"
    readonly_fields = ("created_at",)
    inlines = (MembershipInline,)
    goes_along = ("deploy", "deploy item", "deploy step", "design step", "event", "interface", "presence")

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
        return why_not_delete_infrastructure(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Infrastructure]) -> None:
        with transaction.atomic():
            for infrastructure in queryset:
                edits.delete_infrastructure(infrastructure, by=person(request))

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: Any) -> None:
        super().save_formset(request, form, formset, change)
        for membership in formset.new_objects:
            record_member(request, "added a member to", membership)
        for membership, _ in formset.changed_objects:
            record_member(request, "changed the role of a member of", membership)
        for membership in formset.deleted_objects:
            record_member(request, "removed a member from", membership)


class DrawnForm(EditForm):
    """Knows what the person saw who saves it."""

    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seen"].initial = self.instance.revision


class DrawnAdmin(Edited):
    """An InstanceArray, DriveArray or Network: its design can be edited; its place is changed on the canvas."""

    list_select_related: ClassVar[Any] = ("infrastructure",)
    list_filter: ClassVar[Any] = (("infrastructure", admin.RelatedOnlyFieldListFilter),)
    search_fields: ClassVar[Any] = ("label", "infrastructure__label")
    autocomplete_fields: ClassVar[Any] = ("infrastructure",)
    readonly_fields: ClassVar[Any] = ("x", "y", "deployed")
    goes_along = ("interface",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        return ("infrastructure", *fields) if obj else fields

    def why_not_delete(self, obj: Any) -> str | None:
        return self.why_not_delete_real(obj) or why_not_delete(obj) or why_not_design(obj.infrastructure)

    def why_not_delete_real(self, obj: Any) -> str | None:
        """Whether something of it is real: here only what is nothing but a drawing goes."""
        return f"{obj.label} is deployed. Delete it in the design, and deploy that." if obj.is_deployed else None

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        products: dict[int, list[Any]] = {}
        for product in queryset:
            products.setdefault(product.infrastructure_id, []).append(product)
        with transaction.atomic():
            for together in products.values():
                edits.delete(together, by=person(request), drives="keep")


class NetworkForm(DrawnForm):
    """WAN and SAN are there from the beginning: what is added is a LAN."""

    def carry_out(self, cleaned: dict[str, Any]) -> Network:
        label = cleaned["label"]
        network: Network
        if self.instance.pk:
            network = edits.rename(self.instance, by=self.by, seen=cleaned.get("seen"), label=label)
        else:
            network = edits.add_network(cleaned["infrastructure"], by=self.by, label=label)
        network.addresses = cleaned["addresses"]
        network.save(update_fields=["addresses"])
        return network


@admin.register(Network)
class NetworkAdmin(DrawnAdmin):
    form = NetworkForm
    list_display = ("label", "infrastructure", "kind", "addresses", "is_deployed")
    list_filter = ("kind", *DrawnAdmin.list_filter)
    readonly_fields = ("kind", *DrawnAdmin.readonly_fields)

    def save_model(self, request: HttpRequest, obj: Network, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if "addresses" in form.changed_data:
            self.record(request, "changed", obj, text="Addresses")


class InterfaceForm(forms.ModelForm):  # type: ignore[type-arg]
    """Which of its interfaces a row is about never changes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["index"].disabled = bool(self.instance.pk)


class InterfaceFormSet(InlineFormSet):
    """Connects and disconnects as everybody does."""

    by: User

    def carry_out(self) -> None:
        for form in self.forms:
            if form.has_changed():
                cleaned = form.cleaned_data
                edits.connect(self.instance, cleaned["index"], cleaned["network"], by=self.by)

    def clean(self) -> None:
        super().clean()
        if not any(self.errors):
            try:
                rehearse(self.carry_out)
            except Refused as no:
                raise forms.ValidationError(str(no)) from no


class InterfaceInline(Inline):
    model = Interface
    form = InterfaceForm
    formset = InterfaceFormSet
    extra = 0
    max_num = 4
    can_delete = False

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        formset.by = person(request)  # type: ignore[attr-defined]
        return formset

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offers the networks of the same infrastructure only."""
        if db_field.name == "network":
            array = request.resolver_match.kwargs.get("object_id") if request.resolver_match else None
            kwargs["queryset"] = Network.objects.filter(infrastructure__instance_arrays=array)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class InstanceArrayForm(DrawnForm):
    """When it gets smaller, those with the highest numbers go; which ones can be chosen on the canvas."""

    drives = forms.ChoiceField(
        label="drives of servers that go",
        choices=[("", "---------"), ("keep", "Keep, detached"), ("delete", "Delete")],
        required=False,
    )

    def carry_out(self, cleaned: dict[str, Any]) -> InstanceArray:
        design = {name: cleaned[name] for name in ("label", "server_type", "count")}
        if not self.instance.pk:
            return edits.add_instance_array(cleaned["infrastructure"], by=self.by, **design)
        return edits.configure_instance_array(
            self.instance, by=self.by, seen=cleaned.get("seen"), drives=cleaned.get("drives", ""), **design
        )


@admin.register(InstanceArray)
class InstanceArrayAdmin(DrawnAdmin):
    form = InstanceArrayForm
    list_display = ("label", "infrastructure", "server_type", "count", "is_deployed")
    list_filter = ("server_type", *DrawnAdmin.list_filter)
    list_select_related = ("infrastructure", "server_type")

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        del request
        return [InterfaceInline] if obj else []  # a new one gets the usual interfaces

    def why_not_delete_real(self, obj: InstanceArray) -> str | None:
        real = why_not_delete_drawn(obj.label, drives=0, instances=obj.instances.count())
        return real or super().why_not_delete_real(obj)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: Any) -> None:
        del request, form, change
        formset.save(commit=False)  # tells Django's log what changed
        formset.carry_out()


class DriveArrayForm(DrawnForm):
    """Attaches as well."""

    def carry_out(self, cleaned: dict[str, Any]) -> DriveArray:
        owner = cleaned["instance_array"]
        design = {name: cleaned[name] for name in ("label", "size_mb", "storage_type", "count", "grows")}
        if not self.instance.pk:
            return edits.add_drive_array(cleaned["infrastructure"], by=self.by, instance_array=owner, **design)
        array, seen = self.instance, cleaned.get("seen")
        if "instance_array" in self.changed_data:
            array = edits.attach(array, None, by=self.by, seen=seen)
            if owner:
                array = edits.attach(array, owner, by=self.by)
            seen = None
            if "count" not in self.changed_data:
                design["count"] = array.count
        return edits.configure_drive_array(array, by=self.by, seen=seen, **design)


@admin.register(DriveArray)
class DriveArrayAdmin(DrawnAdmin):
    form = DriveArrayForm
    list_display = ("label", "infrastructure", "instance_array", "count", "size_mb", "storage_type", "is_deployed")
    list_filter = ("storage_type", *DrawnAdmin.list_filter)
    list_select_related = ("infrastructure", "instance_array")
    autocomplete_fields = ("infrastructure", "instance_array")

    def why_not_delete_real(self, obj: DriveArray) -> str | None:
        real = why_not_delete_drawn(obj.label, drives=obj.drives.count(), instances=0)
        return real or super().why_not_delete_real(obj)


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
        "exported",
    )
    readonly_fields = ("exported", "export_error", "logged_in")
    list_filter = (
        "pool",
        ("hold", admin.EmptyFieldListFilter),
        "reclaim_due",
        "exported",
        ("export_error", admin.EmptyFieldListFilter),
        ("drive_array__infrastructure", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("drive_array__infrastructure", "pool", "instance__instance_array")
    search_fields = ("whole_label", "drive_array__infrastructure__label")

    @admin.display(description="written", ordering="used_bytes")
    def used(self, obj: Drive) -> str:
        return size(obj.used_bytes)

    @admin.display(description="logged in")
    def logged_in(self, obj: Drive) -> str:
        return ", ".join(f"{initiator} from {address}" for initiator, address in obj.sessions) or "Nobody"
