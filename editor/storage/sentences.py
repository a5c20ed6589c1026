"""What engines say alike when they refuse something, and of what was done in part when they failed."""

from editor.storage.base import MAX_TRANSFER_BYTES, SECTOR_BYTES, StorageError

HALF_WRITTEN = "What was being written may be there in part."
HALF_GROWN = "What the drive holds is unchanged; it may have its new size already, and repeating this is safe."
HALF_DELETED = "The drive may be deleted in part."
SAME_CONTENT = "The content of the drive and its snapshots is unchanged."


def in_use(drive: int) -> StorageError:
    """What to raise when a verb needs a drive that is not active."""
    return StorageError(
        "The drive is served over iSCSI. Nothing on the drive was changed. Shut its server down, then try again.",
        detail=f"drive {drive} is active",
    )


def other_head(head: int) -> StorageError:
    """What to raise when the drive's head is not the one the caller knows."""
    return StorageError(
        "The storage pool knows more of this drive than the database does. Nothing was removed. "
        "Check whether the database is older than the pool: manage.py reconcile --audit",
        permanent=True,
        detail=f"the head is layer {head}",
    )


def changed(drive: int, *, head: int, expected: int) -> StorageError:
    """What to raise when a snapshot is to be of another layer than the head."""
    return StorageError(
        "The drive has changed meanwhile. Nothing on the drive was changed. Look at the drive again.",
        permanent=True,
        detail=f"drive {drive}: head is layer {head}, expected {expected}",
    )


def unknown_layer(drive: int, layer: int) -> StorageError:
    """What to raise when a layer to revert to is not there, or was given up."""
    return StorageError(
        "That snapshot does not exist in the storage pool any more. Nothing on the drive was changed. "
        "Choose another snapshot.",
        permanent=True,
        detail=f"drive {drive} has no layer {layer}",
    )


def taken(layer: int) -> StorageError:
    """What to raise when a layer's name, reserved for something new, holds something else."""
    return StorageError(
        "The storage pool already holds data under the name reserved for this snapshot. Nothing on the drive was "
        "changed. Check whether the database is older than the pool: manage.py reconcile --audit",
        permanent=True,
        detail=f"layer {layer} is in use",
    )


def check_size(size_bytes: int) -> None:
    """Refuse a size that no drive can have."""
    if size_bytes <= 0 or size_bytes % SECTOR_BYTES:
        raise StorageError(f"A drive's size is a multiple of {SECTOR_BYTES} bytes above 0.", permanent=True)


def check_same_size(now_bytes: int, size_bytes: int) -> None:
    """Refuse to make a drive that is there with another size."""
    if now_bytes != size_bytes:
        raise StorageError(
            f"The storage pool already holds this drive with {now_bytes} bytes. Nothing on the drive was changed. "
            "Delete that drive first.",
            permanent=True,
        )


def check_growth(now_bytes: int, size_bytes: int) -> None:
    """Refuse a size below the one the drive has."""
    if size_bytes < now_bytes:
        raise StorageError(
            f"A drive can only grow: it has {now_bytes / 1024**3:g} GB. Nothing on the drive was changed. "
            "Choose a larger size.",
            permanent=True,
            detail=f"asked for {size_bytes} bytes of {now_bytes}",
        )


def check_window(size_bytes: int, *, offset: int, length: int) -> None:
    """Refuse a window that is not whole sectors inside the drive, or too long for one call."""
    if offset % SECTOR_BYTES or length % SECTOR_BYTES:
        raise StorageError(
            f"Offset and length must be multiples of {SECTOR_BYTES} bytes. Nothing was read or written.", permanent=True
        )
    if offset < 0 or length < 0 or offset + length > size_bytes:
        raise StorageError(
            f"The drive ends at {size_bytes} bytes. Nothing was read or written. Choose a window inside it.",
            permanent=True,
        )
    if length > MAX_TRANSFER_BYTES:
        raise StorageError(
            f"At most {MAX_TRANSFER_BYTES} bytes can be read or written at once. Use several smaller windows.",
            permanent=True,
        )
