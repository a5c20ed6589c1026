"""Servers: registered and changed by editor.inventory, checked, drained and replaced from their pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone

from editor import entries, inventory, power
from editor.admin import importing, replacing
from editor.admin.base import Recorded, person
from editor.admin.connecting import DRAINED, RETURNED, connection_of, watch
from editor.models import Server
from editor.rules import Refused
from editor.server_rules import why_not_delete_server
from editor.words import ago, counted

if TYPE_CHECKING:
    ServerModelForm = forms.ModelForm[Server]
else:
    ServerModelForm = forms.ModelForm

POWER_READING = ("power", "power_seen_at", "power_error")
POWER_COMMAND = ("power_command", "power_asked_at", "power_asked_by", "power_deadline", "power_overdue")


class ServerForm(ServerModelForm):
    """States an entry of the inventory. The password is written here and never read back."""

    driver = forms.ChoiceField(choices=[(name, name) for name in power.NAMES], initial=power.NAMES[0])
    password = forms.CharField(
        required=False,
        strip=False,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)
    by: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seen"].initial = self.instance.revision
        kept = bool(self.instance.password_sealed)
        self.fields["password"].help_text = (
            "One is kept, and cannot be shown. Leave this empty to keep it." if kept else "None is kept."
        )

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        inventory.one_at_a_time()
        stored = Server.objects.select_for_update(of=("self",)).get(pk=self.instance.pk) if self.instance.pk else None
        if stored and cleaned["seen"] is not None and cleaned["seen"] != stored.revision:
            self._say_what_changed(stored)
            return cleaned
        self.entry = entries.Entry(**{name: cleaned[name] for name in (*entries.STATED, "password")}).clean()
        register = entries.Register.read(without=[stored.pk] if stored else [])
        for name, sentence in entries.faults(self.entry, stored, register):
            self.add_error(name or None, sentence)
        if self.entry.password and not self.errors:
            try:
                entries.sealing_key()
            except Refused as no:
                self.add_error("password", str(no))
        return cleaned

    def _say_what_changed(self, stored: Server) -> None:
        """Whoever saves again has read what is there; it is shown for what is otherwise below."""
        others = [
            f"{entries.label_of(name)}: {getattr(stored, name)}"
            for name in self.changed_data
            if name in entries.STATED and name != "certificate"
        ]
        who = stored.changed_by or "Somebody"
        now = f" Stored now is {'; '.join(others)}." if others else ""
        self.add_error(None, f"{who} changed {stored} meanwhile.{now} Save again to write what is below.")
        data: Any = self.data.copy()  # type: ignore[attr-defined]
        data["seen"] = str(stored.revision)
        self.data = data


@admin.register(Server)
class ServerAdmin(Recorded):
    """Where its BMC is can be changed; what the BMC says is only shown."""

    form = ServerForm
    change_form_template = "admin/editor/server/change_form.html"
    change_list_template = "admin/editor/server/change_list.html"
    list_display = ("serial", "instance", "server_type", "address", "shown_power", "seen", "use", "trouble_with_it")
    list_filter = (
        *("power", "server_type", "driver", "drained", "power_overdue"),
        ("instance", admin.EmptyFieldListFilter),
    )
    list_select_related = ("server_type", "instance__instance_array")
    search_fields = ("serial", "address", "instance__instance_array__label")
    actions = ("check_selected", "drain_selected", "return_selected")
    fieldsets = (
        (None, {"fields": ("serial", "server_type", "drained")}),
        ("BMC", {"fields": ("driver", "address", "username", "password")}),
        ("TLS", {"fields": ("trust", "certificate", "plain_http", "seen")}),
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

    @admin.display(description="pool", ordering="drained")
    def use(self, obj: Server) -> str:
        return "drained" if obj.drained else ""

    @admin.display(description="trouble")
    def trouble_with_it(self, obj: Server) -> str:
        return obj.power_error or obj.check_error

    def why_not_delete(self, obj: Server) -> str | None:
        return why_not_delete_server(obj)

    def infrastructure(self, obj: Server) -> int | None:
        del obj  # one that can be deleted serves nobody
        return None

    def save_model(self, request: HttpRequest, obj: Server, form: Any, change: Any) -> None:
        by = person(request)
        saved = inventory.change(obj, form.entry, by=by) if change else inventory.register(form.entry, by=by)
        obj.pk = saved.pk

    # ── Further pages ────────────────────────────────────────────────────────

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        own = [
            path("import/", importing.page(self), name="editor_server_import"),
            path("import/template.csv", guarded(importing.template(self)), name="editor_server_template"),
            path("<int:pk>/connection/", guarded(watch(self)), name="editor_server_connection"),
            path("<int:pk>/replace/", guarded(replacing.page(self)), name="editor_server_replace"),
        ]
        return [*own, *super().get_urls()]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        server = self.get_object(request, object_id) if object_id else None
        context = {"connection": connection_of(request, self, server)} if server else {}
        response: HttpResponse = super().changeform_view(request, object_id, form_url, context | (extra_context or {}))
        return response

    # ── Many at a time ───────────────────────────────────────────────────────

    @admin.action(description="Check the connection of selected servers", permissions=["change"])
    def check_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        number = inventory.ask_checks(queryset, by=person(request))
        messages.success(request, f"The connection of {counted(number, 'server')} is being checked.")

    @admin.action(description="Drain selected servers", permissions=["change"])
    def drain_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        number = self._set_drained(request, queryset, drained=True)
        messages.success(request, f"{counted(number, 'server')} drained. Instances on them stay.")

    @admin.action(description="Return selected servers to the pool", permissions=["change"])
    def return_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        number = self._set_drained(request, queryset, drained=False)
        messages.success(request, f"{counted(number, 'server')} returned to the pool.")

    def _set_drained(self, request: HttpRequest, queryset: QuerySet[Server], *, drained: bool) -> int:
        """Drains them or gives them back, each for itself and with a line in its history; answers how many."""
        number = 0
        for server in queryset:
            if inventory.set_drained(server, drained=drained, by=person(request)):
                self.log_change(request, server, DRAINED if drained else RETURNED)
                number += 1
        return number
