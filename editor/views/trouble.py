"""What last went wrong with a server or a drive, as its page tells it."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from editor.models import Drive, Server
from editor.words import moment

HEADINGS = {
    "could not send": "Command not sent",
    "could not confirm": "Outcome not known",
    "saw no effect": "No effect",
    "could not create snapshot": "Snapshot not created",
    "could not revert to": "Drive not reverted",
    "could not make the volume of": "Drive not created",
}
"""What a failure is called, by the beginning of its Event's verb."""


@dataclass(frozen=True)
class Trouble:
    """The last failure, until somebody dismisses it."""

    heading: str
    verb: str
    text: str
    detail: str
    at: str


def trouble_of(one: Server | Drive) -> Trouble | None:
    """Answers what last went wrong; None when nothing did, or it was dismissed."""
    event = one.trouble
    if event is None:
        return None
    headings = (said for verb, said in HEADINGS.items() if event.verb.startswith(verb))
    heading = next(headings, "Something needs attention")
    return Trouble(heading, event.verb, event.text, event.detail, f"{moment(event.at)} UTC")


def why_not_served(drive: Drive) -> str:
    """Answers why an attached drive does not reach its server over iSCSI; nothing when it does, or need not.

    Needs its instance.
    """
    is_meant_to = drive.head_layer is not None and drive.instance is not None and drive.instance.server_id is not None
    return drive.export_error if is_meant_to and settings.ISCSI_EXPORTER != "none" else ""
