"""The Snapshots tab of a drive and its dialogs.

Each answers to htmx the fragment that changed, to everybody else a whole page; a change made without htmx ends in
a redirect. A "no" of the rules is 409 with the sentence in place, a field that cannot be taken is 422.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from editor import actions as power_actions
from editor.actions import role_of
from editor.models import Drive, User
from editor.rules import Refused, why_not_operate
from editor.views import drives
from editor.views.page import is_partial, render_fragment, render_panel, visible
from editor.views.pools import pools_of
from editor.views.trouble import Trouble, trouble_of
from editor.words import ago_in_full, counted, moment, up_to
from snapshots import actions
from snapshots.forms import CreateForm, KeyForm, NoteForm, PowerForm, RevertForm, first_error
from snapshots.models import Snapshot, State
from snapshots.outcomes import last_event_of, outcome_of
from snapshots.rules import why_not_delete, why_not_revert
from snapshots.tab import tab_of

_NUMBER = re.compile(r"[0-9]{1,18}")
POWER = {
    "soft_shutdown": power_actions.soft_shut_down,
    "power_on": power_actions.power_on,
}


@require_safe
def index(request: HttpRequest, pk: int) -> HttpResponse:
    return _tab(request, drives.visible_drive(request, pk))


@require_POST
def create(request: HttpRequest, pk: int) -> HttpResponse:
    drive = drives.visible_drive(request, pk)
    form = CreateForm(request.POST)
    if not form.is_valid():
        unreadable = "" if form.has_error("note") else first_error(form)
        return _tab(request, drive, create_form=form, refused=unreadable, refused_at="create", status=422)
    try:
        actions.request_create(
            drive,
            by=_user(request),
            note=form.cleaned_data["note"],
            key=form.cleaned_data["key"],
            expect_delete=form.cleaned_data["expect_delete"],
        )
    except Refused as refused:
        return _tab(request, drive, create_form=form, refused=str(refused), refused_at="create", status=409)
    return _changed(request, drive)


@require_POST
def power(request: HttpRequest, pk: int) -> HttpResponse:
    """Switches the drive's server, so that nobody has to leave the drive for it."""
    drive = drives.visible_drive(request, pk)
    form = PowerForm(request.POST)
    if not form.is_valid() or drive.instance is None:
        raise Http404("No such command, or no server to send it to.")
    command, by = form.cleaned_data["command"], _user(request)
    try:
        if command == "keep_waiting":
            power_actions.keep_waiting(drive.instance, by=by)
        else:
            POWER[command](drive.instance, by=by, key=form.cleaned_data["key"])
    except Refused as refused:
        return _tab(request, drive, refused=str(refused), refused_at="gate", status=409)
    return _changed(request, drive)


@require_http_methods(["GET", "HEAD", "POST"])
def revert(request: HttpRequest, pk: int) -> HttpResponse:
    snapshot = _visible_snapshot(request, pk)
    if request.method != "POST":
        return _confirm(request, "revert", snapshot, refused=why_not_revert(snapshot) or "")
    form = RevertForm(request.POST)
    if not form.is_valid():
        return _confirm(request, "revert", snapshot, refused=first_error(form), status=422)
    try:
        actions.request_revert(
            snapshot, by=_user(request), expect=form.cleaned_data["expect"], key=form.cleaned_data["key"]
        )
    except actions.ListChanged as changed:
        return _confirm(request, "revert", snapshot, changed=str(changed), status=409)
    except Refused as refused:
        return _confirm(request, "revert", snapshot, refused=str(refused), status=409)
    return _changed(request, snapshot.drive, close=True)


@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    snapshot = _visible_snapshot(request, pk)
    if request.method != "POST":
        return _confirm(request, "delete", snapshot, refused=why_not_delete(snapshot) or "")
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _confirm(request, "delete", snapshot, refused=first_error(form), status=422)
    try:
        actions.delete(snapshot, by=_user(request), key=form.cleaned_data["key"])
    except Refused as refused:
        return _confirm(request, "delete", snapshot, refused=str(refused), status=409)
    return _changed(request, snapshot.drive, close=True)


@require_http_methods(["GET", "HEAD", "POST"])
def note(request: HttpRequest, pk: int) -> HttpResponse:
    """The words beside a snapshot, edited where they stand. `?as=text` answers them again unchanged."""
    snapshot = _visible_snapshot(request, pk)
    if request.method != "POST":
        if request.GET.get("as") == "text":
            return _note(request, snapshot, editing=False)
        return _note(request, snapshot, form=NoteForm(initial={"note": snapshot.note}))
    form = NoteForm(request.POST)
    if not form.is_valid():
        return _note(request, snapshot, form=form, status=422)
    try:
        actions.edit_note(snapshot, note=form.cleaned_data["note"], by=_user(request))
    except Refused as refused:
        return _note(request, snapshot, form=form, refused=str(refused), status=409)
    snapshot.note = form.cleaned_data["note"]
    return (
        _note(request, snapshot, editing=False)
        if is_partial(request)
        else redirect("snapshots:list", snapshot.drive_id)
    )


# ── What they answer ─────────────────────────────────────────────────────────


def _tab(request: HttpRequest, drive: Drive, *, status: int = 200, **more: Any) -> HttpResponse:
    """Answers the tab as it is now, with what `more` says about the request beside it."""
    now, user = timezone.now(), _user(request)
    operate = why_not_operate(role_of(user, drive.drive_array.infrastructure_id))
    rows = list(drive.snapshots.newest_first().select_related("created_by", "replaces"))
    ready = sum(one.state != State.CREATING for one in rows)
    outcome = outcome_of(last_event_of(drive, user, now), drive, ready)
    beside = list(drive.instance.drives.select_related("drive_array")) if drive.instance else []
    trouble = trouble_of(drive)
    context = {
        "head": drives.head(drive, "Snapshots"),
        "drive": drive,
        "pools": pools_of([drive]),
        "tab": tab_of(drive, rows, beside=beside, outcome=outcome, why_not_operate=operate, now=now),
        "trouble": trouble,
        "again": _again(trouble, rows),
        **more,
    }
    infrastructure = drive.drive_array.infrastructure
    return render_panel(
        request, "snapshots/list.html", infrastructure, context, selected=drive.drive_array.topic, status=status
    )


def _changed(request: HttpRequest, drive: Drive, *, close: bool = False) -> HttpResponse:
    """Answers a change that was made: the tab anew, and the dialog it was asked for in closes."""
    if not is_partial(request):
        return redirect("snapshots:list", drive.pk)
    response = _tab(request, drives.visible_drive(request, drive.pk))
    if close:
        response["HX-Trigger"] = "close-dialog"
    return response


def _confirm(
    request: HttpRequest, what: str, snapshot: Snapshot, *, refused: str = "", changed: str = "", status: int = 200
) -> HttpResponse:
    """Answers the dialog, or the page of the same form. What it lists is what its button posts.

    `refused` is why it cannot be done, then there is no button; `changed` says what is new in the list.
    """
    drive, now, user = snapshot.drive, timezone.now(), _user(request)
    operate = why_not_operate(role_of(user, drive.drive_array.infrastructure_id))
    rows = list(drive.snapshots.newest_first().select_related("created_by"))
    fresh = next((one for one in rows if one.pk == snapshot.pk), None)
    newer = [one for one in rows if one.number > snapshot.number]
    since = up_to(fresh.written_since_bytes) if fresh else ""
    context = {
        "shell": "parts/dialog.html" if is_partial(request) else "parts/dialog_page.html",
        "head": drives.head(drive, "Snapshots"),
        "drive": drive,
        "snapshot": fresh or snapshot,
        "taken": moment(snapshot.taken_at) if snapshot.taken_at else "",
        "ago": ago_in_full(now - snapshot.taken_at) if snapshot.taken_at else "",
        "newer": newer,
        "older": [one for one in rows if one.number < snapshot.number],
        "expect": ",".join(str(one.pk) for one in newer),
        "since": since,
        "button": _revert_button(len(newer), since),
        "changed": changed if fresh else "",
        "refused": operate or refused or (changed if not fresh else ""),
        "key": uuid4(),
        "target": f"#{drive.topic}-snapshots",
        "back": reverse("snapshots:list", args=[drive.pk]),
    }
    if is_partial(request):
        return render_fragment(
            request,
            f"snapshots/{what}.html",
            context,
            status=status,
            target="#dialog" if status != 200 else "",
            swap="innerHTML" if status != 200 else "",
        )
    infrastructure = drive.drive_array.infrastructure
    return render_panel(
        request, f"snapshots/{what}.html", infrastructure, context, selected=drive.drive_array.topic, status=status
    )


def _note(
    request: HttpRequest,
    snapshot: Snapshot,
    *,
    form: NoteForm | None = None,
    refused: str = "",
    editing: bool = True,
    status: int = 200,
) -> HttpResponse:
    if not is_partial(request):
        return _tab(request, snapshot.drive, editing=snapshot.pk, note_form=form, note_refused=refused, status=status)
    operate = why_not_operate(role_of(_user(request), snapshot.drive.drive_array.infrastructure_id))
    context = {
        "drive": snapshot.drive,
        "number": snapshot.number,
        "pk": snapshot.pk,
        "note": snapshot.note,
        "why_not_change": operate or "",
        "note_form": form,
        "note_refused": refused,
    }
    partial = "name_form" if editing else "name"
    return render_fragment(request, f"snapshots/list.html#{partial}", context, status=status)


def _revert_button(newer: int, since: str) -> str:
    if newer:
        return f"Revert and delete {counted(newer, 'snapshot')}"
    return f"Revert, lose {since}" if since.startswith("up to") else "Revert, lose all written since"


def _again(trouble: Trouble | None, rows: list[Snapshot]) -> str:
    """Answers what "Try again" leads to: "create", the address of a confirmation, or "" when it makes no sense."""
    if trouble is None:
        return ""
    if trouble.verb.startswith("could not create snapshot"):
        return "create"
    for one in rows:
        if trouble.verb == f"could not revert to #{one.number}:":
            return reverse("snapshots:revert", args=[one.pk])
    return ""


def _visible_snapshot(request: HttpRequest, pk: int) -> Snapshot:
    """Answers a snapshot with its drive; raises Http404 for strangers.

    A form that was open while somebody else deleted the snapshot still names its drive: it is answered with the
    sentence that says so, not with "Nothing here".
    """
    rows = Snapshot.objects.select_related(
        "drive__drive_array__infrastructure",
        "drive__drive_array__instance_array",
        "drive__pool",
        "drive__instance__instance_array",
        "drive__instance__server",
        "drive__trouble",
    )
    path = "drive__drive_array__infrastructure"
    drive, number = request.POST.get("drive", ""), request.POST.get("number", "")
    try:
        return visible(request, rows, pk, path=path)
    except Http404:
        if not (_NUMBER.fullmatch(drive) and _NUMBER.fullmatch(number)):
            raise
        return Snapshot(pk=pk, drive=drives.visible_drive(request, int(drive)), number=int(number))


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
