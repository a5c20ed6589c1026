"""Power cuts at any moment, also while drives are served: what a disk holds is set aside, and looked at afterwards.

The disk is a file on XFS, which copies it as it is between two writes (FICLONE). What the file system on it, QEMU or
we had only in memory is not in the copy. The cache of a real disk is: that it is flushed where it must be is the file
system's work, not ours. Nothing is written to the disk because time passes: a test is over before that.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from editor.storage.reflink import FICLONE

from .file_systems import MIB, mounted

MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q")}
OPTIONS = {"ext4": "noatime,data=ordered,commit=600", "xfs": "noatime,nouuid"}
ENVIRONMENT = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
PERIOD_SECONDS = 0.1


@dataclass(frozen=True)
class Moment:
    """What was on the disk, and what was flushed just before and written just after."""

    what: str
    image: Path
    flushed: int
    begun: int


@dataclass
class Machine:
    """A file system that can lose its power at any moment."""

    type: str
    image: Path
    point: Path
    flushed: Callable[[], int] = lambda: 0
    """How far one has got who writes to a drive, and flushes."""
    begun: Callable[[], int] = lambda: 0
    moments: list[Moment] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pool(self) -> Path:
        return self.point / "pool"

    def set_aside(self, what: str) -> Moment:
        """Keep what is on the disk now."""
        with self.lock:  # so that they are in order
            copy = self.image.with_name(f"moment-{len(self.moments)}")
            flushed = self.flushed()
            with self.image.open("rb") as now, copy.open("wb") as then:
                fcntl.ioctl(then, FICLONE, now.fileno())
            self.moments.append(Moment(what, copy, flushed, self.begun()))
            return self.moments[-1]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Sets aside again and again what is on the disk, and once more at the end."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(PERIOD_SECONDS):
                self.set_aside("in between")

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()
        self.set_aside("done")

    @contextmanager
    def mounted(self, image: Path, point: Path) -> Iterator[None]:
        point.mkdir(exist_ok=True)
        words = ["mount", "-t", self.type, "-o", f"loop,{OPTIONS[self.type]}", str(image), str(point)]
        subprocess.run(words, capture_output=True, check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", str(point)], capture_output=True, check=True, timeout=60)

    @contextmanager
    def restarted(self, moment: Moment) -> Iterator[Path]:
        """The pool as it is found when the power is back."""
        point = self.point.with_name("restarted")
        with self.mounted(moment.image, point):
            yield point / "pool"
        moment.image.unlink()

    def restarts(self) -> Iterator[tuple[Moment, Path]]:
        """Each moment that was set aside, and the pool as it is found then."""
        for moment in self.moments:
            with self.restarted(moment) as pool:
                yield moment, pool


@contextmanager
def machine(file_system: str) -> Iterator[Machine]:
    """A new one, with an empty pool. Skips the test where none can be made."""
    with mounted("reflink", 2048 * MIB) as outside:
        made = Machine(file_system, outside.point / "disk", outside.image.with_name("a machine"))
        with made.image.open("wb") as file:
            file.truncate(320 * MIB)
        subprocess.run([*MAKE[file_system], str(made.image)], capture_output=True, check=True, env=ENVIRONMENT)
        with made.mounted(made.image, made.point):
            made.pool.mkdir()
            subprocess.run(["sync", "--file-system", str(made.point)], check=True)
            yield made
