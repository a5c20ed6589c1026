"""Objects of an image that its object map has and the pool has not.

librbd first notes in the object map that an object exists, then writes it. Where it was killed in between, or the
cluster was full or silent, the image goes on to show its parent's content there, as it should; but flattening takes
the map's word, passes the object over, and lets go of the parent: what the object showed would be lost.
(`C_FlattenObject` in src/librbd/operation/FlattenRequest.cc; https://github.com/ceph/ceph/pull/61129 mends it in
versions from the end of 2024 on. It is the version of the target that counts where one serves the image.)
"""

import time
from collections.abc import Callable
from typing import Any

from editor.storage.base import StorageError
from editor.storage.rbd.differences import existing_objects
from editor.storage.rbd.images import Images

SETTLE_SECONDS = 2.0
"""What a target is writing at the moment is there by then, if it ever will be."""
POLL_SECONDS = 0.05


def write_phantoms(images: Images, name: str, *, state: str, should_stop: Callable[[], bool]) -> bool:
    """Write what an image's object map has and the pool has not, so that the image can be flattened.

    False when it was stopped. Raises StorageError while somebody else has the image open, who may write there; `state`
    is the sentence saying what is unchanged.
    """
    with images.opened(name) as image:
        missing = []
        for offset, object_name in _noted(image):
            if should_stop():
                return False
            if not images.has_object(object_name):
                missing.append((offset, object_name))
    if not missing:
        return True
    if images.watchers(name):
        if _appear(images, [object_name for _offset, object_name in missing]):
            return True
        raise StorageError(
            "The drive cannot be copied free of its deleted snapshots, because a write of its server was broken off "
            f"when its target was killed or the cluster was full. {state} It is copied when the server is shut down; "
            "until then it takes more room.",
            detail=f"{name} lacks {len(missing)} objects of its object map, {missing[0][1]} among them",
        )
    with images.opened(name, writable=True) as image:
        for offset, _object_name in missing:
            if should_stop():
                return False
            images.copy_up(image, offset)
    return True


def _noted(image: Any) -> list[tuple[int, str]]:
    """Offsets and names of the objects that the object map has, where the image shows its parent's content else."""
    found = image.stat()
    object_bytes, prefix = found["obj_size"], found["block_name_prefix"]
    return [
        (at, f"{prefix}.{at // object_bytes:016x}")
        for offset, length in existing_objects(image, image.overlap())
        for at in range(offset // object_bytes * object_bytes, offset + length, object_bytes)
    ]


def _appear(images: Images, names: list[str]) -> bool:
    """Whether objects were only being written at that moment."""
    end = time.monotonic() + SETTLE_SECONDS
    while names := [name for name in names if not images.has_object(name)]:
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True
