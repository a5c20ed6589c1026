"""The names that servers know drives by, and that targets know servers by. A server keeps them: they never change.

They hold no text of people: labels change, and not every character may be in them (RFC 3720, section 3.2.6.3.1).
Primary keys are never given twice, so neither are names.
"""

from __future__ import annotations

from django.conf import settings

from editor.models import Drive, Instance


def target_iqn(drive: Drive) -> str:
    """Answers the IQN of a drive's target, e.g. "iqn.2026-11.internal.editor:drive-7"."""
    return _iqn(f"drive-{drive.pk}")


def initiator_iqn(instance: Instance) -> str:
    """Answers the IQN that the server of an instance must call itself to be let in."""
    return _iqn(f"instance-{instance.pk}")


def chap_user(instance: Instance) -> str:
    """Answers the user name of an instance's CHAP password."""
    return f"instance-{instance.pk}"


def serial_number(drive: Drive) -> str:
    """Answers what a server sees as the disk's serial number: 13 letters and digits, 16 if need be."""
    return f"DRIVE{drive.pk:08d}"


def _iqn(name: str) -> str:
    # Only the first colon ends the naming authority; what follows is ours to write.
    prefix: str = settings.IQN_PREFIX
    return f"{prefix}{'.' if ':' in prefix else ':'}{name}"
