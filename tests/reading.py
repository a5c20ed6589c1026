"""Reads an answer as a person would: its words, and its controls by the names a screen reader says."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Protocol

_VOID = {"input", "br", "hr", "img", "meta", "link", "use", "path", "circle", "source", "wbr"}
_CONTROLS = {"button", "a", "input", "form"}


@dataclass
class Control:
    """A button, link, field or form. `name` is the accessible name, without what is aria-hidden."""

    tag: str
    attributes: dict[str, str]
    name: str = ""

    @property
    def unavailable(self) -> bool:
        return self.attributes.get("aria-disabled") == "true"


@dataclass
class Page:
    """What is in an answer. `texts` maps the id of an element to the words in it."""

    words: str = ""
    controls: list[Control] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def control(self, name: str) -> Control:
        """Answers the only control of that name; raises AssertionError with those there are."""
        found = [one for one in self.controls if one.name == name]
        assert len(found) == 1, f"{len(found)} controls are named {name!r}: {[one.name for one in self.controls]}"
        return found[0]

    def names(self, tag: str = "button") -> list[str]:
        return [one.name for one in self.controls if one.tag == tag]

    def value(self, element: str) -> str:
        """Answers the value of the field with this id."""
        return next(one for one in self.controls if one.attributes.get("id") == element).attributes.get("value", "")

    def reason(self, name: str) -> str:
        """Answers the words that an unavailable control refers to."""
        return self.texts[self.control(name).attributes["aria-describedby"]]


class Answer(Protocol):
    """Any response with a body."""

    @property
    def content(self) -> bytes: ...


def read(response: Answer) -> Page:
    """Answers the words and controls of a response's HTML."""
    reader = _Reader()
    reader.feed(response.content.decode())
    reader.close()
    page = Page(" ".join("".join(reader.words).split()), [control for control, _ in reader.controls])
    for control, parts in reader.controls:
        own = "" if control.tag == "form" else " ".join("".join(parts).split())
        control.name = control.attributes.get("aria-label") or own
    page.texts = {key: " ".join("".join(parts).split()) for key, parts in reader.texts.items()}
    return page


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.controls: list[tuple[Control, list[str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[tuple[str, dict[str, str], list[str] | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        own: list[str] | None = None
        if tag in _CONTROLS:
            own = []
            self.controls.append((Control(tag, attributes), own))
        if element := attributes.get("id"):
            self.texts[element] = []
        if tag in ("p", "div", "li", "td", "th", "dt", "dd", "h2", "h3", "h4", "button", "small"):
            self.handle_data(" ")
        if tag not in _VOID:
            self._open.append((tag, attributes, own))

    def handle_endtag(self, tag: str) -> None:
        for index in range(len(self._open) - 1, -1, -1):
            if self._open[index][0] == tag:
                del self._open[index:]
                return

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        hidden = any(attributes.get("aria-hidden") == "true" for _, attributes, _ in self._open)
        for _, attributes, own in self._open:
            if own is not None and not hidden:
                own.append(data)
            if element := attributes.get("id"):
                self.texts[element].append(data)
