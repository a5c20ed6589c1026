"""Looks at the files of the qcow2 engine from outside, and breaks off its verbs at any point."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from editor.storage.qcow2 import Qcow2Storage
from tests.killing import Points

from .storage import BLOCK, DRIVE, SIZE, Disk

Popen = subprocess.Popen
PROGRAMS = ("qemu-img", "qemu-io", "qemu-storage-daemon", "fusermount3", "sync")
CHANGES = ("mkdir", "rename", "replace", "rmdir", "symlink", "unlink")

Marks = Mapping[int, int]
"""Block to the byte value it is full of."""

TRUTH: dict[int, Marks] = {
    1: {0: 1, 1: 1, 2: 0, 3: 0},
    2: {0: 2, 1: 1, 2: 2, 3: 0, 7: 0},
    3: {0: 3, 1: 1, 2: 2, 3: 0, 63: 0},
}
"""What the layers of `prepared` read as; 3 is the head."""


def prepared(pool: Path) -> Qcow2Storage:
    """A pool whose drive has two snapshots, and grew after each. Layer 2 holds as much as 1, and more than 3."""
    shutil.copytree(_prepared_once(), pool, symlinks=True, dirs_exist_ok=True)
    return Qcow2Storage(pool)


@cache
def _prepared_once() -> Path:
    """Made by the engine itself, once in a process: a dozen programs are started for it."""
    pool = Path(tempfile.mkdtemp(prefix="prepared-"))
    atexit.register(shutil.rmtree, pool, ignore_errors=True)
    driver = Qcow2Storage(pool)
    disk = Disk(driver, size_bytes=4 * BLOCK)
    disk.put(1)
    disk.put(1, block=1)
    disk.snapshot()
    disk.grow(8 * BLOCK)
    disk.put(2)
    disk.put(2, block=2)
    disk.snapshot()
    disk.grow(SIZE)
    disk.put(3)
    return pool


def copied(pool: Path, to: Path) -> Path:
    shutil.copytree(pool, to, symlinks=True)
    return to


def assert_layers_read(pool: Path, expected: Mapping[int, Marks]) -> None:
    """Asks QEMU itself, in one process, what layers read as, whatever our driver thinks of them."""
    commands: list[str] = []
    for layer, marks in expected.items():
        commands += ["-c", f"open -r -o driver=qcow2 layer-{layer}.qcow2"]
        for block, mark in marks.items():
            commands += ["-c", f"read -q -P {mark} {block * BLOCK} {BLOCK}"]
        commands += ["-c", "close"]
    asked = subprocess.run(
        ["qemu-io", *commands], cwd=pool / f"drive-{DRIVE}", capture_output=True, text=True, check=False
    )
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")


def assert_tidy(pool: Path, layers: set[int], *, check: bool = False) -> None:
    """Nothing but these layers is there; when checked, no image has errors or clusters it does not use."""
    folder = pool / f"drive-{DRIVE}"
    names = {f"layer-{layer}.qcow2" for layer in layers}
    assert {path.name for path in folder.iterdir()} == {"lock", "head", *names}
    for name in names if check else ():
        checked = subprocess.run(["qemu-img", "check", "-q", name], cwd=folder, capture_output=True, check=False)
        assert checked.returncode == 0


class PowerCut(BaseException):
    """Ends a verb where a crash would: nothing handles it."""


@dataclass
class Effects:
    """Counts what a verb does to the disk, and breaks it off at one of these effects.

    `how`: "before" the effect, "after" it (a started program lives on, as after kill -9 of ours), or "killed" (after
    it, and a started program dies at once too). `told` hears of each effect just before it.
    """

    at: int | None = None
    how: str = "before"
    seen: list[str] = field(default_factory=list)
    orphans: list[subprocess.Popen[bytes]] = field(default_factory=list)
    dead: bool = False
    told: Callable[[str], object] = str

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not (len(arguments) > 1 and arguments[1] & os.O_CREAT):
                return real(*arguments, **options)
            if self.dead:
                raise PowerCut
            self.seen.append(_told(name, arguments))
            self.told(self.seen[-1])
            stopping = len(self.seen) - 1 == self.at
            if stopping and self.how == "before":
                self.dead = True
                raise PowerCut
            try:
                result = real(*arguments, **options)
            except OSError:
                if not stopping:
                    raise
                result = None
            if stopping:
                self.dead = True
                if isinstance(result, Popen):
                    self.orphans.append(result)
                elif name == "open" and result is not None:
                    os.close(result)
                raise PowerCut
            return result

        return effect

    def bury(self) -> None:
        """Let started programs end: their standard input ends as it does when we die."""
        for orphan in self.orphans:
            if self.how == "killed":
                orphan.kill()
            for pipe in (orphan.stdin, orphan.stdout, orphan.stderr):
                if pipe is not None:
                    pipe.close()
            orphan.wait()


def _told(name: str, arguments: tuple[Any, ...]) -> str:
    """An effect in words, such as "fsync layer-2.qcow2"."""
    if name == "fsync":
        return f"fsync {Path(f'/proc/self/fd/{arguments[0]}').readlink().name}"
    if name == "Popen":
        words = [word for word in arguments[0] if word.endswith(PROGRAMS)]
        position = arguments[0].index(words[0])
        return f"{Path(words[0]).name} {arguments[0][position + 1]}"
    return f"{name} {Path(arguments[-1] if name in {'rename', 'replace', 'symlink'} else arguments[0]).name}"


@contextmanager
def effects(at: int | None = None, how: str = "before", *, told: Callable[[str], object] = str) -> Iterator[Effects]:
    """Watches, and breaks off, what is done inside. Ends quietly when it was broken off."""
    watch = Effects(at, how, told=told)
    with pytest.MonkeyPatch.context() as patch:
        for name in (*CHANGES, "fsync", "open"):
            patch.setattr(os, name, watch.wrap(name, getattr(os, name)))
        patch.setattr(subprocess, "Popen", watch.wrap("Popen", Popen))
        with suppress(PowerCut):
            yield watch
    watch.bury()


def crashes(pool: Path, verb: Callable[[Qcow2Storage], object], scratch: Path, points: Points) -> Iterator[Path]:
    """For each of the points at which the verb can be broken off: a copy of the pool as it was left then.

    What stands before an effect is what the one before it left, unless that was a program, which may be at work still.
    """
    unbroken = copied(pool, scratch / "whole")
    with effects() as whole:
        verb(Qcow2Storage(unbroken))
    assert whole.seen
    ways: list[tuple[int, str]] = []
    after_program = True
    for at, effect in enumerate(whole.seen):
        is_program = effect.startswith("qemu")
        ways += [(at, how) for how in ["before"] * after_program + ["after"] + ["killed"] * is_program]
        after_program = is_program
    for at, how in points.of(ways):
        left = copied(pool, scratch / f"{at}-{how}")
        with effects(at, how) as broken:
            verb(Qcow2Storage(left))
        assert broken.dead is True
        yield left
        shutil.rmtree(left)
