"""The head that all panels share: where one is, what it is about, its tabs. Drawn by templates/parts/panel.html."""

from __future__ import annotations

from dataclasses import dataclass, field

from editor.models import Infrastructure

Words = tuple[tuple[str, str], ...]
"""Pieces of a line, each with the address it leads to ("" for plain text)."""


@dataclass(frozen=True)
class Tab:
    """One tab; `count` is shown beside its name and not part of it."""

    name: str
    url: str
    count: str = ""


@dataclass(frozen=True)
class Step:
    """A neighbour one can go on to; `name` is what a screen reader says."""

    name: str
    url: str


@dataclass(frozen=True)
class Head:
    """All that parts/panel.html needs. `current` is the name of the open tab, `power` a Power value or ""."""

    infrastructure: Infrastructure
    icon: str
    title: str
    current: str
    tabs: tuple[Tab, ...] = ()
    sub: Words = ()
    crumbs: Words = ()
    crumb: str = ""
    """Where one is, if that is not the title."""
    power: str = ""
    previous: Step | None = None
    following: Step | None = None
    close_url: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "close_url", self.infrastructure.get_absolute_url())

    @property
    def net(self) -> str:
        """The kind of network that it is about, in whose colour the icon is; "" for all else."""
        return self.icon.removeprefix("port-") if self.icon.startswith("port-") else ""

    @property
    def page_title(self) -> str:
        """For the browser's tab: "web-data-2 · Snapshots"."""
        return f"{self.title} · {self.current}"


def words(*pieces: str | tuple[str, str]) -> Words:
    """Answers a line of text and links: words("Drive of ", ("web-2", "/…/"), ", iscsi_ssd")."""
    return tuple((piece, "") if isinstance(piece, str) else piece for piece in pieces)
