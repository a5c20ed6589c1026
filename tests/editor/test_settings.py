"""Each reader answers what was set, and says in a sentence what cannot work."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from editor import settings as readers


@pytest.mark.parametrize("value", ["", "30", "86400"])
def test_number_within_its_limits(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SHUTDOWN_SECONDS", value)

    number = readers._number("SHUTDOWN_SECONDS", 120, least=30, most=86400)

    assert number == int(value or 120)


@pytest.mark.parametrize("value", ["29", "86401", "-40", "1e3", "4.5", "²", "soon"])
def test_number_out_of_its_limits_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SHUTDOWN_SECONDS", value)

    with pytest.raises(ImproperlyConfigured) as error:
        readers._number("SHUTDOWN_SECONDS", 120, least=30, most=86400)

    assert str(error.value) == f"SHUTDOWN_SECONDS is '{value}'. Set it to a whole number from 30 to 86400."


@pytest.mark.parametrize(
    "value",
    ["editor.example.org", "ftp://editor.example.org", "https://", "https://a/b", "http://a:99999", "http://[::1"],
)
def test_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PUBLIC_URL", value)

    with pytest.raises(ImproperlyConfigured, match="Set it to an address such as https://editor"):
        readers._address("PUBLIC_URL", "http://127.0.0.1:8000")


@pytest.mark.parametrize("value", ["0.0.0.0:3260", "[::]:3260", "10.0.0.5", "10.0.0.5:80", "san.example.org:3260"])
def test_portal_is_an_address_that_servers_can_connect_to(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ISCSI_PORTAL", value)

    with pytest.raises(ImproperlyConfigured, match=r"Set it to .*, such as 10\.0\.0\.5:3260"):
        readers._portal("ISCSI_PORTAL", "127.0.0.1:13260")


@pytest.mark.parametrize("value", ["10.0.0.5:3260", "[::1]:13260", "[fd00::1]:13260"])
def test_portal_is_taken_as_it_is_written(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ISCSI_PORTAL", value)

    assert readers._portal("ISCSI_PORTAL", "127.0.0.1:13260") == value


def test_exporter_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISCSI_EXPORTER", "lio")

    with pytest.raises(ImproperlyConfigured, match=r"'lio'\. Set it to tgt, or to none if another program serves"):
        readers._exporter("ISCSI_EXPORTER", "tgt")


def test_address_loses_its_last_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC_URL", "https://editor.example.org/")

    assert readers._address("PUBLIC_URL", "") == "https://editor.example.org"


def test_yes_and_no(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {}
    for value in ("1", "true", "0", "no", ""):
        monkeypatch.setenv("DEBUG", value)
        answers[value] = readers._yes("DEBUG")

    assert answers == {"1": True, "true": True, "0": False, "no": False, "": False}


def test_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file" / "data"))

    with pytest.raises(ImproperlyConfigured, match=r"cannot be made: Not a directory\. Set DATA_DIR"):
        readers._folder("DATA_DIR", tmp_path)


def test_secret_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"

    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: readers._secret("NOT_SET", path), range(40)))

    assert len(secrets) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_secret_that_others_can_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    path.write_text("x" * 50)
    path.chmod(0o644)

    assert readers._secret("NOT_SET", path) == "x" * 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_short_and_damaged_secrets_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()
    monkeypatch.setenv("SECRET", "too short")

    with pytest.raises(ImproperlyConfigured, match="SECRET has 9 characters"):
        readers._secret("SECRET", tmp_path / "other")
    with pytest.raises(ImproperlyConfigured, match="secret_key is damaged"):
        readers._secret("NOT_SET", tmp_path / "secret_key")


def test_database_is_sqlite_that_survives_a_power_failure() -> None:
    database = readers._database("")

    assert database["ENGINE"] == "django.db.backends.sqlite3"
    assert database["OPTIONS"] == {
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }


def test_database_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL is not understood"):
        readers._database("oracle9://host/name")


def test_version_of_static_files_follows_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "a.js").write_text("1")
    first = readers._static_version(tmp_path)

    (tmp_path / "js" / "a.js").write_text("2")
    changed = readers._static_version(tmp_path)
    (tmp_path / "js" / "a.js").rename(tmp_path / "js" / "b.js")
    renamed = readers._static_version(tmp_path)

    assert len({first, changed, renamed}) == 3


def test_static_file_is_kept_for_years(client: Client) -> None:
    found = client.get(f"{readers.STATIC_URL}vendor/htmx.min.js")

    assert found.getvalue() == (readers.BASE_DIR / "static/vendor/htmx.min.js").read_bytes()
    assert "immutable" in found.headers["Cache-Control"]
    assert found.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.django_db
def test_page_allows_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/sign-in/")

    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'self'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self' ws://127.0.0.1:8000",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["Permissions-Policy"].startswith("camera=()")
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["X-Frame-Options"] == "DENY"
