"""What was designed and deployed, and who is here: to look at."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin

from editor.admin.base import Shown
from editor.models import Deploy, DeployItem, DeployStep, DesignStep, Presence


@admin.register(DesignStep)
class DesignStepAdmin(Shown):
    list_display = ("title", "infrastructure", "by", "at", "undone")
    list_filter = (("infrastructure", admin.RelatedOnlyFieldListFilter), "undone")
    list_select_related = ("infrastructure", "by")
    search_fields = ("title", "infrastructure__label", "by__name")


@admin.register(Deploy)
class DeployAdmin(Shown):
    list_display = ("number", "infrastructure", "by", "state", "started_at", "ended_at")
    list_filter = (("infrastructure", admin.RelatedOnlyFieldListFilter), "state")
    list_select_related: ClassVar[Any] = ("infrastructure", "by")
    search_fields = ("infrastructure__label", "by__name")


@admin.register(DeployStep)
class DeployStepAdmin(Shown):
    list_display = ("title", "infrastructure", "deploy", "started_at", "ended_at")
    list_filter = (("deploy__infrastructure", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("deploy__infrastructure",)
    search_fields = ("title", "deploy__infrastructure__label")

    @admin.display(description="infrastructure")
    def infrastructure(self, obj: DeployStep) -> str:
        return str(obj.deploy.infrastructure)


@admin.register(DeployItem)
class DeployItemAdmin(Shown):
    list_display = ("label", "step", "state", "started_at", "ended_at", "error")
    list_filter = ("state", ("step__deploy__infrastructure", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("step",)
    search_fields = ("label", "error")


@admin.register(Presence)
class PresenceAdmin(Shown):
    list_display = ("user", "infrastructure", "looks_at", "seen_at")
    list_filter = (("infrastructure", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("user", "infrastructure")
    search_fields = ("user__name", "infrastructure__label")
