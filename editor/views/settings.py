"""New infrastructures, and the settings of one: its name, who belongs to it, and deleting it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from editor import edits
from editor.actions import role_of
from editor.design import products
from editor.design_forms import InfrastructureForm, KeyForm, disable
from editor.design_rules import why_not_create_infrastructure, why_not_delete_infrastructure, why_not_own
from editor.models import Infrastructure, User
from editor.rules import Refused
from editor.views.dialogs import dialog
from editor.views.page import is_partial, last_event_id, render_panel, visible
from editor.views.panel import Head
from editor.words import counted


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    user = _user(request)
    refused, status = why_not_create_infrastructure(user) or "", 200
    form = InfrastructureForm(request.POST if request.method == "POST" else None, others=_others(user))
    if request.method == "POST":
        if form.is_valid():
            try:
                made = edits.create_infrastructure(
                    form.cleaned_data["label"], form.cleaned_data["description"], by=user
                )
            except Refused as no:
                refused, status = str(no), 409
            else:
                return redirect(made)
        else:
            status = 422
    context = {"form": form, "refused": refused, "last_event": last_event_id()}
    return render(request, "editor/infrastructure_new.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    if request.method != "POST":
        return _settings(request, infrastructure)
    form = InfrastructureForm(request.POST, others=_others(_user(request), but=pk))
    if not form.is_valid():
        return _settings(request, infrastructure, form, status=422)
    label, description = form.cleaned_data["label"], form.cleaned_data["description"]
    try:
        edits.rename_infrastructure(infrastructure, by=_user(request), label=label, description=description)
    except Refused as refused:
        return _settings(request, infrastructure, form, refused=str(refused), status=409)
    if not is_partial(request):
        return redirect("infrastructure_settings", pk)
    return _settings(request, Infrastructure.objects.get(pk=pk))


@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    refused, status = _why_not_delete(request, infrastructure), 200
    if request.method == "POST":
        form = KeyForm(request.POST)
        try:
            if form.is_valid():
                edits.delete_infrastructure(infrastructure, by=_user(request))
                return _left(request)
        except Refused as no:
            refused, status = str(no), 409
    rows = products(infrastructure)
    context = {
        "what": counted(len(rows), "product"),
        "names": [row.label for row in rows],
        "refused": refused,
        "button": f"Delete {infrastructure}",
    }
    back = reverse("infrastructure_settings", args=[pk])
    return dialog(
        request, "editor/infrastructure_delete.html", _head(infrastructure), context, back=back, status=status
    )


def _left(request: HttpRequest) -> HttpResponse:
    """There is no page of it any more."""
    if not is_partial(request):
        return redirect("infrastructures")
    return HttpResponse(headers={"HX-Redirect": reverse("infrastructures")})


def _settings(
    request: HttpRequest,
    infrastructure: Infrastructure,
    form: InfrastructureForm | None = None,
    *,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    initial = {"label": infrastructure.label, "description": infrastructure.description}
    form = form or InfrastructureForm(initial=initial, others=())
    fixed = why_not_own(role_of(_user(request), infrastructure.pk)) or ""
    if fixed:
        disable(form)
    context = {
        "head": _head(infrastructure),
        "form": form,
        "fixed": fixed,
        "refused": refused,
        "members": infrastructure.memberships.select_related("user").order_by("user__name", "pk"),
        "why_not_delete": _why_not_delete(request, infrastructure),
        "address": reverse("infrastructure_settings", args=[infrastructure.pk]),
    }
    return render_panel(request, "editor/infrastructure_settings.html", infrastructure, context, status=status)


def _why_not_delete(request: HttpRequest, infrastructure: Infrastructure) -> str:
    role = role_of(_user(request), infrastructure.pk)
    return why_not_own(role) or why_not_delete_infrastructure(infrastructure) or ""


def _head(infrastructure: Infrastructure) -> Head:
    return Head(
        infrastructure=infrastructure, icon="settings", title="Settings", current=infrastructure.label, crumb="Settings"
    )


def _others(user: User, *, but: int = 0) -> set[str]:
    rows = Infrastructure.objects.visible_to(user).exclude(pk=but)
    return {label.lower() for label in rows.values_list("label", flat=True)}


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
