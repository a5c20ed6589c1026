"""Accounts, who is a member of what, and what they did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm, UserChangeForm
from django.db.models import QuerySet
from django.http import HttpRequest

from editor.admin.base import Recorded, Shown, person
from editor.models import Event, Membership, User
from editor.rules import why_not_do_without

if TYPE_CHECKING:
    Inline = admin.TabularInline[Any, Any]
    Accounts = DjangoUserAdmin[User]
    NewAccount = BaseUserCreationForm[User]
    Account = UserChangeForm[User]
else:
    Inline, Accounts, NewAccount, Account = admin.TabularInline, DjangoUserAdmin, BaseUserCreationForm, UserChangeForm


class NewUserForm(NewAccount):
    """Asks for an address, a name and a password."""

    class Meta:
        model = User
        fields = ("email", "name")


class UserForm(Account):
    """Changes an account; the password has a form of its own."""

    class Meta:
        model = User
        fields = "__all__"
        field_classes: ClassVar[dict[str, type[forms.Field]]] = {}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        keeps_powers = all(cleaned.get(name, True) for name in ("is_active", "is_staff", "is_superuser"))
        if not keeps_powers and (reason := why_not_do_without([self.instance])):
            raise forms.ValidationError(reason)
        return cleaned


@admin.register(User)
class UserAdmin(Accounts):
    """Accounts, by e-mail address. Only superusers give, or take, more than they were given themselves."""

    form = UserForm
    add_form = NewUserForm
    add_form_template = None  # Django's own says that a user name comes first
    view_on_site = False
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "password1", "password2")}),)
    list_display = ("email", "name", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    search_fields = ("email", "name")
    ordering = ("email",)
    readonly_fields = ("last_login", "date_joined")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        fields = list(super().get_readonly_fields(request, obj))
        if not person(request).is_superuser:
            fields += ["is_staff", "is_superuser", "groups", "user_permissions"]
        return fields

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return self._may_touch(request, obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return self._may_touch(request, obj) and super().has_delete_permission(request, obj)

    def _may_touch(self, request: HttpRequest, obj: User | None) -> bool:
        # Whoever sets a superuser's password, or address, is one.
        if obj is None or obj == person(request) or person(request).is_superuser:
            return True
        return not (obj.is_staff or obj.is_superuser)

    def get_deleted_objects(
        self, objs: Sequence[User] | QuerySet[User], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        # All at once: of two superusers each can be done without, as long as the other stays.
        if reason := why_not_do_without(objs):
            return [], {}, set(), [reason]
        return super().get_deleted_objects(objs, request)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        self.delete_queryset(request, User.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        members = list(Membership.objects.filter(user__in=queryset).select_related("infrastructure", "user"))
        super().delete_queryset(request, queryset)
        for membership in members:
            record_member(request, "removed a member from", membership)


def record_member(request: HttpRequest, verb: str, membership: Membership) -> None:
    """Tells an infrastructure that its members are others now."""
    infrastructure = membership.infrastructure
    Event.objects.record(
        infrastructure.pk,
        verb,
        infrastructure.label,
        by=person(request),
        text=f"{membership.user}, {membership.get_role_display().lower()}.",
        topics=[infrastructure.topic],
    )


class MembershipInline(Inline):
    model = Membership
    extra = 0
    autocomplete_fields = ("user",)


@admin.register(Membership)
class MembershipAdmin(Recorded):
    list_display = ("infrastructure", "user", "role")
    list_filter = ("role", ("infrastructure", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("infrastructure", "user")
    search_fields = ("infrastructure__label", "user__email", "user__name")
    ordering = ("infrastructure__label", "user__name")
    autocomplete_fields = ("infrastructure", "user")

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:
        del request
        return ("infrastructure", "user") if obj else ()

    def record(self, request: HttpRequest, verb: str, obj: Membership, text: str = "") -> None:
        del text
        said = {"added": "added a member to", "changed": "changed the role of a member of"}
        record_member(request, said.get(verb, "removed a member from"), obj)


@admin.register(Event)
class EventAdmin(Shown):
    list_display = ("at", "infrastructure", "actor", "verb", "subject", "result")
    list_filter = ("result", ("infrastructure", admin.RelatedOnlyFieldListFilter), "at")
    list_select_related = ("infrastructure", "actor")
    search_fields = ("subject", "verb", "text", "actor__name", "actor__email")
    ordering = ("-pk",)
