"""What is kept beside tgtd, which tells no password and forgets everything when it ends.

Files below tgtd's folder; nothing in them must outlive a crash of the machine. Without them targets are made anew.

    targets/<IQN>       the target's number, the device behind its LUN, and what it was made with
    accounts/<user>     a hash of what tgtd was told of the user, and when it was started
    guard               the name of the account that guards targets (see editor.iscsi.tgt)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from editor.storage.base import Device


@dataclass(frozen=True)
class Known:
    """What is kept of a target."""

    tid: int
    device: Device
    made: Made | None = None
    """None until tgtd has made it under that number."""
    withdrawn: bool = False
    """Whether its LUN was taken away. Noted after that was done, and forgotten before it is undone."""


@dataclass(frozen=True)
class Made:
    """How a target was made; none of it changes while it is there."""

    life: str
    """Of the tgtd that has it (see `Daemon.life`): no other target has its number there."""
    initiator: str
    user: str
    serial: str


class Notes:
    """The notes in one folder, which must be there before any is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self, iqn: str) -> Known | None:
        try:
            kept = json.loads(self._target(iqn).read_text())
            backing, name, options = kept["device"]
            device = Device(backing, name, tuple((option, value) for option, value in options))
            made = kept.get("made")
            return Known(int(kept["tid"]), device, made and Made(*made), bool(kept.get("withdrawn")))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def names(self) -> list[str]:
        """The IQNs of all targets that are noted."""
        with contextlib.suppress(FileNotFoundError):
            return [file.name for file in (self._folder / "targets").iterdir() if not file.name.startswith(".")]
        return []

    def remember(self, iqn: str, known: Known) -> None:
        device, made = known.device, known.made
        kept = {
            "tid": known.tid,
            "device": [device.backing, device.name, device.options],
            "made": made and [made.life, made.initiator, made.user, made.serial],
            "withdrawn": known.withdrawn,
        }
        _write(self._target(iqn), json.dumps(kept))

    def forget(self, iqn: str) -> None:
        self._target(iqn).unlink(missing_ok=True)

    def was_told(self, user: str, password: str, life: str) -> bool:
        """Whether the tgtd of this life knows the user by this password."""
        with contextlib.suppress(FileNotFoundError):
            return self._account(user).read_text() == _digest(user, password, life)
        return False

    def is_told(self, user: str, password: str, life: str) -> None:
        _write(self._account(user), _digest(user, password, life))

    def forget_account(self, user: str) -> None:
        self._account(user).unlink(missing_ok=True)

    @property
    def guard(self) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "guard").read_text()
        return None

    @guard.setter
    def guard(self, name: str) -> None:
        _write(self._folder / "guard", name)

    def _target(self, iqn: str) -> Path:
        return self._folder / "targets" / iqn

    def _account(self, user: str) -> Path:
        return self._folder / "accounts" / user


def _digest(user: str, password: str, life: str) -> str:
    # Of 71 random bits or more: nobody tries them all.
    return hashlib.sha256(f"{life} {user} {password}".encode()).hexdigest()


def _write(file: Path, text: str) -> None:
    """Put a file in place whole."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = file.with_name(f".{file.name}")
    with open(fresh, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
        out.write(text)
    fresh.replace(file)
