"""What the tests of designing share: short ways to save a form, to expect a refusal, to read the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from editor import edits
from editor.design import products
from editor.models import DriveArray, Event, Infrastructure, InstanceArray, Product
from editor.rules import Refused

P = TypeVar("P", bound=Product)


@contextmanager
def refused(sentence: str, kind: type[Refused] = Refused) -> Iterator[None]:
    """Expects a refusal that begins with the sentence."""
    with pytest.raises(kind) as no:
        yield
    assert str(no.value).startswith(sentence)


def said() -> tuple[str, str, str]:
    """The newest line of the activity log."""
    event = Event.objects.told()[0]
    return event.verb, event.subject, event.text


def now_is(product: P) -> P:
    """The product as it is in the database."""
    return type(product).objects.get(pk=product.pk)  # type: ignore[attr-defined, no-any-return]


def configure(array: InstanceArray, **changes: Any) -> InstanceArray:
    """Saves the form of an InstanceArray as it is now, with some fields changed."""
    array = now_is(array)
    design: dict[str, Any] = {"label": array.label, "server_type": array.server_type, "count": array.count}
    return edits.configure_instance_array(array, **(design | {"seen": array.revision} | changes))


def configure_drives(array: DriveArray, **changes: Any) -> DriveArray:
    """Saves the form of a DriveArray as it is now, with some fields changed."""
    array = now_is(array)
    names = ("label", "size_mb", "storage_type", "count", "grows")
    design: dict[str, Any] = {name: getattr(array, name) for name in names} | {"seen": array.revision}
    return edits.configure_drive_array(array, **(design | changes))


def drawn_in(infrastructure: Infrastructure) -> dict[str, Any]:
    """All that is drawn and stays, by topic, with its place."""
    return {row.topic: (row.drawn(), row.x, row.y) for row in products(infrastructure) if not row.leaves}
