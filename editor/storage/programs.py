"""Runs qemu-img and qemu-io, and says in a sentence what went wrong.

Exceptions, turned into StorageError by `explained`:

    ProgramFailed       it ended with an error
      ProgramHung       it did not end in time and was killed
    ProgramMissing      it is not installed
    DaemonMute          the daemon that serves a drive does not answer
    Damaged             a file is not what its name says
    Stopped             somebody wanted it to stop (not an error; never reaches `explained`)
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from editor.storage.base import StorageError

POLL_SECONDS = 0.05
SAID_BYTES = 4000
PACKAGES = {"qemu-storage-daemon": "qemu-system-common", "fusermount3": "fuse3", "": "qemu-utils"}
"""What Debian calls the package of a program, by how its name ends; the first that fits."""
UNCHANGED = "Nothing on the drive was changed."


class ProgramFailed(Exception):
    """A program that ended with an error; `status` as in subprocess, `said` is its standard error."""

    def __init__(self, program: str, status: int, said: str) -> None:
        super().__init__(f"{program} ended with status {status}: {said}")
        self.program = program
        self.status = status
        self.said = said


class ProgramHung(ProgramFailed):
    """A program that was killed because it did not end in time."""


class ProgramMissing(Exception):
    """A program that is not installed."""


class DaemonMute(Exception):
    """The daemon that serves a drive did not answer in time, or hung up: what became of a command is not known."""


class Damaged(Exception):
    """A layer or pointer that is not what it should be."""


class Stopped(Exception):
    """`should_stop` said so; the program was killed."""


class Tool(Protocol):
    """A program bound to a drive's folder and lock."""

    def __call__(self, *arguments: str, script: bytes = b"") -> bytes:
        """Run it; raises as `run` does."""


def missing_sentence(*programs: str) -> str | None:
    """The sentence naming the packages of the programs that are not installed, or None when all are."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    packages = sorted({_package(program) for program in missing})
    return (
        f"{' and '.join(Path(program).name for program in missing)} {verb} not installed. "
        f"Install the package{'s' * (len(packages) > 1)} {' and '.join(packages)}: apt-get install {' '.join(packages)}"
    )


def _package(program: str) -> str:
    return next(package for name, package in PACKAGES.items() if program.endswith(name))


def run(
    program: str,
    *arguments: str,
    folder: Path,
    lock: int | None = None,
    seconds: float | None = None,
    script: bytes = b"",
    should_stop: Callable[[], bool] | None = None,
) -> bytes:
    """Run a program in `folder` and answer its standard output.

    `lock` is a descriptor that the child inherits, so that the drive stays locked as long as the child lives, even
    when we are killed. `script` is its standard input. With `should_stop` it runs at low priority, is asked every 50
    ms and raises Stopped; then the child is dead. Names in `arguments` are relative to `folder`, so that no path is
    taken for a URL.
    """
    path = shutil.which(program)
    if path is None:
        raise ProgramMissing(program)
    process = subprocess.Popen(
        [*(_low_priority() if should_stop else []), path, *arguments],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.PIPE if script else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=() if lock is None else (lock,),
        # A group of its own: Ctrl-C in our terminal does not reach it, and killing it reaches what it started.
        start_new_session=True,
    )
    try:
        output, said = _wait(process, program, script or None, seconds, should_stop)
    except BaseException:
        _kill(process)
        raise
    if process.returncode != 0:
        # qemu-io says on its standard output what went wrong with a command.
        said = b"\n".join((said, output[-SAID_BYTES:]))
        raise ProgramFailed(program, process.returncode, said.decode(errors="replace").strip())
    return output


def _low_priority() -> list[str]:
    """Words before a command that make it yield to everybody else; all replace themselves by the command.

    It also ends with the thread that waits for it: a merge may be killed at any point, and one that outlived a killed
    worker would hold the drive for as long as it takes, with nobody to stop it.
    """
    words = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    if shutil.which("nice") and shutil.which("ionice"):
        words += ["nice", "-n", "19", "ionice", "-t", "-c", "3"]
    return words


def _wait(
    process: subprocess.Popen[bytes],
    program: str,
    script: bytes | None,
    seconds: float | None,
    should_stop: Callable[[], bool] | None,
) -> tuple[bytes, bytes]:
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        if should_stop is not None and should_stop():
            raise Stopped
        left = None if end is None else max(0.0, end - time.monotonic())
        turn = left if should_stop is None else min(POLL_SECONDS, POLL_SECONDS if left is None else left)
        try:
            return process.communicate(script, timeout=turn)
        except subprocess.TimeoutExpired:
            script = None  # communicate goes on with the first call's
            if end is not None and time.monotonic() >= end:
                raise ProgramHung(program, -signal.SIGKILL, f"no answer within {seconds:g} s") from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child's group. Neither program handles SIGTERM, so nothing gentler would be gentler."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # A child stuck in the kernel cannot be waited for. It keeps the drive's lock, so nobody meets it half done.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


@contextlib.contextmanager
def explained(state: str = UNCHANGED) -> Iterator[None]:
    """Turn what goes wrong inside into a StorageError; `state` is the sentence saying what is unchanged."""
    try:
        yield
    except ProgramMissing as error:
        sentence = missing_sentence(str(error)) or f"{error} could not be started"
        raise StorageError(f"{sentence}. {state}", detail=str(error)) from error
    except ProgramHung as error:
        name = Path(error.program).name
        raise StorageError(
            f"The storage program {name} did not answer in time and was stopped. {state} "
            "Check that the storage pool's disk responds, then try again.",
            detail=str(error),
        ) from error
    except DaemonMute as error:
        raise StorageError(
            f"The storage daemon that serves this drive does not answer. {state} "
            "Check that the storage pool's disk responds, then try again.",
            detail=str(error),
        ) from error
    except Damaged as error:
        raise _damaged(state, str(error)) from error
    except ProgramFailed as error:
        raise _explain(error.said, error.status, state, str(error)) from error
    except OSError as error:
        raise _explain(os.strerror(error.errno) if error.errno else "", 0, state, str(error)) from error


def _damaged(state: str, detail: str) -> StorageError:
    return StorageError(
        f"The stored data of this drive is damaged. {state} Restore the drive from a backup.",
        permanent=True,
        detail=detail,
    )


def _explain(said: str, status: int, state: str, detail: str) -> StorageError:
    """What `said` means. The system's words are English: children run with LC_ALL=C, Python sets no such locale."""

    def tells(*codes: int) -> bool:
        return any(os.strerror(code) in said for code in codes)

    too_large = "image size is too large" in said  # how qemu-img create puts a file size limit (EFBIG)
    if tells(errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or status == -signal.SIGXFSZ or too_large:
        what, then = "The storage pool is full.", "Free some space in the pool, then try again."
    elif tells(errno.EROFS, errno.EACCES, errno.EPERM):
        what = "The storage pool cannot be written to."
        then = "Check the permissions of its folder and that its disk is not mounted read-only, then try again."
    elif tells(errno.EIO):
        what, then = "The storage pool's disk reports errors.", "Check that disk, then try again."
    elif "corrupt" in said.lower() or "not in qcow2 format" in said:
        return _damaged(state, detail)
    else:
        what, then = "The storage pool could not do this.", "Try again; if it fails again, ask whoever runs the pool."
    return StorageError(f"{what} {state} {then}", detail=detail)
