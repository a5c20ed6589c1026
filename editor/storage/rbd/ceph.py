"""Connections to Ceph clusters, with a limit on every wait, and what went wrong there as a sentence.

librados and librbd are Debian's: python3-rados and python3-rbd are compiled for the distribution's Python and are not
on PyPI. They are loaded from where the distribution keeps them, these two modules and nothing beside them.

Exceptions, turned into StorageError by `explained`:

    Missing     the libraries are not there, or are of another Python; its text is the sentence
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

_loading = threading.Lock()


class Missing(Exception):
    """The libraries of Ceph cannot be loaded; the text is a sentence."""


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


class Connection:
    """One connection to one pool of a cluster, made when it is needed and made anew when the cluster gave it up.

    `seconds`: how long to wait for each answer of a monitor or an OSD. Raises Missing and OSErrors of the libraries.
    """

    def __init__(self, cluster: Cluster, *, seconds: float) -> None:
        self.cluster = cluster
        self._seconds = seconds
        self._lock = threading.Lock()
        self._handle: Any = None
        self._pool: Any = None

    @contextlib.contextmanager
    def pool(self) -> Iterator[Any]:
        """Gives the pool, a `rados.Ioctx`."""
        with self._lock:
            if self._pool is None:
                self._connect()
            pool = self._pool
        try:
            yield pool
        except Exception as error:
            # Blocklisted, as whoever kept an image locked and did not answer: this connection is never heard again.
            if _code(error) == errno.ESHUTDOWN:
                self._forget(pool)
            raise

    def handle(self) -> Any:
        """The connection itself, a `rados.Rados`."""
        with self.pool():
            return self._handle

    def close(self) -> None:
        """Close the connection; the next `pool` makes another."""
        with self._lock:
            if self._handle is not None:
                self._pool.close()
                self._handle.shutdown()
            self._handle = self._pool = None

    def _forget(self, pool: Any) -> None:
        with self._lock:
            if self._pool is pool:
                # Not closed: other threads may be inside it. Whoever lets go of it last closes it.
                self._handle = self._pool = None

    def _connect(self) -> None:
        library = rados()
        rbd()
        conf = self.cluster.conf
        with open(conf, "rb"):  # says more plainly than librados what is wrong with it
            pass
        seconds = f"{self._seconds:g}"
        whole = f"{max(1, round(self._seconds))}"
        limits = {
            "client_mount_timeout": whole,
            "rados_mon_op_timeout": seconds,
            "rados_osd_op_timeout": seconds,
            # Clones that need no protected snapshot, and outlive it.
            "rbd_default_clone_format": "2",
            "admin_socket": "",
            "log_to_stderr": "false",
            "err_to_stderr": "false",
        }
        handle = library.Rados(conffile=conf, rados_id=self.cluster.user, conf=limits)
        try:
            handle.connect(timeout=int(whole))
            self._pool = handle.open_ioctx(self.cluster.pool)
        except BaseException:
            handle.shutdown()
            raise
        self._handle = handle


def _code(error: BaseException) -> int:
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
    code = _code(error)
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
    "Another program has an image of this drive open.",
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
        "The Ceph pool {cluster.pool}, the user client.{cluster.user}, or what was looked for in it does not exist.",
        "Check the storage pool's settings; if they are right, try again.",
    ),
    errno.EIO: ("The Ceph cluster reports errors of its disks.", "Check its health: ceph health detail"),
}
