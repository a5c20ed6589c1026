"""Changes the layers of a drive while its daemon serves it.

The files are what counts. After a crash at any point, what a daemon started anew would open reads as the drive, and
a daemon that is still at work is brought in line with the files by the next verb (`agree`).

Merging goes in the ways of editor.storage.merge:

- *commit*, when the child holds less, and is not the top: a job of the daemon copies what the child holds into the
  parent, which the child hides meanwhile; what stands on the child keeps naming it. Then the parent's file is renamed
  over the child's. The job does not end by itself: when it outlives us, it waits, and the next verb cancels it.
- *lift*, otherwise: a second export of the child, which copies on read, is read from outside wherever the parent holds
  something; then the child's header is pointed past the parent.

Why not the job `block-stream` for the second: it does not run on what is exported as a writable file, which may be
resized; QEMU 7.2 writes the new header before the tables of what was copied, so a daemon killed there loses data; and
jobs look at every 512 KiB of a drive, however empty (7 s per TiB).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from editor.storage.base import StorageError
from editor.storage.checks import SPARED_PERCENT
from editor.storage.daemon import COPIER, EXPORT, export_options, file_node, file_options, node, node_options
from editor.storage.layers import DriveFolder, Layer, fsync, layer_name
from editor.storage.merge import READ_BYTES, Tools, pieces
from editor.storage.monitor import PROGRAM, Monitor
from editor.storage.programs import DaemonMute, Damaged, ProgramFailed, Stopped

BYTES_PER_SECOND = 64 * 1024 * 1024
"""What a merge or a backup may copy: half of what one hard disk can, so that servers get the other half."""
POLL_SECONDS = 0.01
JOB = "job"
COPY, COPY_FILE = "copy", "copy-file"
LOOKED_AT_PER_COPIED = 2048
"""How many bytes of a drive a job looks at in the time in which it copies one: 7 s per TiB, at BYTES_PER_SECOND."""
BATCH_BYTES = 16 * 1024 * 1024
BATCH_LINES = 1000


class Live:
    """The layers that a daemon has open. `seconds` is how long a job may take to end when it is told to."""

    def __init__(self, folder: DriveFolder, monitor: Monitor, *, seconds: float) -> None:
        self._folder = folder
        self._execute = monitor.execute
        self._seconds = seconds

    def top(self) -> int:
        """The layer that is written to."""
        for export in self._execute("query-block-exports"):
            if export["id"] == EXPORT:
                return _layer(export["node-name"])
        raise Damaged("the daemon serves nothing")

    def put_on_top(self, layer: int, *, onto: int) -> None:
        """Have a new, empty layer written to, instead of `onto`, which is complete and flushed then."""
        self._open(layer, None, top=True)
        self._execute("blockdev-snapshot", {"node": node(onto), "overlay": node(layer)})

    def forget(self, *layers: int) -> None:
        """Close layers; one that is in use, or is not open, is left as it is."""
        self._close(*(name for layer in layers for name in (node(layer), file_node(layer))))

    def settle(self) -> None:
        """End what was at work when we were killed. No content changes."""
        for job in self._execute("query-jobs"):
            self._end(job["id"], "job-cancel")
        self._end_copying()
        self._close(COPY, COPY_FILE)

    def begin_copy(self, name: str) -> None:
        """Begin to put what the top layer itself holds at this moment into an empty image. `settle` gives it up."""
        self._execute("blockdev-add", {"driver": "file", "node-name": COPY_FILE, "filename": name})
        self._execute("blockdev-add", {"driver": "qcow2", "node-name": COPY, "file": COPY_FILE, "backing": None})
        self._begin("blockdev-backup", {"device": node(self.top()), "target": COPY, "sync": "top"})

    def ends_copy(self) -> bool:
        """Whether the copy is whole; it is written out then. Raises Stopped when it was given up."""
        found = [job for job in self._execute("query-jobs") if job["id"] == JOB]
        if not found:
            raise Stopped
        if found[0]["status"] not in {"pending", "concluded"}:
            return False
        said = self._end(JOB, "job-finalize")
        self._close(COPY, COPY_FILE)
        if said:
            raise ProgramFailed(PROGRAM, 1, said)
        return True

    def agree(self) -> frozenset[int]:
        """Bring the daemon in line with the files after a crash of ours; answers the layers of its chain.

        Layers that are not in use any more are closed, those that a merge took out of the chain before the files
        followed are put back, and none but the top can be written.
        """
        chain = [layer.id for layer in self._folder.chain(self.top())]
        self.forget(*self._layers() - {chain[0]})
        if self._layers() != set(chain) or self._writable() != {chain[0]}:
            self._relink(chain)
            self.forget(*self._layers() - set(chain))
        return frozenset(chain)

    def _relink(self, chain: list[int]) -> None:
        known, below = self._layers(), None
        for layer in reversed(chain):
            if layer in known:
                self._reopen(layer, below, top=layer == chain[0])
            else:
                self._open(layer, below, top=False)
            below = layer

    def merge(self, *, parent: Layer, child: Layer, tools: Tools, should_stop: Callable[[], bool]) -> None:
        """Make the file named `child` hold what both held, and `parent` go. Raises Stopped, and what QMP does."""
        top = self.top()
        down = child.id != top and child.held_bytes + child.size_bytes // LOOKED_AT_PER_COPIED < parent.held_bytes
        self._check_room(child.held_bytes if down else parent.held_bytes)
        if not self._folder.is_merging(parent.id):
            self._folder.mark_merging(parent.id)
        if down:
            self._commit(top, parent, child, should_stop)
        else:
            self._lift(parent, child, tools, should_stop, top=child.id == top)

    def _check_room(self, copied_bytes: int) -> None:
        room = shutil.disk_usage(self._folder.path)
        if room.free - copied_bytes < room.total * SPARED_PERCENT / 100:
            raise StorageError(
                "The storage pool has too little room to give back that of deleted snapshots: it is needed twice for a "
                "moment, and servers are writing. Nothing was changed. Free some space in the pool.",
                detail=f"{copied_bytes} bytes are to be copied, {room.free} are free",
            )

    def _commit(self, top: int, parent: Layer, child: Layer, should_stop: Callable[[], bool]) -> None:
        arguments = {
            "device": node(top),
            "top-node": node(child.id),
            "base-node": node(parent.id),
            "backing-file": layer_name(child.id),
        }
        self._run("block-commit", arguments, should_stop)
        fsync(self._folder.file(parent.id))
        os.rename(self._folder.file(parent.id), self._folder.file(child.id))
        fsync(self._folder.path)
        self._folder.tidy()
        self.agree()

    def _lift(self, parent: Layer, child: Layer, tools: Tools, should_stop: Callable[[], bool], *, top: bool) -> None:
        if not top:
            self._reopen(child.id, parent.id, top=True)
        try:
            with self._copier(parent, child):
                for script, length in _batches(_held(tools, parent)):
                    started = time.monotonic()
                    tools.io("-r", "-t", "none", "-f", "raw", COPIER, script=script)
                    while time.monotonic() < started + length / BYTES_PER_SECOND:
                        if should_stop():
                            raise Stopped
                        time.sleep(POLL_SECONDS)
        finally:
            # Also for the flush that goes with it: the tables of what was copied must be written before the header.
            self._reopen(child.id, parent.id, top=top)
        name = "" if parent.parent is None else layer_name(parent.parent)
        arguments = {"device": node(self.top()), "image-node-name": node(child.id), "backing-file": name}
        self._execute("change-backing-file", arguments)
        self._reopen(child.id, parent.parent, top=top)
        fsync(self._folder.file(child.id))
        self.forget(parent.id)
        self._folder.unlink([parent.id])

    @contextlib.contextmanager
    def _copier(self, parent: Layer, child: Layer) -> Iterator[None]:
        """While inside, COPIER is the drive as a file, and what is read there of the parent is stored in the child."""
        os.close(os.open(self._folder.path / COPIER, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        options = {"driver": "copy-on-read", "node-name": COPIER, "file": node(child.id), "bottom": node(parent.id)}
        self._execute("blockdev-add", options)
        try:
            self._execute("block-export-add", export_options(COPIER, COPIER, mountpoint=COPIER, writable=False))
            yield
        finally:
            self._end_copying()

    def _end_copying(self) -> None:
        if any(export["id"] == COPIER for export in self._execute("query-block-exports")):
            self._execute("block-export-del", {"id": COPIER, "mode": "hard"})
            end = time.monotonic() + self._seconds
            while any(export["id"] == COPIER for export in self._execute("query-block-exports")):
                if time.monotonic() >= end:
                    raise DaemonMute("the copying export does not end")
                time.sleep(POLL_SECONDS)
        if COPIER in self._names():
            self._execute("blockdev-del", {"node-name": COPIER})
        (self._folder.path / COPIER).unlink(missing_ok=True)

    # Jobs

    def _run(self, command: str, arguments: dict[str, Any], should_stop: Callable[[], bool]) -> None:
        """Run a job to its end. Raises Stopped; no content has changed then."""
        self._begin(command, arguments)
        while self._job(JOB)["status"] not in {"pending", "concluded"}:
            if should_stop():
                self._end(JOB, "job-cancel")
                raise Stopped
            time.sleep(POLL_SECONDS)
        if said := self._end(JOB, "job-finalize"):
            raise ProgramFailed(PROGRAM, 1, said)

    def _begin(self, command: str, arguments: dict[str, Any]) -> None:
        options = {"job-id": JOB, "speed": BYTES_PER_SECOND, "auto-finalize": False, "auto-dismiss": False}
        self._execute(command, {**arguments, **options})

    def _end(self, job: str, ending: str) -> str:
        """End a job, unless it failed before; answers what it says went wrong, or nothing."""
        end = time.monotonic() + self._seconds
        if self._job(job)["status"] != "concluded":
            self._execute(ending, {"id": job})
        while (found := self._job(job))["status"] != "concluded":
            if time.monotonic() >= end:
                raise DaemonMute(f"job {job} is {found['status']} still")
            time.sleep(POLL_SECONDS)
        self._execute("job-dismiss", {"id": job})
        return str(found.get("error", ""))

    def _job(self, job: str) -> dict[str, Any]:
        for found in self._execute("query-jobs"):
            if found["id"] == job:
                return dict(found)
        raise ProgramFailed(PROGRAM, 1, f"job {job} is gone")

    # Nodes

    def _open(self, layer: int, below: int | None, *, top: bool) -> None:
        self.forget(layer)  # an interrupted attempt may have got as far as the file
        self._execute("blockdev-add", file_options(layer))
        self._execute("blockdev-add", node_options(layer, below, top=top))

    def _reopen(self, layer: int, below: int | None, *, top: bool) -> None:
        self._execute("blockdev-reopen", {"options": [node_options(layer, below, top=top)]})

    def _close(self, *names: str) -> None:
        known = self._names()
        for name in (name for name in names if name in known):
            # Nothing tells whether it is in use but the refusal.
            with contextlib.suppress(ProgramFailed):
                self._execute("blockdev-del", {"node-name": name})

    def _layers(self) -> set[int]:
        return {_layer(name) for name in self._names() if name.startswith(node(0)[:-1])}

    def _writable(self) -> set[int]:
        nodes = {found["node-name"]: found["ro"] for found in self._nodes()}
        return {layer for layer in self._layers() if not nodes[node(layer)]}

    def _names(self) -> set[str]:
        return {found["node-name"] for found in self._nodes()}

    def _nodes(self) -> list[dict[str, Any]]:
        return list(self._execute("query-named-block-nodes", {"flat": True}))


def _held(tools: Tools, layer: Layer) -> Iterator[tuple[int, int]]:
    """Where a layer itself holds something: start and length, in pieces."""
    for extent in json.loads(tools.img("map", "-U", "--output=json", "-f", "qcow2", layer_name(layer.id))):
        if extent["depth"] == 0 and extent["present"]:
            yield from pieces(extent["start"], extent["length"], READ_BYTES)


def _batches(held: Iterable[tuple[int, int]]) -> Iterator[tuple[bytes, int]]:
    """Commands for qemu-io that read so, and how many bytes that are, a batch at a time."""
    lines: list[str] = []
    total = 0
    for start, length in held:
        lines.append(f"read -q {start} {length}")
        total += length
        if total >= BATCH_BYTES or len(lines) >= BATCH_LINES:
            yield "\n".join([*lines, ""]).encode(), total
            lines, total = [], 0
    if lines:
        yield "\n".join([*lines, ""]).encode(), total


def _layer(name: str) -> int:
    return int(name.rpartition("-")[2])
