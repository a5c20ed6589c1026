"""What servers there can be: their types."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from editor.admin.base import Guarded
from editor.models import ServerType


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
