"""Tries, step by step, what a pool in Ceph needs. What a step needs is tried before it; no drive is touched."""

import contextlib
import os
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from editor.storage.base import Check, StorageError
from editor.storage.rbd import ceph
from editor.storage.rbd.ceph import Connection, explained
from editor.storage.rbd.images import FEATURE_BITS, FEATURES, Images
from editor.storage.rbd.usage import usage

MIB = 1024 * 1024
NAME = re.compile(r"(trial-[0-9a-f]{32})(?:\.clone)?", re.ASCII)
A_WHILE = timedelta(hours=1)
"""Far longer than a trial takes."""


def checks(connection: Connection, images: Images, folder: Path) -> list[Check]:
    """One after the other; the first that fails is the last."""
    cluster = connection.cluster
    trial = f"trial-{uuid.uuid4().hex}"
    steps: list[tuple[str, Callable[[], str | None]]] = [
        ("Python's modules rados and rbd", ceph.missing_sentence),
        ("The folder for locks", lambda: _folder(folder)),
        (f"The Ceph configuration {cluster.conf}", lambda: _readable(cluster.conf)),
        (f"The cluster answers client.{cluster.user}", lambda: _answers(connection)),
        (f"The pool {cluster.pool} is one for RBD", lambda: _initialised(connection)),
        ("Listing images", lambda: _list(images)),
        (f"Making an image with {', '.join(FEATURES)}", lambda: _make(images, trial)),
        ("Taking a snapshot", lambda: _snapshot(images, trial)),
        ("Cloning it, without protecting it (clone v2)", lambda: _clone(images, trial)),
        ("Removing images and snapshots", lambda: _remove(images, trial)),
        ("Reading how much room there is", lambda: _usage(connection)),
    ]
    done: list[Check] = []
    try:
        for what, step in steps:
            wrong = _tried(connection, step)
            done.append(Check(what, wrong))
            if wrong is not None:
                break
    finally:
        _tried(connection, lambda: _clean(images, trial))
    return done


def remove_old_trials(images: Images) -> list[str]:
    """Remove what is left of trials that were killed; answers their images' names."""
    there: list[tuple[str, str | None]] = [(name, None) for name in images.names()]
    there += [(name, image_id) for image_id, name in images.trash()]
    removed = []
    for name, image_id in there:
        if match := NAME.fullmatch(name):
            known_by = None if image_id else name
            with contextlib.suppress(ceph.rbd().ImageNotFound), images.opened(known_by, image_id=image_id) as image:
                made_at = image.create_timestamp().replace(tzinfo=UTC)
                if datetime.now(UTC) - made_at < A_WHILE:
                    continue  # one that is going on
            _clean(images, match[1])
            removed.append(name)
    return removed


def _tried(connection: Connection, step: Callable[[], str | None]) -> str | None:
    try:
        with explained(connection.cluster, "No drive was touched."):
            return step()
    except StorageError as error:
        return str(error)


def _folder(folder: Path) -> str | None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"The folder {folder} cannot be written to. Check its owner and permissions."
    return None


def _readable(conf: str) -> str | None:
    with open(conf, "rb"):
        return None


def _answers(connection: Connection) -> str | None:
    with connection.handle() as handle:
        handle.get_fsid()
    return None


def _initialised(connection: Connection) -> str | None:
    with connection.pool() as pool:
        if "rbd" in pool.application_list():
            return None
    name = connection.cluster.pool
    return f"The pool {name} was not prepared for RBD. Have whoever runs the cluster prepare it: rbd pool init {name}"


def _list(images: Images) -> str | None:
    images.names()
    images.trash()
    images.active()
    return None


def _make(images: Images, trial: str) -> str | None:
    images.create(trial, MIB)
    with images.opened(trial, writable=True) as image:
        image.write(b"1" * 4096, 0)
        missing = FEATURE_BITS & ~image.features()
    return (
        f"The cluster made an image without some of these features ({missing:#x}). Check its version."
        if missing
        else None
    )


def _snapshot(images: Images, trial: str) -> str | None:
    with images.opened(trial, writable=True) as image:
        images.create_snapshot(image, "trial")
    return None


def _clone(images: Images, trial: str) -> str | None:
    images.clone(trial, "trial", f"{trial}.clone")
    with images.opened(f"{trial}.clone") as image:
        if image.read(0, 4096) != b"1" * 4096:
            return "A clone does not read as its snapshot. Check the cluster's health: ceph health detail"
    return None


def _remove(images: Images, trial: str) -> str | None:
    with images.opened(trial, writable=True) as image:
        images.remove_snapshot(image, "trial")
    images.remove(f"{trial}.clone")
    # Through the trash, which drives go to: a pool that never had one has no place for it when the cluster is full.
    images.move_to_trash(trial)
    for image_id, name in images.trash():
        if name == trial:
            images.remove_from_trash(image_id)
    return None


def _usage(connection: Connection) -> str | None:
    usage(connection)
    return None


def _clean(images: Images, trial: str) -> str | None:
    """Remove what a failed step left."""
    gone = ceph.rbd().ImageNotFound
    with contextlib.suppress(gone):
        images.remove(f"{trial}.clone")
    with contextlib.suppress(gone), images.opened(trial, writable=True) as image:
        for snapshot in list(image.list_snaps()):
            images.remove_snapshot(image, snapshot["name"])
    with contextlib.suppress(gone):
        images.remove(trial)
    for image_id, name in images.trash():
        if name == trial:
            images.remove_from_trash(image_id)
    return None
