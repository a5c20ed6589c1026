"""What every storage engine promises.

A drive is a tree of *layers*. Each layer holds what was written while it was on top; the *head* is the layer on top
now, and the drive's content is the head over its parent over its parent's parent. A snapshot is a layer that nobody
writes to any more. Layer ids are positive, grow per drive, are never reused, and are reserved by the caller before a
verb is called.

A drive's size is that of its head. A layer below may be smaller, when the drive has grown since, and reads as zeros
from its end on.

Every verb may be repeated: after a crash at any point, calling it again (or `abandon`) ends in the state it promises.

A drive is *active* while a device of it is open to an iSCSI target (see editor.iscsi). A snapshot may be taken then,
and layers reclaimed; to revert, to grow and to delete it must be inactive. What makes a device active outlives this
process: servers go on reading and writing while the worker is restarted.

Exceptions:

    StorageError        the engine's only exception; `permanent` says whether trying again can help
      UnknownDrive      there is no such drive
      Disturbing        a snapshot would hold up the server for long; with the drive inactive it is made
"""

import abc
import hashlib
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

SECTOR_BYTES = 512
HASH_BLOCK_BYTES = 64 * 1024
MAX_TRANSFER_BYTES = 64 * 1024 * 1024
"""What one `read` or `write` may carry; it is held in memory."""

MAX_DEPTH = 30
"""Layers in the head's chain. Opening a chain is linear in it: 24 ms at 10 layers, 150 to 370 ms at 50 to 100."""


class StorageError(Exception):
    """A storage verb that failed. `str()` is the sentence a user reads: what happened, what is unchanged, what to do.

    `permanent`: the same call cannot succeed later, whatever is repaired around it. `detail`: for support, may be
    long.
    """

    def __init__(self, sentence: str, *, permanent: bool = False, detail: str = "") -> None:
        super().__init__(sentence)
        self.permanent = permanent
        self.detail = detail


class UnknownDrive(StorageError):
    """There is no such drive: permanent, unless the pool's disk is only not mounted."""

    def __init__(self, *, check: str = "the pool's folder is the right one and mounted", detail: str = "") -> None:
        super().__init__(
            f"The drive does not exist in the storage pool. Check that {check}.", permanent=True, detail=detail
        )


class Disturbing(StorageError):
    """A snapshot that would hold up the server for long, refused. When the drive is inactive it is made."""


@dataclass(frozen=True)
class Found:
    """What an audit found of one drive, or of the pool's folder itself (`drive` is None)."""

    drive: int | None
    head: int | None
    layers: frozenset[int]
    strange: tuple[str, ...]
    """One sentence for each thing that does not belong there or is missing."""


@dataclass(frozen=True)
class Device:
    """What an iSCSI target opens to serve a drive."""

    backing: str
    """ "file": `name` is the absolute path of a file or block device. "rbd": `name` is pool/image in Ceph."""
    name: str
    options: tuple[tuple[str, str], ...] = ()
    """For "rbd": "conf" is the path of the cluster's configuration file, "id" the client's name without "client."."""


@dataclass(frozen=True)
class Cluster:
    """Where a pool in Ceph is: a configuration file, who asks, and the RADOS pool of the images."""

    conf: str
    user: str
    """Without "client."; its keyring is found through the configuration file."""
    pool: str


@dataclass(frozen=True)
class Usage:
    """Room in a pool, as whoever keeps its bytes tells: a file system, a cluster."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Check:
    """One thing that a pool needs, and what is wrong with it, in a sentence; None when it works."""

    what: str
    wrong: str | None = None


def never() -> bool:
    """The `should_stop` of callers who want the work to end."""
    return False


def content_hash(size_bytes: int, blocks: Iterable[tuple[int, bytes]]) -> str:
    """Hash a drive's content: SHA-256 over its size and, in ascending order, each block that holds a non-zero byte.

    `blocks` are (offset, content) of aligned blocks of HASH_BLOCK_BYTES (the last may be shorter); offsets not
    mentioned read as zeros. Offset and size enter as 64-bit big-endian numbers. Zero blocks do not count, so equal
    contents have equal hashes however they are spread over layers, and a large, nearly empty drive is hashed quickly.
    """
    digest = hashlib.sha256(struct.pack(">Q", size_bytes))
    for offset, block in blocks:
        if block.count(0) != len(block):
            digest.update(struct.pack(">Q", offset))
            digest.update(block)
    return digest.hexdigest()


class StorageDriver(abc.ABC):
    """One pool of drives. Thread-safe; different drives work in parallel, one drive does one thing at a time.

    Every verb raises StorageError and nothing else. Verbs that change something are durable when they return.
    """

    @abc.abstractmethod
    def create_drive(self, drive: int, *, layer: int, size_bytes: int) -> None:
        """Make an empty drive whose only layer is `layer`. A drive of that id and size is left as it is."""

    @abc.abstractmethod
    def grow(self, drive: int, *, size_bytes: int) -> None:
        """Make the drive larger: what it holds stays, what is new reads as zeros. Constant time.

        Nothing happens when the drive has that size already; a smaller one is refused for good. Snapshots stay as they
        are, and a revert to one from before keeps the size: beyond what the drive had then it reads as zeros.
        """

    @abc.abstractmethod
    def delete_drive(self, drive: int) -> None:
        """Remove a drive and all its layers. An absent drive is fine."""

    @abc.abstractmethod
    def clear(self, drive: int) -> bool:
        """Remove what an unfinished `create_drive` left; answers whether nothing of the drive is there now.

        False, and nothing is removed, when there is such a drive, or data under its name that nobody can have put
        there while it was made.
        """

    @abc.abstractmethod
    def clean(self, *, spare: Collection[int]) -> Iterator[str]:
        """Remove what interrupted verbs left in the pool, and name each thing that is removed, as it goes.

        What a verb would remove that comes to the drive, and what waits to be removed for good; nothing that is, or
        may become, a part of a drive. Drives in `spare` are left alone: somebody is at work on them.
        """

    @abc.abstractmethod
    def head(self, drive: int) -> int:
        """The layer on top. Raises a permanent StorageError for an unknown drive. Takes no lock."""

    @abc.abstractmethod
    def size_bytes(self, drive: int) -> int:
        """The drive's size. Raises a permanent StorageError for an unknown drive. Takes no lock."""

    @abc.abstractmethod
    def layers(self, drive: int) -> frozenset[int]:
        """Layers that exist, complete ones only. Raises for an unknown drive. Takes no lock."""

    @abc.abstractmethod
    def snapshot(self, drive: int, *, frozen: int, new_layer: int) -> None:
        """Freeze the head, which must be `frozen`, under an empty `new_layer`. Constant time.

        Nothing happens when `new_layer` is the head already, on top of `frozen`. Where layers stand on one another it
        is refused beyond MAX_DEPTH of them, until `reclaim` has merged.
        """

    @abc.abstractmethod
    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        """Put an empty `new_layer` on top of `onto` and make it the head. Constant time; no layer goes.

        Nothing happens when `new_layer` is the head already, on top of `onto`. Refused when `onto` is unknown, or
        was given up by `reclaim`.
        """

    @abc.abstractmethod
    def abandon(self, drive: int, *, new_layer: int) -> bool:
        """Undo a snapshot or revert whose head did not move: remove `new_layer` if it is there.

        False when `new_layer` is the head already, so that the caller rolls forward; nothing is undone then.
        """

    @abc.abstractmethod
    def reclaim(
        self,
        drive: int,
        *,
        keep: Collection[int],
        head: int,
        should_stop: Callable[[], bool] = never,
    ) -> bool:
        """Remove layers that are neither kept, nor the head, nor under one of these; merge those in between.

        `head` is the one the caller knows: refused for good when the drive has another, since the caller then does not
        know all that is to be kept. What `keep` names and is not there is ignored. Newest first. Where layers stand on
        one another, one with several children stays until all but one are gone. The contents of kept layers and the
        head never change. Answers True when nothing is left to do, False when it was stopped: by `should_stop` (asked
        at least every 100 ms), or by another verb that wants the drive.
        """

    @abc.abstractmethod
    def written_since(self, drive: int, layers: Collection[int]) -> dict[int, int]:
        """An upper bound of the bytes that differ now from each of `layers`, such as what the layers above it hold.

        Exactly 0 when nothing was written. Layers outside the head's chain are left out. Takes no lock.
        """

    @abc.abstractmethod
    def used_bytes(self, drive: int) -> int:
        """Bytes held by the head's chain. Takes no lock."""

    @abc.abstractmethod
    def read(self, drive: int, *, offset: int, length: int) -> bytes:
        """The drive's content in a window of whole sectors, at most MAX_TRANSFER_BYTES long."""

    @abc.abstractmethod
    def write(self, drive: int, *, offset: int, data: bytes) -> None:
        """Put whole sectors on the drive, at most MAX_TRANSFER_BYTES. Not atomic, as on any disk."""

    @abc.abstractmethod
    def sha256(self, drive: int) -> str:
        """`content_hash` of the whole drive, in hexadecimal."""

    @abc.abstractmethod
    def activate(self, drive: int) -> Device:
        """Open a device of the drive for an iSCSI target; the same one when it is active already and answers.

        One that was left behind by a crash is made anew. What is written to the device and flushed is durable.
        """

    @abc.abstractmethod
    def deactivate(self, drive: int) -> None:
        """Close the drive's device, which nobody may have open any more. An inactive or absent drive is fine.

        What was written to it is durable afterwards.
        """

    @abc.abstractmethod
    def devices(self) -> dict[int, Device]:
        """The active drives whose devices answer. Takes no lock; quick also with a thousand drives."""

    def device(self, drive: int) -> Device | None:
        """What `devices` has of one drive, without asking about the others where that saves time."""
        return self.devices().get(drive)

    @abc.abstractmethod
    def usage(self) -> Usage:
        """Room in the pool."""

    @abc.abstractmethod
    def check(self) -> list[Check]:
        """Tries what the pool needs: programs, folder, permissions, features. Changes no drive."""

    @abc.abstractmethod
    def audit(self) -> list[Found]:
        """Drives found in the pool, by id, then the pool itself if something in it is strange. Only reads, no lock."""

    def missing_programs(self) -> str | None:
        """The sentence naming what must be installed before this engine works, or None."""
        return None
