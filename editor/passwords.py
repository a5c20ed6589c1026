"""Which passwords are kept sealed: those of BMCs, with servers, and those of CHAP, with instances."""

from __future__ import annotations

from editor import sealed
from editor.models import Instance, Server


def any_sealed() -> bool:
    """Whether the database has a password that only the key opens."""
    return Server.objects.exclude(password_sealed="").exists() or Instance.objects.exclude(chap_sealed="").exists()


def sealing_key() -> sealed.Key:
    """Answers the key; a first one is made only while nothing was sealed. Raises SealError."""
    return sealed.Key.read() if any_sealed() else sealed.first_key()
