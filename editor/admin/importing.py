"""The page that takes a CSV file of servers, shows what would happen line by line, and does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt

from editor import imports, power, sheets
from editor.admin.base import Admin, person
from editor.models import ServerType, Trust
from editor.rules import Refused
from editor.words import counted, size

_HEADS = (
    (imports.Fate.REFUSE, "Cannot be imported"),
    (imports.Fate.CHANGE, "Would be changed"),
    (imports.Fate.ADD, "Would be added"),
    (imports.Fate.SAME, "Are as the file has them"),
)
_MOST = size(sheets.BYTES_MAX)
TOO_LARGE = f"What was sent is larger than {_MOST}. Import it in parts: a CSV file of at most {_MOST} each."
OPEN_MOST = 200
"""Longer groups are folded up at first."""


def page(site: Admin) -> Callable[[HttpRequest], HttpResponse]:
    """Answers the view: GET for the form, POST of a file for what it would do, POST of that for doing it."""

    def view(request: HttpRequest) -> HttpResponse:
        if not _may(request, site):
            raise PermissionDenied
        if request.method != "POST":
            return _shown(request, site)
        try:
            if "confirmed" in request.POST:
                return _carry_out(request, site)
            return _look(request, site)
        except imports.Changed as no:
            return _shown(request, site, status=409, error=str(no), **_told(request, no.plan, no.text))
        except Refused as no:
            return _shown(request, site, status=409, error=str(no))
        except sheets.SheetError as error:
            return _shown(request, site, status=422, wrong_file=str(error))

    inner = site.admin_site.admin_view(view)

    # Files are taken here and nowhere else. Whether the request was forged is asked by `admin_view`: the middleware
    # would read the file before.
    @csrf_exempt
    def taking_files(request: HttpRequest) -> HttpResponse:
        request.upload_handlers = [MemoryFileUploadHandler(request)]
        try:
            response: HttpResponse = inner(request)
        except RequestDataTooBig:
            return _refuse_too_large(request, site)
        return response

    return taking_files


def template(site: Admin) -> Callable[[HttpRequest], HttpResponse]:
    """Answers the view of a file to begin with."""

    def view(request: HttpRequest) -> HttpResponse:
        if not site.has_add_permission(request):
            raise PermissionDenied
        text = sheets.template(ServerType.objects.values_list("label", flat=True), power.NAMES)
        # With the mark by which spreadsheets know UTF-8.
        response = HttpResponse(text.encode("utf-8-sig"), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="servers.csv"'
        return response

    return view


def _refuse_too_large(request: HttpRequest, site: Admin) -> HttpResponse:
    """Nothing of it was read yet: not even who sends it was asked."""
    if not (site.admin_site.has_permission(request) and _may(request, site)):
        raise PermissionDenied
    request.POST = QueryDict()  # or whoever looks into it raises again
    return _shown(request, site, status=422, wrong_file=TOO_LARGE)


def _may(request: HttpRequest, site: Admin) -> bool:
    return bool(site.has_add_permission(request) and site.has_change_permission(request))


def _look(request: HttpRequest, site: Admin) -> HttpResponse:
    file = request.FILES.get("file")
    if file is None or file.size is None:
        raise sheets.SheetError(f"Choose a CSV file of at most {_MOST}.")
    text, remark = sheets.text_of(file.read())
    return _shown(request, site, remark=remark, **_told(request, imports.plan(text), text))


def _told(request: HttpRequest, plan: imports.Plan, text: str) -> dict[str, Any]:
    groups = [
        {"title": title, "fate": fate, "lines": lines, "open": len(lines) <= OPEN_MOST and fate != imports.Fate.SAME}
        for fate, title in _HEADS
        if (lines := plan.of(fate))
    ]
    why_not = plan.why_not
    packed = "" if why_not else imports.packed(text, plan.fingerprint, person(request))
    adds, changes = plan.count(imports.Fate.ADD), plan.count(imports.Fate.CHANGE)
    parts = [f"add {counted(adds, 'server')}"] * bool(adds) + [f"change {counted(changes, 'server')}"] * bool(changes)
    button = " and ".join(parts).capitalize()
    return {"groups": groups, "why_not": why_not, "packed": packed, "button": button, "number": len(plan.lines)}


def _carry_out(request: HttpRequest, site: Admin) -> HttpResponse:
    by = person(request)
    text, fingerprint = imports.unpacked(request.POST["confirmed"], by)
    done = imports.carry_out(text, fingerprint=fingerprint, by=by)
    for servers, flag in ((done.added, ADDITION), (done.changed, CHANGE)):
        if servers:
            LogEntry.objects.log_actions(by.pk, servers, flag, change_message="Imported from a file.")
    said = [f"{counted(len(done.added), 'server')} added"] * bool(done.added)
    said += [f"{counted(len(done.changed), 'server')} changed"] * bool(done.changed)
    messages.success(request, f"{' and '.join(said)}. Their connections are being checked.")
    return HttpResponseRedirect(reverse("admin:editor_server_changelist"))


def _shown(request: HttpRequest, site: Admin, *, status: int = 200, **context: Any) -> HttpResponse:
    columns = (
        ("serial", "as it stands on the machine; a server that is here already is changed"),
        ("server_type", "one that is here: " + ", ".join(ServerType.objects.values_list("label", flat=True)[:12])),
        ("driver", f"{' or '.join(power.NAMES)}; empty: as the address begins"),
        ("address", "of the BMC"),
        ("username, password", "with which the BMC is asked"),
        ("trust", f"{', '.join(Trust.values)}: which certificate is believed"),
        ("certificate", "PEM, or a SHA-256 fingerprint"),
        ("plain_http, drained", "yes or no"),
    )
    shared = {
        **site.admin_site.each_context(request),
        "opts": site.opts,
        "title": "Import servers",
        "columns": columns,
        "most": f"{sheets.LINES_MAX:,}",
    }
    return render(request, "admin/editor/server/import.html", shared | context, status=status)
