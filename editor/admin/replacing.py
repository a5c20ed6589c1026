"""The page that puts another server under an instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from editor import inventory
from editor.admin.base import Admin, person
from editor.models import Drive, Instance, Power, Server
from editor.rules import Refused
from editor.server_rules import why_not_replace


class ReplaceForm(forms.Form):
    """Which server comes, and what becomes of the one that goes."""

    server = forms.ModelChoiceField(Server.objects.none(), empty_label="Choose a free server…", label="New server")
    drain = forms.BooleanField(required=False, initial=True)
    vouched = forms.BooleanField(required=False)

    def __init__(self, old: Server, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["server"].queryset = Server.objects.free().filter(server_type=old.server_type)  # type: ignore[attr-defined]
        self.fields["drain"].label = f"Drain {old}: no instance gets it until it is returned to the pool"
        if old.power == Power.UNKNOWN:
            self.fields["vouched"].label = f"I have made sure that {old} has no power and stays without"
        else:
            del self.fields["vouched"]


def page(site: Admin) -> Callable[[HttpRequest, int], HttpResponse]:
    """Answers the view: GET for the form, POST for asking; the worker does it."""

    def view(request: HttpRequest, pk: int) -> HttpResponse:
        old = Server.objects.select_related("server_type").filter(pk=pk).first()
        instance = Instance.objects.select_related("instance_array__infrastructure").filter(server=pk).first()
        if old is None or instance is None:
            raise Http404("No such server, or no instance on it.")
        if not site.has_change_permission(request, old):
            raise PermissionDenied
        instance.server = old
        form = ReplaceForm(old, request.POST if request.method == "POST" else None)
        status = 200
        if request.method == "POST":
            if form.is_valid() and _ask(request, form, instance):
                site.log_change(request, old, f"Asked to replace it by {form.cleaned_data['server']} under {instance}.")
                messages.info(request, f"Replacing {old} by {form.cleaned_data['server']} as soon as it is surely off.")
                return HttpResponseRedirect(reverse("admin:editor_server_change", args=[pk]))
            status = 409 if form.non_field_errors() else 422
        context = {
            **site.admin_site.each_context(request),
            "opts": site.opts,
            "title": f"Replace the server of {instance}",
            "form": form,
            "server": old,
            "instance": instance,
            "drives": Drive.objects.filter(instance=instance).select_related("drive_array").order_by("pk"),
            "why_not": why_not_replace(instance, vouched=True),  # what the form has no answer to
        }
        return render(request, "admin/editor/server/replace.html", context, status=status)

    return view


def _ask(request: HttpRequest, form: ReplaceForm, instance: Instance) -> bool:
    chosen = form.cleaned_data
    try:
        inventory.ask_replace(
            instance,
            chosen["server"],
            by=person(request),
            drain=chosen["drain"],
            vouched=chosen.get("vouched", False),
        )
    except Refused as no:
        form.add_error(None, str(no))
        return False
    return True
