"""The part of a storage pool's page that tells how full it is and whether it works, and has it checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.module_loading import import_string

from editor import bell
from editor.admin.base import Admin
from editor.models import Drive, StoragePool
from editor.pool_rules import IN_CEPH, Fill, fills_of, warning_of
from editor.room import promised_of
from editor.words import ago, counted, up_to

PATIENCE = timedelta(seconds=30)
"""A worker that runs has begun by then, and most storage has answered."""
LARGEST = 10


@dataclass(frozen=True)
class Bar:
    """An amount in words, and as a share of its whole in percent."""

    words: str
    percent: int


def bar_of(fill: Fill) -> Bar:
    """Answers "412 of 931 GB, 44 %"."""
    return Bar(f"{fill.amount}, {fill.percent} %", min(100, fill.percent))


@dataclass(frozen=True)
class Held:
    """One of the largest drives."""

    label: str
    infrastructure: str
    url: str
    bar: Bar
    snapshots: int


@dataclass(frozen=True)
class Checked:
    """One thing that was tried. `wrong` is a sentence, "" when it works."""

    what: str
    wrong: str


@dataclass(frozen=True)
class Usage:
    """What the page says of a pool."""

    pool: StoragePool
    whole: str
    """What it is kept in, which may be used by others, too."""
    used: tuple[tuple[str, Bar], ...]
    promised: str
    seen: str
    error: str
    warning: str
    kept: str
    largest: tuple[Held, ...]
    drives: str
    checked: tuple[Checked, ...]
    checked_ago: str
    checking: bool
    unattended: bool
    """Whether nothing came of a check for longer than it takes."""
    may_change: bool

    @property
    def verdict(self) -> str:
        """What came of the last check, in a sentence that stays the same as it ages."""
        wrong = sum(bool(one.wrong) for one in self.checked)
        return f"{wrong} of {counted(len(self.checked), 'check')} failed." if wrong else "All that was checked works."


def seen_of(pool: StoragePool, now: datetime) -> str:
    return f"read {ago(now - pool.usage_seen_at)}" if pool.usage_seen_at else "not read yet"


def usage_of(pool: StoragePool, *, may_change: bool) -> Usage:
    """Answers it as the row is now."""
    now = timezone.now()
    sizes = list(Drive.objects.filter(pool=pool).values_list("size_mb", flat=True))
    kept = sum(import_string(dotted)(pool.pk) for dotted in settings.KEPT_IN_POOL)
    asked_at = pool.check_asked_at
    whole = "Cluster" if pool.engine in IN_CEPH else "File system"
    names = (whole, "Capacity") if pool.total_bytes is not None else ("Capacity",)
    return Usage(
        pool=pool,
        whole=whole,
        used=tuple((name, bar_of(fill)) for name, fill in zip(names, fills_of(pool), strict=False)),
        promised=f"{promised_of(pool, sum(sizes))} in {counted(len(sizes), 'drive')}",
        seen=seen_of(pool, now),
        error=pool.usage_error,
        warning=warning_of(pool) or "",
        kept=up_to(kept),
        largest=_largest(pool),
        drives=reverse("admin:editor_drive_changelist") + f"?pool__id__exact={pool.pk}",
        checked=tuple(Checked(what, wrong or "") for what, wrong in pool.checked),
        checked_ago=ago(now - pool.checked_at) if pool.checked_at else "",
        checking=asked_at is not None,
        unattended=asked_at is not None and now - asked_at > PATIENCE,
        may_change=may_change,
    )


def _largest(pool: StoragePool) -> tuple[Held, ...]:
    rows = Drive.objects.filter(pool=pool).select_related("drive_array__infrastructure")
    return tuple(
        Held(
            label=drive.label,
            infrastructure=str(drive.drive_array.infrastructure),
            url=reverse("admin:editor_drive_change", args=[drive.pk]),
            bar=bar_of(Fill(drive.used_bytes, drive.size_bytes)),
            snapshots=drive.snapshot_count,
        )
        for drive in rows.order_by("-used_bytes", "pk")[:LARGEST]
    )


def ask_checks(pools: QuerySet[StoragePool]) -> int:
    """Has the worker check these pools; answers how many."""
    with transaction.atomic():
        number = StoragePool.objects.filter(pk__in=list(pools.values_list("pk", flat=True))).update(
            check_asked_at=timezone.now()
        )
        transaction.on_commit(bell.ring)
    return number


def watch(site: Admin) -> Callable[[HttpRequest, int], HttpResponse]:
    """Answers the view of that part: GET for how it stands, POST for a check."""

    def view(request: HttpRequest, pk: int) -> HttpResponse:
        pool = StoragePool.objects.filter(pk=pk).first()
        if pool is None:
            raise Http404("No such storage pool.")
        if not site.has_view_permission(request, pool):
            raise PermissionDenied
        may_change = site.has_change_permission(request, pool)
        if request.method == "POST":
            if not may_change:
                raise PermissionDenied
            ask_checks(StoragePool.objects.filter(pk=pk))
            if not request.headers.get("HX-Request"):
                return HttpResponseRedirect(reverse("admin:editor_storagepool_change", args=[pk]))
            pool.refresh_from_db()
        context: dict[str, Any] = {"usage": usage_of(pool, may_change=may_change)}
        return render(request, "admin/editor/storagepool/usage.html", context)

    return view
