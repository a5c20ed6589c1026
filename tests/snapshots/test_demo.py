"""The demo is whole, also when loading it was killed on the way."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from editor.design import decisions_in, pending, products
from editor.estimate import estimate
from editor.management.commands import serve
from editor.models import Drive, Event, Infrastructure
from editor.reconcile import Worker
from editor.review import review
from editor.views.draft import last_deploy
from snapshots.management.commands import demo
from snapshots.models import Snapshot, State

pytestmark = pytest.mark.django_db(transaction=True)


class KilledError(Exception):
    """Where the process ended."""


@pytest.mark.parametrize(
    "killed_at",
    [
        pytest.param("_write", marks=pytest.mark.lab),
        "run_until_quiet",
        pytest.param("_date_back", marks=pytest.mark.lab),
        pytest.param("_draw_changes", marks=pytest.mark.postgres),
    ],
)
def test_demo_that_was_killed_while_it_loads_is_completed(killed_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WEB_3", demo.WEB_3[:2])
    monkeypatch.setattr(demo, "ROUTINE", demo.ROUTINE[:2])
    monkeypatch.setattr(demo, "ANALYTICS", (0,) * 12)
    calls = 0
    owner = Worker if killed_at == "run_until_quiet" else demo
    whole = getattr(owner, killed_at)

    def kill_third(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3 or killed_at == "_draw_changes":
            raise KilledError
        return whole(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, killed_at, kill_third)
        with pytest.raises(KilledError):
            call_command("demo")
    serve.Command().prepare()

    web_3 = Drive.objects.get(drive_array__infrastructure__label="atlas-prod", drive_array__label="web-data", number=3)
    taken = web_3.snapshots.order_by("number").values_list("number", "note", "state")
    assert list(taken) == [(1, "Golden image", State.READY), (2, "After TLS rotation", State.READY)]
    assert not Drive.objects.exclude(hold="").exists()
    assert not Event.objects.filter(result="failed").exists()
    assert list(Snapshot.objects.order_by("taken_at")) == list(Snapshot.objects.order_by("pk"))
    atlas = Infrastructure.objects.get(label="atlas-prod")
    changes = {row.label: (row.change, str(row.changed_by)) for row in pending(products(atlas))}
    assert changes == {
        "analytics": ("edit", "Wei Chen"),
        "analytics-data": ("edit", "Wei Chen"),
        "db-data": ("edit", "Ana Marin"),
        "db-logs": ("add", "Ana Marin"),
    }
    assert decisions_in([atlas.pk]) == {atlas.pk: 3}
    assert last_deploy(atlas, is_deployed=True).endswith(" by Ana Marin")
    assert estimate(review(atlas)) is None, "What nobody measured was taken for measured."
    first = atlas.deploys.get()
    assert "Take 4 servers M.16.64 for web" in first.steps.values_list("title", flat=True)
    assert first.goal == {row.topic: row.deployed for row in products(atlas) if row.deployed}
    with pytest.raises(CommandError, match="There are users already"):
        call_command("demo")
