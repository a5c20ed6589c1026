"""What may be in a request to tgtd, which knows no quotes: a comma ends every value."""

from __future__ import annotations

import re

from editor.iscsi.base import Export, ExportError

BACKINGS = {"file": "rdwr", "rbd": "rbd"}
"""What tgtd calls the ways in which a device is reached."""
GUARD = "guard-"
"""How the names of accounts begin that are no user's (see editor.iscsi.tgt)."""

NAME = re.compile(r"(iqn|eui|naa)\.[a-z0-9.:-]{1,219}")
USER = re.compile(r"[A-Za-z0-9._-]{1,64}")
PASSWORD = re.compile(r"[A-Za-z0-9]{12,16}")
SERIAL = re.compile(r"[A-Za-z0-9-]{1,16}")
PART = re.compile(r"[^,;\n\0]+")
"""Of a path, or of an option for Ceph, which a semicolon ends."""


def check(export: Export) -> None:
    """Refuse what tgtd would take for something else."""
    parts = [export.device.name, *(value for option in export.device.options for value in option)]
    good = (
        NAME.fullmatch(export.iqn)
        and NAME.fullmatch(export.initiator)
        and USER.fullmatch(export.user)
        and not export.user.startswith(GUARD)
        and PASSWORD.fullmatch(export.password)
        and SERIAL.fullmatch(export.serial)
        and export.device.backing in BACKINGS
    )
    if not good:
        raise ExportError(
            "tgtd cannot serve a drive with these names. Nothing was changed. Check IQN_PREFIX.",
            permanent=True,
            detail=f"{export}",
        )
    if not all(PART.fullmatch(part) for part in parts):
        raise ExportError(
            "tgtd cannot serve a drive whose path holds a comma, semicolon or line end. Nothing was changed. "
            "Rename the folder of the storage pool.",
            permanent=True,
            detail=f"{export.device}",
        )
