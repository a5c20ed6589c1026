"""Passwords that the database keeps without being able to read them: sealed with a key from outside of it.

The key is a line in settings.SECRETS_KEY_FILE, or in `secrets.key` under DATA_DIR, where it is made when the first
password is sealed. More lines are older keys, which still open what was sealed with them. No backup has it.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from editor.storage.layers import fsync


class SealError(Exception):
    """A password cannot be sealed or read. Its text is a sentence for anybody; `detail` names the file."""

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.detail = detail


def key_file() -> Path:
    """Answers where the key is, or will be."""
    path: Path | None = settings.SECRETS_KEY_FILE
    return path or settings.DATA_DIR / "secrets.key"


@dataclass(frozen=True)
class Key:
    """The key as it is in the file at one moment. `first` seals; all of them open."""

    _fernet: MultiFernet

    @classmethod
    def read(cls) -> Key:
        """Raises SealError when there is none, or none that can be used."""
        path = key_file()
        try:
            lines = path.read_text("ascii").split()
        except FileNotFoundError as error:
            raise SealError(
                "The key to the sealed passwords is missing. An administrator must put it back.", f"{error}"
            ) from error
        except (OSError, ValueError) as error:
            raise SealError(
                "The key to the sealed passwords cannot be read. An administrator must look at its file.",
                f"{path}: {error}",
            ) from error
        try:
            return cls(MultiFernet([Fernet(line) for line in lines]))
        except ValueError as error:
            raise SealError(
                "The key to the sealed passwords is damaged. An administrator must put back a copy of it.",
                f"{path}: {error}",
            ) from error

    def seal(self, text: str) -> str:
        """Answers what may be stored; another one each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """Answers the text. Raises SealError when another key sealed it."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as error:
            raise SealError(
                "The password was sealed with another key. An administrator must put that key back, or run "
                "“manage.py rekey” and give a new password.",
                f"{key_file()} does not open it",
            ) from error


def make_key(*, first: bool = False) -> None:
    """Puts a new key in front of those there are, for its owner only. Raises SealError when that cannot be written.

    With `first`, a key that somebody else has just made is left as it is.

    What is no key is left out, and kept beside in a file that ends in `.damaged`. Of two processes that make the first
    key at once, both go on with the same.
    """
    path = key_file()
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        found = path.read_bytes() if path.exists() else None
        if first and found is not None:
            return
        older = [line for line in (found or b"").split() if _is_key(line)]
        if found is not None and older != found.split():
            os.link(path, path.with_name(f"{path.name}-{secrets.token_hex(4)}.damaged"))
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(b"".join(line + b"\n" for line in (Fernet.generate_key(), *older)))
            file.flush()
            os.fsync(file.fileno())
        try:
            if found is not None:
                draft.replace(path)
            else:
                # Of two first keys only one may count: passwords are sealed with it at once.
                os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)
        fsync(path.parent)
    except OSError as error:
        raise SealError(
            "The key to the sealed passwords cannot be written. Make its folder writable, or make the file yourself.",
            f"{error}",
        ) from error


def _is_key(line: bytes) -> bool:
    try:
        Fernet(line)
    except ValueError:
        return False
    return True


def first_key() -> Key:
    """Answers the key, made now if there is none. Only for when nothing was sealed yet: that replaces no lost key."""
    if not key_file().exists():
        make_key(first=True)
    return Key.read()


def is_open(text: str) -> bool:
    """Whether the key there is opens what was sealed."""
    try:
        Key.read().unseal(text)
    except SealError:
        return False
    return True
