"""The lock that makes one worker the only one of its installation.

The operating system (SQLite) or the database (PostgreSQL) frees it when the worker dies.
"""

from __future__ import annotations

import abc
import fcntl
import logging
import os

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

log = logging.getLogger(__name__)

# Any fixed number serves, as long as nothing else in the database uses the same.
WORKER_LOCK = 0x574F524B


class Lock(abc.ABC):
    """Held by the one worker of an installation."""

    @abc.abstractmethod
    def is_held(self) -> bool:
        """Whether it is still ours; asked before each pass."""

    @abc.abstractmethod
    def release(self) -> None:
        """Lets another worker have it."""


def worker_lock() -> Lock | None:
    """Takes the installation's worker lock; answers None when another worker has it."""
    return _DatabaseLock.take() if connection.vendor == "postgresql" else _FileLock.take()


class _FileLock(Lock):
    """An flock(2) on a file in DATA_DIR: the system frees it with the process, however that ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls) -> _FileLock | None:
        descriptor = os.open(settings.DATA_DIR / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def is_held(self) -> bool:
        return True

    def release(self) -> None:
        os.close(self._descriptor)


class _DatabaseLock(Lock):
    """A PostgreSQL session-level advisory lock on a connection of its own."""

    def __init__(self, session: BaseDatabaseWrapper) -> None:
        self._session = session

    @classmethod
    def take(cls) -> _DatabaseLock | None:
        session = connections.create_connection("default")
        try:
            with session.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [WORKER_LOCK])
                (mine,) = cursor.fetchone() or (False,)
        except DatabaseError:
            log.exception("The database did not answer when the worker asked for its lock.")
            mine = False
        if not mine:
            session.close()
            return None
        return cls(session)

    def is_held(self) -> bool:
        """Whether the session that holds the lock still lives; a lost connection has lost the lock."""
        return self._session.connection is not None and self._session.is_usable()

    def release(self) -> None:
        self._session.close()
