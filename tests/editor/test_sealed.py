"""Sealed passwords: opened with their key only, and a key that is gone says so in a sentence."""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_django import Settings

from editor import sealed

PASSWORD = 'correct horse; "battery" ü'


def test_what_was_sealed_is_opened_and_looks_different_each_time() -> None:
    key = sealed.first_key()

    first, second = key.seal(PASSWORD), key.seal(PASSWORD)

    assert (sealed.Key.read().unseal(first), sealed.Key.read().unseal(second)) == (PASSWORD, PASSWORD)
    assert first != second
    assert "horse" not in first


def test_key_is_made_once_and_for_its_owner_only() -> None:
    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(lambda _: sealed.first_key(), range(4)))

    assert {key.unseal(keys[0].seal(PASSWORD)) for key in keys} == {PASSWORD}
    assert stat.S_IMODE(sealed.key_file().stat().st_mode) == 0o600
    assert [path.name for path in sealed.key_file().parent.iterdir()] == ["secrets.key"]


def test_key_is_where_the_setting_says(settings: Settings, tmp_path: Path) -> None:
    settings.SECRETS_KEY_FILE = tmp_path / "elsewhere.key"

    sealed.first_key()

    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere.key"]


def test_older_keys_still_open_and_the_newest_seals() -> None:
    old = sealed.first_key().seal(PASSWORD)

    sealed.make_key()
    new = sealed.Key.read().seal(PASSWORD)

    assert [sealed.Key.read().unseal(one) for one in (old, new)] == [PASSWORD, PASSWORD]
    lines = sealed.key_file().read_text().split()
    sealed.key_file().write_text(lines[0])
    assert sealed.Key.read().unseal(new) == PASSWORD
    with pytest.raises(sealed.SealError, match="sealed with another key"):
        sealed.Key.read().unseal(old)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda path: path.unlink(), "The key to the sealed passwords is missing."),
        (lambda path: (path.unlink(), path.mkdir()), "The key to the sealed passwords cannot be read."),
        (lambda path: path.write_bytes(b"\xff\xfe"), "The key to the sealed passwords cannot be read."),
        (lambda path: path.write_text("short"), "The key to the sealed passwords is damaged."),
        (lambda path: path.write_text(""), "The key to the sealed passwords is damaged."),
    ],
    ids=["missing", "unreadable", "binary", "damaged", "empty"],
)
def test_key_that_cannot_be_used_is_told_without_its_place(harm: Callable[[Path], object], sentence: str) -> None:
    sealed.first_key()
    harm(sealed.key_file())

    with pytest.raises(sealed.SealError) as error:
        sealed.Key.read()

    assert str(error.value).startswith(sentence)
    assert str(sealed.key_file()) not in str(error.value)
    assert str(sealed.key_file()) in error.value.detail


def test_new_key_puts_aside_what_is_none() -> None:
    text = sealed.first_key().seal(PASSWORD)
    whole = sealed.key_file().read_text()
    sealed.key_file().write_text(f"# a remark\n{whole}")
    assert not sealed.is_open(text)

    sealed.make_key()

    assert sealed.is_open(text)
    names = sorted(path.suffix for path in sealed.key_file().parent.iterdir())
    assert names == [".damaged", ".key"]


def test_key_that_cannot_be_written_is_told(settings: Settings, tmp_path: Path) -> None:
    settings.SECRETS_KEY_FILE = tmp_path / "no folder" / "secrets.key"

    with pytest.raises(sealed.SealError, match=r"cannot be written\. Make its folder writable"):
        sealed.first_key()
