"""Reads what a drive holds, through qemu-img.

`qemu-img convert` from a window of the image, because `qemu-io` prints bytes as text only and `qemu-img dd` goes
through empty space block by block. The window lands in a temporary file outside the pool, which may be full.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from editor.storage.base import HASH_BLOCK_BYTES, MAX_TRANSFER_BYTES
from editor.storage.layers import Layer, layer_name
from editor.storage.programs import Tool


@contextlib.contextmanager
def window(qemu_img: Tool, layer: int, offset: int, length: int) -> Iterator[Path]:
    """A sparse file with a window of what a layer reads as."""
    image = f"driver=raw,offset={offset},size={length},file.driver=qcow2,file.file.driver=file"
    image += f",file.file.filename={layer_name(layer)}"
    with tempfile.TemporaryDirectory(prefix="drive-") as scratch:
        path = Path(scratch, "window")
        qemu_img("convert", "-q", "--image-opts", image, "-O", "raw", str(path))
        yield path


def held_blocks(qemu_img: Tool, top: Layer) -> Iterator[tuple[int, bytes]]:
    """Offset and content of the blocks that some layer holds, in order, for `base.content_hash`."""
    extents = json.loads(qemu_img("map", "--output=json", "-f", "qcow2", layer_name(top.id)))
    held = [(extent["start"], extent["start"] + extent["length"]) for extent in extents if extent["data"]]
    for offsets in _windows(held):
        start = offsets[0]
        end = min(offsets[-1] + HASH_BLOCK_BYTES, top.size_bytes)
        with window(qemu_img, top.id, start, end - start) as path, path.open("rb") as file:
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
