"""Sets the environment of the tests before Django reads it: a data folder and a database of their own.

TEST_DATABASE=postgresql runs them on a PostgreSQL that is started for this run, instead of SQLite.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

import hypothesis
import pytest
from pytest_django import DjangoDbBlocker, Settings

from tests import postgresql


def _set_environment() -> None:
    is_postgresql = os.environ.get("TEST_DATABASE") == "postgresql"
    # SQLite waits for the disk at each commit, in each of thousands of transactions.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() and not is_postgresql else None
    folder = Path(tempfile.mkdtemp(prefix="editor-tests-", dir=memory))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in (
        *("ALLOWED_HOSTS", "DATABASE_URL", "DEBUG", "EMBEDDED_WORKER", "EVENT_DAYS", "FORWARDED_ALLOW_IPS"),
        *("ISCSI_PORTAL", "IQN_PREFIX", "PORT", "PUBLIC_URL", "SECRET_KEY", "SECRETS_KEY_FILE", "SHUTDOWN_SECONDS"),
    ):
        os.environ.pop(name, None)
    os.environ["DATA_DIR"] = str(folder / "data")
    os.environ["ISCSI_EXPORTER"] = "none"  # tests that serve drives say so, and stop what serves them
    os.environ["DJANGO_SETTINGS_MODULE"] = "editor.settings"
    if is_postgresql:
        os.environ["DATABASE_URL"] = postgresql.start(folder / "postgresql")


# The settings are imported as soon as pytest-django starts, before any fixture: the folder must be there by then. The
# processes of pytest-xdist are given this environment; each makes databases of its own there.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _set_environment()

import django  # noqa: E402 - only now
from django.conf import settings  # noqa: E402

# A tenth of the time of all tests went into looking for cycles that nobody misses the memory of.
gc.set_threshold(200_000)

# A machine that is busy with something else makes no test wrong.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Passwords of test users protect nothing, and a good hash takes a quarter of a second each.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Else every test client lists all static files before its first request.
settings.WHITENOISE_AUTOREFRESH = True
django.setup()

from django.db import connection  # noqa: E402 - only now
from django.db.migrations.loader import MigrationLoader  # noqa: E402 - only now
from django.db.migrations.recorder import MigrationRecorder  # noqa: E402 - only now

from tests.killing import Points  # noqa: E402 - only now

ON_ONE_DATABASE = (
    *("actions", "admin", "backup", "commands", "crashes", "demo", "estimate"),
    *("page", "random", "served", "settings", "stopped", "undo", "urls", "views"),
)
UNITS = ("contracts", "editor", "snapshots")
WHOLE = (
    *("admin", "backup", "commands", "demo", "page", "serve", "urls", "views"),  # from the outside
    *("deployer", "estimate", "stopped"),  # whole deploys, from the drawing to what is real
    "upgrades",  # all migrations
    *("looking", "strange"),  # a worker that passes again and again over what it does not expect
    *("at_once", "concurrency", "random", "together"),  # many at a time, in any order
    *("crash", "leftovers", "live", "qcow2_power"),  # killed at any point, and while it is written to
)
"""What else is asked for here as a whole is no unit: it is left out of `make test TESTS="-m unit"`."""


def _has_units(path: Path) -> bool:
    return path.parent.name in UNITS and not any(word in path.stem for word in WHOLE)


def _is_for_lab(path: Path) -> bool:
    """On emulated machines, or on a Ceph cluster that is started for it."""
    return path.parent.name == "lab" or "rbd" in path.stem


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> Literal[True] | None:
    """Modules of which no test would be chosen are not read, which each process would do for seconds."""
    chosen = config.option.markexpr
    if collection_path.parent == Path(__file__).parent and collection_path.is_dir():
        return True if chosen == "unit" and collection_path.name not in UNITS else None
    if collection_path.name.startswith("test_") and collection_path.suffix == ".py":
        if chosen == "unit" and not _has_units(collection_path):
            return True
        if chosen in {"unit", "not lab"} and _is_for_lab(collection_path):
            return True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Actions, worker and live updates run on PostgreSQL as well.

    Pages do not: they only read what those wrote. Nor do modules that ask the same actions once more, or that mark the
    few tests of theirs that a database could fail.
    """
    for item in items:
        if _is_for_lab(item.path):
            item.add_marker("lab")
        asks_pages = "client" in getattr(item, "fixturenames", ())
        if _has_units(item.path) and not asks_pages and not item.get_closest_marker("lab"):
            item.add_marker("unit")
        on_one = any(word in item.path.stem for word in ON_ONE_DATABASE)
        # What qcow2 does is the same whatever database asks for it.
        on_one = on_one or "[qcow2]" in item.name
        if item.get_closest_marker("django_db") and not on_one:
            item.add_marker("postgres")


@pytest.fixture(scope="session")
def django_db_use_migrations() -> bool:
    """Whether migrations make the tables: that takes as long as fifty tests, in each process.

    On SQLite the models make them. That both make the same is checked by `makemigrations --check`, and what migrations
    do to rows by test_upgrades; all walks in a browser begin with them.
    """
    return connection.vendor != "sqlite"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_use_migrations: bool, django_db_blocker: DjangoDbBlocker) -> None:
    """The database says of itself that all migrations ran, as backups and restores ask."""
    if django_db_use_migrations:
        return
    settings.MIGRATION_MODULES = {}  # pytest-django hides them, to have the models make the tables
    with django_db_blocker.unblock():
        recorder = MigrationRecorder(connection)
        recorder.ensure_schema()
        for app, name in MigrationLoader(None).disk_migrations or ():
            recorder.record_applied(app, name)


def pytest_collection_finish() -> None:
    # What is there by now stays: pytest looks for cycles again and again before it ends.
    gc.freeze()


def pytest_report_header() -> str:
    engine = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
    return f"database: {engine}"


@pytest.fixture(autouse=True)
def _drives_of_their_own(settings: Settings, tmp_path: Path) -> None:
    """Drives and machines of one test are not there in the next; the database file stays where it is."""
    settings.DATA_DIR = tmp_path


@pytest.fixture(autouse=True)
def _moments_are_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two readings of a machine that stands still."""
    monkeypatch.setattr("editor.servers.MOMENT_SECONDS", 0)


@pytest.fixture(params=[pytest.param(3, id="sample"), pytest.param(1, id="all", marks=pytest.mark.lab)])
def points(request: pytest.FixtureRequest) -> Points:
    """Where tests kill what can be killed at many points."""
    return Points(request.param)
