"""Finds the tgtd of a folder, starts one when there is none, and says in a sentence what is wrong with it.

It is nobody's child for long: it goes on when we end, and the next process finds it by its socket. All of it is in one
folder that only its user may enter:

    socket.0            its management socket (see editor.iscsi.tgt.socket); socket.0.lock keeps a second tgtd away
    lock                held by whoever changes something
    tgtd.log, tgtd.pid  for people

It is never killed: who listens on the socket is asked to end. (What it does with its arguments: usr/tgtd.c and
usr/iscsi/iscsid.c of https://github.com/fujita/tgt.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from editor.iscsi.base import ExportError
from editor.iscsi.tgt import portals, replies
from editor.iscsi.tgt.socket import (
    ALL_TARGETS,
    SOCKET,
    Code,
    HungUp,
    Mode,
    NoAnswer,
    NotRunning,
    Op,
    Said,
    TgtError,
    peer,
    send,
)

PROGRAM = "tgtd"
LOG = "tgtd.log"
LOG_BYTES = 8 * 1024 * 1024
"""Above this it is emptied: tgtd writes a line for each failed read or write, without end."""
THREADS_PER_LUN = 1
"""Of 16, which is tgtd's own choice, a thousand drives would have 16,000."""
NOP_SECONDS, NOP_COUNT = 5, 4
"""An initiator that does not answer is dropped after 25 s: asked every 5 s, it may miss four."""
START_SECONDS = 10.0
END_SECONDS = 5.0
ANSWER_SECONDS = 5.0
CEPH_LIMITS = "--client_mount_timeout=10 --rados_mon_op_timeout=10"
"""tgtd does nothing else while it opens an image: without these, 5 minutes when the cluster does not answer."""
CEPH_THRIFT = "--ms_async_op_threads=1 --log_max_recent=1 --debug_monc=0/0"
"""Each image is a client of its own, which asks for one thing at a time: one thread for its connections, not three,
halves its file descriptors; without the log that librados keeps for a crash it takes a third less memory, and sleeps
while nobody uses it."""
RETRY_SECONDS = 0.01
STATE_UNKNOWN = "It is not known whether it did what it was asked; asking again does no harm."


def program_path() -> str | None:
    """Where tgtd is: ordinary users do not have /usr/sbin in their path."""
    return shutil.which(PROGRAM, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


class Daemon:
    """The tgtd of one folder. `portal` is where it listens for initiators."""

    def __init__(self, folder: Path, portal: str) -> None:
        self.folder = folder.absolute()
        self.portal = portal
        self.seconds = ANSWER_SECONDS
        """How long a request may take."""
        self._gate = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._settled = ""

    # What others use

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else, in no process, changes anything meanwhile. Makes the folder. Raises ExportError."""
        end = time.monotonic() + 2 * START_SECONDS
        if not self._gate.acquire(timeout=2 * START_SECONDS):
            raise _busy()
        try:
            self._make_folder()
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _flock(descriptor, end)
                yield
            finally:
                os.close(descriptor)
        finally:
            self._gate.release()

    def ask(self, mode: Mode, op: Op, *, tid: int = ALL_TARGETS, **parameters: str) -> str:
        """As `socket.send`. `parameters` go in their order, an underscore in their names for a hyphen."""
        text = ",".join(f"{name.replace('_', '-')}={value}" for name, value in parameters.items())
        return self.send(mode, op, text, tid=tid)

    def ask_unless(self, fine: Code, mode: Mode, op: Op, *, tid: int = ALL_TARGETS, **parameters: str) -> None:
        """Ask; the answer that it is so already is fine."""
        try:
            self.ask(mode, op, tid=tid, **parameters)
        except Said as error:
            if error.code != fine:
                raise

    def send(
        self, mode: Mode, op: Op, text: str, *, tid: int = ALL_TARGETS, lun: int = 0, seconds: float | None = None
    ) -> str:
        """As `socket.send`; a tgtd that ends instead of answering is not running."""
        try:
            return send(self.folder, mode, op, text, tid=tid, lun=lun, seconds=seconds or self.seconds)
        except HungUp as error:
            if _ends(error.pid, self.seconds):
                raise NotRunning(str(error)) from error
            raise

    def life(self) -> str | None:
        """What tells one run of tgtd from every other; None when none runs. Raises NoAnswer."""
        try:
            pid = peer(self.folder, seconds=self.seconds)
        except NotRunning:
            self._reap()
            return None
        # Since when it runs, in ticks since the machine was started: the 22nd word, after a name that may hold spaces.
        try:
            started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return f"{boot} {pid} {started}"

    def is_settled(self, life: str | None) -> bool:
        """Whether the tgtd of this life was seen to listen where it should; one that does not run needs not."""
        return life in {None, self._settled}

    def run(self) -> str:
        """Start tgtd unless it runs, see that it listens where it should, and answer its `life`. Under `held`."""
        life = self.life()
        if life is None:
            life = self._start()
        elif self._settled != life:
            _demand_same_mounts(int(life.split()[1]))
            self._settle()
        self._settled = life
        # Somebody may have been killed while stopping it.
        self.ask(Mode.SYSTEM, Op.UPDATE, State="ready")
        self._trim_log()
        return life

    def end(self) -> None:
        """Have a tgtd without targets end, and wait for it. Under `held`. Raises ExportError when it does not end."""
        pid = peer(self.folder, seconds=self.seconds)
        self.ask(Mode.SYSTEM, Op.DELETE)
        ended = _ends(pid, END_SECONDS)
        self._reap()
        if not ended:
            raise ExportError("The iSCSI target tgtd was asked to end and has not. It serves nothing any more.")

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what goes wrong inside into an ExportError."""
        try:
            yield
        except NotRunning as error:
            raise ExportError(
                "The iSCSI target tgtd has stopped. No drive is served until it is started again, "
                "which the next attempt to serve one does.",
                detail=self._with_log(error),
            ) from error
        except NoAnswer as error:
            raise ExportError(
                f"The iSCSI target tgtd does not answer. {STATE_UNKNOWN} Check that process and its log, "
                f"{self.folder / LOG}.",
                detail=self._with_log(error),
            ) from error
        except Said as error:
            raise ExportError(
                f"The iSCSI target tgtd could not do this. {STATE_UNKNOWN} Its log says more: {self.folder / LOG}",
                detail=self._with_log(error),
            ) from error
        except replies.Unreadable as error:
            raise ExportError(
                "What the iSCSI target tgtd says cannot be understood. Nothing was changed. "
                "Check that its version is 1.0.85 or newer and that nobody else uses it.",
                detail=str(error),
            ) from error
        except OSError as error:
            raise ExportError(
                f"The folder of the iSCSI target tgtd cannot be used: {os.strerror(error.errno or errno.EIO)}. "
                f"{STATE_UNKNOWN} Check {self.folder}, then try again.",
                detail=str(error),
            ) from error

    # Starting

    def _start(self) -> str:
        program = program_path()
        if program is None:
            raise ExportError(missing_sentence() or "")
        portals.demand_free(self.portal)
        with open(self.folder / LOG, "ab", opener=_private) as log:
            self._child = subprocess.Popen(
                # Options after a portal that cannot be had are not read.
                [
                    *(program, "-f", "-t", str(THREADS_PER_LUN), "--iscsi"),
                    f"nop_interval={NOP_SECONDS},nop_count={NOP_COUNT},portal={self.portal}",
                ],
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=0o077,
                # Neither Ctrl-C in our terminal nor its end is meant for it.
                start_new_session=True,
            )
        _allow_all_files(self._child.pid)
        life = self._wait_for(self._child)
        # When its portal was taken at this very moment it listens everywhere instead, at port 3260.
        if self._portals() != {portals.normal(self.portal)}:
            self.end()
            raise portals.taken(self.portal, self._with_log("tgtd could not listen there"))
        with open(self.folder / "tgtd.pid", "w", opener=_private) as file:
            file.write(f"{life.split()[1]}\n")
        return life

    def _wait_for(self, child: subprocess.Popen[bytes]) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            ended = child.poll() is not None
            with contextlib.suppress(TgtError):
                life = self.life()
                self.ask(Mode.PORTAL, Op.SHOW)
                if life is not None:
                    return life
            if ended:
                break
            time.sleep(RETRY_SECONDS)
        else:
            child.kill()
        raise ExportError(
            f"The iSCSI target tgtd ended as soon as it was started. No drive is served. "
            f"Its log says why: {self.folder / LOG}",
            detail=self._with_log("it was started and did not answer"),
        )

    def _settle(self) -> None:
        """Let a tgtd that was started for another portal listen at ours only."""
        wanted = portals.normal(self.portal)
        found = self._portals()
        if wanted not in found:
            portals.demand_free(self.portal)
            try:
                self.ask(Mode.PORTAL, Op.NEW, portal=self.portal)
            except Said as error:
                raise portals.taken(self.portal, self._with_log(error)) from error
        for portal in found - {wanted}:
            self.ask(Mode.PORTAL, Op.DELETE, portal=portal)

    def _portals(self) -> frozenset[str]:
        return replies.portals(self.ask(Mode.PORTAL, Op.SHOW))

    # The folder

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.folder.stat()
        if found.st_uid != os.geteuid():
            raise ExportError(
                f"The folder of the iSCSI target, {self.folder}, belongs to another user. Nothing was changed. "
                "Start the product as that user, or give the folder to this one.",
                detail=f"it belongs to {found.st_uid}, this is {os.geteuid()}",
            )
        if found.st_mode & 0o077:
            self.folder.chmod(0o700)

    def _trim_log(self) -> None:
        log = self.folder / LOG
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size > LOG_BYTES:
                # tgtd appends: it goes on at the new end.
                os.truncate(log, 0)

    def _with_log(self, what: object) -> str:
        """What happened and the last lines of the log, for support."""
        try:
            with (self.folder / LOG).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 1500))
                lines = log.read().decode(errors="replace").splitlines()[-10:]
        except OSError:
            lines = []
        return "\n".join([str(what), *lines])

    def _reap(self) -> None:
        """Let a child that ended go; only its parent can."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None


def _demand_same_mounts(pid: int) -> None:
    """Refuse a tgtd that sees other mounts than we: under the names of devices it would find empty files."""
    try:
        same = Path(f"/proc/{pid}/ns/mnt").samefile("/proc/self/ns/mnt")
    except OSError:
        return  # it has just ended, or does not tell us
    if not same:
        raise ExportError(
            "The iSCSI target tgtd was started where other file systems are mounted than here, as by a systemd unit "
            "with PrivateTmp or ProtectSystem. What it serves was left as it is. "
            "Take such settings from the unit, shut the servers down, and end tgtd: manage.py exports stop",
            detail=f"process {pid} is in another mount namespace",
        )


def missing_sentence() -> str | None:
    """The sentence naming the package of tgtd, unless it is installed."""
    if program_path() is not None:
        return None
    return "tgtd is not installed, so no drive can be served. Install the package tgt: apt-get install tgt"


def _environment() -> dict[str, str]:
    """What tgtd needs of ours: none of our secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "CEPH_CONF") if name in os.environ}
    ceph = f"{os.environ.get('CEPH_ARGS', '')} {CEPH_LIMITS} {CEPH_THRIFT}".strip()
    return {**kept, "LC_ALL": "C", "TGT_IPC_SOCKET": SOCKET, "CEPH_ARGS": ceph}


def _allow_all_files(pid: int) -> None:
    """Let a process open as many files as it may: a system's usual 1024 are too few for a thousand drives."""
    with contextlib.suppress(ProcessLookupError):  # it has ended, as will be seen
        _now, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _ends(pid: int, seconds: float) -> bool:
    """Whether the process has ended, or does so in time."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)


def _flock(descriptor: int, end: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise _busy() from None
            time.sleep(RETRY_SECONDS)
        else:
            return


def _busy() -> ExportError:
    return ExportError(
        "The iSCSI target is busy with another operation. Nothing was changed. Try again in a minute.",
        detail="the lock is held",
    )
