"""Reads what a drive holds, through qemu-img.

`qemu-img convert` from a window of the image, because `qemu-io` prints bytes as text only and `qemu-img dd` goes
through empty space block by block. The window lands in a temporary file outside the pool, which may be full.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from editor.storage.base import HASH_BLOCK_BYTES, MAX_TRANSFER_BYTES
from editor.storage.layers import layer_name
from editor.storage.programs import Tool


@dataclass(frozen=True)
class Image:
    """Something QEMU can open in a drive's folder: its format, and the file."""

    format: str
    file: str

    def options(self, prefix: str = "") -> str:
        """As `--image-opts` wants it. Unlocked, since a device is open to those who serve it."""
        words = {"driver": self.format, "file.driver": "file", "file.filename": self.file}
        if self.format == "raw":
            words["file.locking"] = "off"
        return ",".join(f"{prefix}{word}={value}" for word, value in words.items())


def of_layer(layer: int) -> Image:
    """What a layer and all under it read as."""
    return Image("qcow2", layer_name(layer))


@contextlib.contextmanager
def window(qemu_img: Tool, image: Image, offset: int, length: int) -> Iterator[Path]:
    """A sparse file with a window of what an image reads as."""
    options = f"driver=raw,offset={offset},size={length},{image.options('file.')}"
    with tempfile.TemporaryDirectory(prefix="drive-") as scratch:
        path = Path(scratch, "window")
        qemu_img("convert", "-q", "--image-opts", options, "-O", "raw", str(path))
        yield path


def held_blocks(qemu_img: Tool, image: Image, size_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Offset and content of the blocks that some layer holds, in order, for `base.content_hash`."""
    extents = json.loads(qemu_img("map", "--output=json", "--image-opts", image.options()))
    held = [(extent["start"], extent["start"] + extent["length"]) for extent in extents if extent["data"]]
    for offsets in _windows(held):
        start = offsets[0]
        end = min(offsets[-1] + HASH_BLOCK_BYTES, size_bytes)
        with window(qemu_img, image, start, end - start) as path, path.open("rb") as file:
            for offset in offsets:
                file.seek(offset - start)
                yield offset, file.read(HASH_BLOCK_BYTES)


def _windows(extents: list[tuple[int, int]]) -> Iterator[list[int]]:
    """Offsets of the blocks that the extents touch, ascending, at most MAX_TRANSFER_BYTES of them at a time."""
    offsets: list[int] = []
    following = 0
    for start, end in extents:
        first = max(following, start // HASH_BLOCK_BYTES * HASH_BLOCK_BYTES)
        for offset in range(first, end, HASH_BLOCK_BYTES):
            offsets.append(offset)
            following = offset + HASH_BLOCK_BYTES
            if len(offsets) * HASH_BLOCK_BYTES >= MAX_TRANSFER_BYTES:
                yield offsets
                offsets = []
    if offsets:
        yield offsets
