"""Merges a layer into the only layer that stands on it, so that it can go.

At every moment, also when qemu-img or we are killed, or the power goes, the upper layer reads as before:

- *commit*, when the upper one holds less: qemu-img writes what it holds into the lower one, which the upper one hides
  as long as it is there; then the lower file is renamed over the upper. What stands on top names the same file as
  before.
- *lift*, otherwise: what only the lower one holds is read through the upper one with copy-on-read, which stores it
  there and changes no content; then the upper one's header is pointed past the lower one, which is unlinked.

The lower one may be the smaller, never the larger. `commit` makes it as large as the upper one first (also when there
is nothing to write); in `lift`, what is beyond its end counts as nobody's, and reads as zeros before and after.

Why not `qemu-img rebase` in its safe mode for the second: it writes the new header before the tables of what it
copied (QEMU 7.2: no flush in between), so a process killed there loses data; and without a layer underneath it
compares the whole virtual size. `rebase -u` below rewrites nothing but the header.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from editor.storage.layers import DriveFolder, Layer, fsync, layer_name
from editor.storage.programs import Damaged, Tool

READ_BYTES = 4 * 1024 * 1024
ZERO_BYTES = 1024 * 1024 * 1024
MODIFYING = ("-t", "writeback")
"""Honour flushes: QEMU orders its tables by them, so that a killed writer leaves unused clusters at worst."""


@dataclass(frozen=True)
class Tools:
    """What a merge runs; both end when the merge is to stop."""

    img: Tool
    io: Tool


def merge(folder: DriveFolder, *, parent: Layer, child: Layer, tools: Tools) -> None:
    """Make the file named `child` hold what both held, and `parent` go. Raises Stopped, or what the programs raise."""
    if folder.is_merging(parent.id):
        # An earlier attempt was cut short: give back the clusters that its writer had taken and not used.
        for layer in (parent, child):
            tools.img("check", "-q", "-r", "leaks", "-f", "qcow2", layer_name(layer.id))
    else:
        folder.mark_merging(parent.id)
    if child.held_bytes < parent.held_bytes:
        _commit(folder, parent, child, tools)
    else:
        _lift(folder, parent, child, tools)


def _commit(folder: DriveFolder, parent: Layer, child: Layer, tools: Tools) -> None:
    if child.held_bytes or child.size_bytes > parent.size_bytes:
        # -d: the upper file is replaced below, so emptying it would only cost time, and its masking with it.
        tools.img("commit", "-q", "-d", *MODIFYING, "-f", "qcow2", layer_name(child.id))
    fsync(folder.file(parent.id))  # also what an earlier attempt did: it may have made the lower one larger
    os.rename(folder.file(parent.id), folder.file(child.id))
    fsync(folder.path)
    folder.tidy()


def _lift(folder: DriveFolder, parent: Layer, child: Layer, tools: Tools) -> None:
    name = layer_name(child.id)
    if parent.held_bytes and (copies := _copies(tools, name)):
        script = "\n".join([*copies, "flush", ""]).encode()
        tools.io("-C", *MODIFYING, "-f", "qcow2", name, script=script)
        if _copies(tools, name):
            raise Damaged(f"{name} still needs layer {parent.id} after copying")
    fsync(folder.file(child.id))  # also what an earlier attempt copied: the header must not be durable before it
    below = ("-b", "") if parent.parent is None else ("-b", layer_name(parent.parent), "-F", "qcow2")
    tools.img("rebase", "-q", "-u", *MODIFYING, "-f", "qcow2", *below, name)
    fsync(folder.file(child.id))
    folder.unlink([parent.id])


def _copies(tools: Tools, name: str) -> list[str]:
    """qemu-io commands that store in a layer what only the layer directly below it holds; read as before throughout."""
    extents = json.loads(tools.img("map", "--output=json", "-f", "qcow2", name))
    return [
        # Discarded space can be most of a large drive: said in one word instead of being read.
        f"write -q -z {start} {length}" if extent["zero"] else f"read -q {start} {length}"
        for extent in extents
        if extent["depth"] == 1 and extent["present"]
        for start, length in pieces(extent["start"], extent["length"], ZERO_BYTES if extent["zero"] else READ_BYTES)
    ]


def pieces(start: int, length: int, step: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each piece of an extent."""
    for offset in range(start, start + length, step):
        yield offset, min(step, start + length - offset)
