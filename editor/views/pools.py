"""What the panels of drives say of the storage pools that these are in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from editor.models import Drive, StoragePool
from editor.pool_rules import fill_of, is_full, warning_of


@dataclass(frozen=True)
class Shown:
    """A pool. `warning` is a sentence, "" when there is nothing to warn of; `percent` is None before it was read."""

    topic: str
    label: str
    warning: str
    tone: str
    percent: int | None

    @property
    def note(self) -> str:
        """The id of the element that says the warning."""
        return note_of(self.topic)


def note_of(topic: str) -> str:
    return f"{topic}-note"


def shown(pool: StoragePool) -> Shown:
    fill = fill_of(pool)
    return Shown(
        topic=pool.topic,
        label=pool.label,
        warning=warning_of(pool) or "",
        tone="bad" if is_full(pool) else "busy",
        percent=min(100, fill.percent) if fill else None,
    )


def pools_of(drives: Iterable[Drive]) -> list[Shown]:
    """Answers the pools of these drives, each once; they come with their pools."""
    found = {drive.pool_id: drive.pool for drive in drives}
    return [shown(pool) for pool in sorted(found.values(), key=lambda pool: pool.label)]
