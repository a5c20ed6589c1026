"""What the verbs of the qcow2 engine do besides, when a drive is active: its daemon is told, asked, or spared."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from editor.storage.base import Device, StorageError
from editor.storage.content import Image, of_layer
from editor.storage.daemon import DEVICE, Daemon, mounted_devices, why_not_fuse
from editor.storage.layers import DriveFolder, fsync, layer_name, parents, read_layer
from editor.storage.live import Live
from editor.storage.monitor import PROGRAM
from editor.storage.programs import UNCHANGED, DaemonMute, Damaged, ProgramFailed, ProgramHung, explained, run
from editor.storage.sentences import in_use, taken
from editor.storage.tree import children

NOT_SERVED = "The drive is not served."
UNKNOWN = "Whether the snapshot was made is not known yet, and is found out when the daemon answers."
IN_OTHER_HANDS = "The drive is being read by another program, such as a backup."
LOCKED = 'Failed to get "write" lock'
STILL_SERVED = "The drive is still served, and nothing on it was changed."
DEATH_SECONDS = 1
"""From the end of a dying daemon's connection to that of its process."""


class Serving:
    """The daemons of a pool's drives. `seconds` is how long each may take to answer, to start and to end."""

    def __init__(self, pool: Path, *, program: str = PROGRAM, seconds: float) -> None:
        self._pool = pool
        self._program = program
        self._seconds = seconds

    def daemon(self, folder: DriveFolder) -> Daemon:
        """The drive's daemon, running or not."""
        return Daemon(folder.path, program=self._program, seconds=self._seconds)

    def refuse(self, folder: DriveFolder) -> None:
        """Raise `in_use` while the drive is active."""
        if self.daemon(folder).is_running():
            raise in_use(folder.drive)

    def bury(self, folder: DriveFolder) -> None:
        """Remove what a daemon that died left in the folder; refused while one lives."""
        self.refuse(folder)
        self.daemon(folder).clean()

    def devices(self) -> dict[int, Device]:
        """By the list of mounts, and the lock that a living daemon holds: microseconds per drive, no conversation."""
        pool = os.path.realpath(self._pool)
        pattern = re.compile(rf"{re.escape(pool)}/drive-([1-9][0-9]*)/{DEVICE}", re.ASCII)
        found = sorted(int(match[1]) for path in mounted_devices() if (match := pattern.fullmatch(path)))
        daemons = {drive: self.daemon(DriveFolder(self._pool, drive)) for drive in found}
        return {drive: _device(daemon) for drive, daemon in daemons.items() if daemon.is_running()}

    def device(self, folder: DriveFolder) -> Device | None:
        """What `devices` has of one drive."""
        daemon = self.daemon(folder)
        return _device(daemon) if daemon.is_running() and daemon.is_mounted() else None

    def activate(self, folder: DriveFolder, lock: int) -> Device:
        """Start the drive's daemon, unless it runs and answers."""
        daemon = self.daemon(folder)
        with explained(NOT_SERVED):
            if daemon.is_running() and self._answers(folder, daemon):
                if daemon.is_mounted():
                    return _device(daemon)
                daemon.stop()  # somebody unmounted the device
            if sentence := why_not_fuse():
                raise StorageError(f"{sentence} {NOT_SERVED}")
            if daemon.has_died():
                self._give_back(folder, lock)
            try:
                daemon.start(folder.chain(folder.head()))
            except ProgramFailed as error:
                if LOCKED in error.said:
                    raise StorageError(f"{IN_OTHER_HANDS} {NOT_SERVED} Try again later.", detail=error.said) from error
                raise
        return _device(daemon)

    def _answers(self, folder: DriveFolder, daemon: Daemon) -> bool:
        """Whether a running daemon serves; False when it has ended meanwhile. Raises DaemonMute when it hangs."""
        try:
            daemon.wait_until_ready()
            with self.live(folder) as live:
                return live is not None
        except (DaemonMute, ProgramFailed):
            if daemon.ends_within(DEATH_SECONDS):
                return False
            raise

    def _give_back(self, folder: DriveFolder, lock: int) -> None:
        """Have clusters that a daemon took and had not used when it died counted as free; if that is quickly done."""
        below = parents(folder.tree())
        merged = {layer for layer in below if folder.is_merging(layer)}
        for layer in {folder.head(), *merged, *(above for above in below if below[above] in merged)}:
            words = ("check", "-q", "-r", "leaks", "-f", "qcow2", layer_name(layer))
            with contextlib.suppress(ProgramFailed):  # then they stay; no content is touched
                run("qemu-img", *words, folder=folder.path, lock=lock, seconds=self._seconds)

    def deactivate(self, folder: DriveFolder) -> None:
        """End the drive's daemon; what was written to it is durable then."""
        daemon = self.daemon(folder)
        with explained(STILL_SERVED):
            # If it does not answer, or files are damaged, the pointer counts, as when it dies.
            with contextlib.suppress(Damaged, DaemonMute, ProgramFailed), self.live(folder) as live:
                if live and self._is_ahead(live, folder, folder.head()):
                    self._take_back(live, folder, folder.head())
            daemon.stop()
            for layer in folder.layer_ids():
                fsync(folder.file(layer))
            fsync(folder.path)

    @contextlib.contextmanager
    def live(self, folder: DriveFolder, *, settled: bool = True) -> Iterator[Live | None]:
        """The layers in the drive's daemon, or None when it is inactive. Unless `settled`, jobs are left at work."""
        daemon = self.daemon(folder)
        if not daemon.is_running():
            yield None
            return
        with daemon.monitor() as monitor:
            live = Live(folder, monitor, seconds=self._seconds)
            if settled:
                live.settle()
            yield live

    def image(self, folder: DriveFolder) -> Image:
        """What the drive's content is read from and written to, so that it is the one that servers see."""
        return Image("raw", DEVICE) if self.daemon(folder).is_running() else of_layer(folder.head())

    def flush(self, folder: DriveFolder) -> None:
        """Have what was written to an active drive counted in its layers. Takes no lock."""
        daemon = self.daemon(folder)
        if not daemon.is_running():
            return
        try:
            # A program, because it can be stopped: the device of a daemon that hangs would hold us for ever.
            run("sync", DEVICE, folder=folder.path, seconds=self._seconds)
        except ProgramHung as error:
            raise DaemonMute(error.said) from error
        except ProgramFailed:
            if daemon.is_running():
                raise

    def follow(self, live: Live, folder: DriveFolder, *, onto: int, layer: int) -> None:
        """Have the daemon write to the layer that the head points at already, or point it back at `onto`."""
        try:
            if live.top() != layer:
                live.put_on_top(layer, onto=onto)
        except ProgramFailed:
            with explained(UNKNOWN):
                if live.top() == layer:
                    return
                self._take_back(live, folder, layer)
            with explained(UNCHANGED):
                raise
        except DaemonMute:
            # If it died, no more comes: `onto` is complete, and what is opened next is the new layer.
            if not self.daemon(folder).ends_within(DEATH_SECONDS):
                with explained(UNKNOWN):
                    raise

    def take_back(self, folder: DriveFolder, layer: int) -> bool:
        """Undo a snapshot that the head points at but the daemon did not follow. False when there is none such."""
        with self.live(folder) as live:
            if live is None or not self._is_ahead(live, folder, layer):
                return False
            self._take_back(live, folder, layer)
            return True

    def _is_ahead(self, live: Live, folder: DriveFolder, layer: int) -> bool:
        return folder.head() == layer and live.top() == read_layer(folder.file(layer)).parent

    def _take_back(self, live: Live, folder: DriveFolder, layer: int) -> None:
        tree = folder.tree()
        below = tree[layer].parent
        if below is None or tree[layer].held_bytes or children(parents(tree), layer):
            raise taken(layer)
        folder.point_head(below)
        fsync(folder.path)
        live.forget(layer)
        folder.unlink([layer])


def _device(daemon: Daemon) -> Device:
    return Device("file", str(daemon.device))
