"""Connections to Ceph clusters, with a limit on every wait, and what went wrong there as a sentence.

librados and librbd are Debian's: python3-rados and python3-rbd are compiled for the distribution's Python and are not
on PyPI. They are loaded from where the distribution keeps them, these two modules and nothing beside them.

Exceptions, turned into StorageError by `explained`:

    Missing     the libraries, the user or the pool are not there; its text is the sentence
    OSError of rados and rbd, with an errno as the system's
"""

import contextlib
import errno
import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from editor.storage.base import Cluster, StorageError

UNCHANGED = "Nothing on the drive was changed."
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
FOLDERS = (
    "/usr/lib/python3/dist-packages",
    f"/usr/lib64/python{VERSION}/site-packages",
    f"/usr/lib/python{VERSION}/site-packages",
)
"""Where Debian, and the other distributions, keep modules of their own Python."""

OUTLIVED = {errno.ESHUTDOWN, errno.ETIMEDOUT, errno.EROFS}
"""After which a new connection is made. The first: Ceph has shut this one out. The others: an image may be locked by
this connection itself, in a handle that could not give the lock back while OSDs were silent. Nobody can break a lock
of his own; a new client can, once the old one's watch has run out."""

_loading = threading.Lock()


class Missing(Exception):
    """Something that it takes to reach a pool is not there; the text says what, in a sentence."""


@functools.cache
def rados() -> Any:
    """The module `rados`. Raises Missing."""
    return _load("rados", "python3-rados")


@functools.cache
def rbd() -> Any:
    """The module `rbd`. Raises Missing."""
    rados()  # which it was compiled against, and imports by this name
    return _load("rbd", "python3-rbd")


def missing_sentence() -> str | None:
    """The sentence naming the packages to install, or None when both modules are there."""
    try:
        rbd()
    except Missing as error:
        return str(error)
    return None


def _load(name: str, package: str) -> ModuleType:
    with _loading:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(name)  # an environment that sees the distribution's packages
        found = importlib.machinery.PathFinder.find_spec(name, FOLDERS)
        if found is None or found.loader is None:
            raise Missing(_why_not(name, package))
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module
        try:
            found.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, ImportError):
                raise Missing(f"Python's module {name} could not be loaded: {error}.") from error
            raise
        return module


def _why_not(name: str, package: str) -> str:
    others = [file for folder in FOLDERS if Path(folder).is_dir() for file in Path(folder).glob(f"{name}.*.so")]
    if others:
        return (
            f"{package} is of another Python than this one, which is {VERSION}: {others[0].name}. "
            "Run the product with the Python of the distribution."
        )
    return f"{package} is not installed. Install both packages: apt-get install python3-rados python3-rbd"


@dataclass
class _Session:
    """What is connected, and how many are inside it."""

    handle: Any
    pool: Any
    users: int = 0
    over: bool = False

    def close(self) -> None:
        self.pool.close()
        self.handle.shutdown()


class Connection:
    """A connection to one pool of a cluster, made when it is needed and made anew when it may be of no use any more.

    `seconds`: how long to wait for each answer of a monitor or an OSD, at least one. Raises Missing and OSErrors of the
    libraries.
    """

    def __init__(self, cluster: Cluster, *, seconds: float) -> None:
        self.cluster = cluster
        self.seconds = max(1, round(seconds))
        self._lock = threading.Lock()
        self._session: _Session | None = None

    @contextlib.contextmanager
    def pool(self) -> Iterator[Any]:
        """Gives the pool, a `rados.Ioctx`."""
        with self._inside() as session:
            yield session.pool

    @contextlib.contextmanager
    def handle(self) -> Iterator[Any]:
        """Gives the connection itself, a `rados.Rados`."""
        with self._inside() as session:
            yield session.handle

    def close(self) -> None:
        """Close the connection, when the last who is inside it has left; the next `pool` makes another."""
        with self._lock:
            self._retire(self._session)

    @contextlib.contextmanager
    def _inside(self) -> Iterator[_Session]:
        with self._lock:
            if self._session is None:
                self._session = self._connect()
            session = self._session
            session.users += 1
        try:
            yield session
        except Exception as error:
            if code_of(error) in OUTLIVED:
                with self._lock:
                    self._retire(session)
            raise
        finally:
            with self._lock:
                session.users -= 1
                if session.over and not session.users:
                    session.close()

    def _retire(self, session: _Session | None) -> None:
        if session is None or session.over:
            return
        session.over = True
        if self._session is session:
            self._session = None
        if not session.users:
            session.close()

    def _connect(self) -> _Session:
        library = rados()
        rbd()
        conf = self.cluster.conf
        with open(conf, "rb"):  # says more plainly than librados what is wrong with it
            pass
        limits = {
            "client_mount_timeout": str(self.seconds),
            "rados_mon_op_timeout": str(self.seconds),
            "rados_osd_op_timeout": str(self.seconds),
            # Clones that need no protected snapshot, and outlive it.
            "rbd_default_clone_format": "2",
            "admin_socket": "",
            "log_to_stderr": "false",
            "err_to_stderr": "false",
        }
        user, name = self.cluster.user, self.cluster.pool
        handle = library.Rados(conffile=conf, rados_id=user, conf=limits)
        try:
            try:
                handle.connect(timeout=self.seconds)
            except library.ObjectNotFound as error:
                raise Missing(
                    f"There is no keyring of client.{user} where {conf} says, or the Ceph cluster does not know it. "
                    f"Make the user, and name its keyring in the section [client.{user}] of that file."
                ) from error
            try:
                pool = handle.open_ioctx(name)
            except library.ObjectNotFound as error:
                raise Missing(
                    f"There is no pool {name} in the Ceph cluster. Check the storage pool's settings."
                ) from error
            # In a full cluster: say so instead of waiting, and let what frees room through.
            pool.set_osdmap_full_try()
            return _Session(handle, pool)
        except BaseException:
            handle.shutdown()
            raise


def code_of(error: BaseException) -> int:
    """The errno of an error of the libraries, or of the system; 0 when it has none."""
    found = getattr(error, "errno", None)
    return abs(found) if isinstance(found, int) else 0


@contextlib.contextmanager
def explained(cluster: Cluster, state: str = UNCHANGED) -> Iterator[None]:
    """Turn what goes wrong inside into a StorageError; `state` is the sentence saying what is unchanged."""
    try:
        yield
    except StorageError:
        raise
    except Missing as error:
        raise StorageError(f"{error} {state}") from error
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__ in {"rados", "rbd"}:
            what, then = why(cluster, error)
            raise StorageError(f"{what} {state} {then}", detail=f"{type(error).__name__}: {error}") from error
        raise


def why(cluster: Cluster, error: BaseException) -> tuple[str, str]:
    """What an error of the libraries means, and what to do: two sentences."""
    code = code_of(error)
    if isinstance(error, OSError):  # of the system, not of the libraries
        if error.filename == cluster.conf:
            return (
                f"The Ceph configuration {cluster.conf} cannot be read: {os.strerror(code)}.",
                "Check its path and permissions in the settings of the storage pool.",
            )
        return "The storage pool's folder cannot be used.", "Check its permissions and its disk, then try again."
    told = _TOLD.get(code)
    if told is None:
        return "The Ceph cluster could not do this.", "Try again; if it fails again, ask whoever runs the cluster."
    return tuple(sentence.format(cluster=cluster) for sentence in told)  # type: ignore[return-value]


_FULL = ("The Ceph pool {cluster.pool} is full.", "Free some space in the cluster, then try again.")
_REFUSED = (
    "The Ceph cluster does not allow client.{cluster.user} to do this.",
    "Check its keyring and its rights: mon 'profile rbd', osd 'profile rbd pool={cluster.pool}'.",
)
_SILENT = (
    "The Ceph cluster did not answer in time.",
    "Check that its monitors and OSDs run and can be reached, then try again.",
)
_TAKEN = (
    "Another program has an image of this drive open, or locked.",
    "If it was killed, Ceph waits half a minute for it: try again then.",
)
_TOLD = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EPERM: _REFUSED,
    errno.EACCES: _REFUSED,
    errno.ETIMEDOUT: _SILENT,
    errno.ENOTCONN: _SILENT,
    errno.EHOSTUNREACH: _SILENT,
    errno.ECONNREFUSED: _SILENT,
    errno.EINTR: _SILENT,
    errno.EBUSY: _TAKEN,
    errno.EROFS: _TAKEN,
    errno.EAGAIN: _TAKEN,
    errno.ESHUTDOWN: (
        "The Ceph cluster has shut this client out, because it did not answer in time.",
        "Try again: a new connection is made.",
    ),
    errno.ENOENT: (
        "Something that belongs to this drive is not in the Ceph pool {cluster.pool} any more.",
        "Look at the drive again.",
    ),
    errno.EIO: ("The Ceph cluster reports errors of its disks.", "Check its health: ceph health detail"),
}
