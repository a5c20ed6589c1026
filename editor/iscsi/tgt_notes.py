"""What is kept beside tgtd, which tells no password and forgets everything when it ends.

Files below tgtd's folder; nothing in them must outlive a crash of the machine. Without them targets are made anew.

    targets/<IQN>       the target's number, and the device behind its LUN
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


class Notes:
    """The notes in one folder, which must be there before any is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self, iqn: str) -> Known | None:
        try:
            kept = json.loads(self._target(iqn).read_text())
            backing, name, options = kept["device"]
            return Known(int(kept["tid"]), Device(backing, name, tuple((option, value) for option, value in options)))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def names(self) -> list[str]:
        """The IQNs of all targets that are noted."""
        with contextlib.suppress(FileNotFoundError):
            return [file.name for file in (self._folder / "targets").iterdir() if not file.name.startswith(".")]
        return []

    def remember(self, iqn: str, known: Known) -> None:
        device = known.device
        _write(
            self._target(iqn), json.dumps({"tid": known.tid, "device": [device.backing, device.name, device.options]})
        )

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
