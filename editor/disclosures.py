"""Secrets that people are shown on demand. Each time, it is written down who looked; never what was shown."""

from __future__ import annotations

from django.db import transaction

from editor.actions import demand, role_of
from editor.chap import chap_password
from editor.models import Drive, Event, Instance, User
from editor.rules import Refused, why_not_see_chap_password
from editor.sealed import SealError


def show_chap_password(drive: Drive, *, by: User) -> tuple[Instance, str]:
    """Answers the instance that a drive belongs to, and its CHAP password. Raises Refused."""
    infrastructure = drive.drive_array.infrastructure_id
    demand(why_not_see_chap_password(role_of(by, infrastructure)))
    instance = Instance.objects.select_related("instance_array").filter(drives=drive).first()
    if instance is None:
        raise Refused(f"{drive.label} belongs to no server by now, so there is no password.")
    try:
        # Before the transaction: what is made now stays, whatever becomes of the rest.
        password = chap_password(instance)
    except SealError as error:
        raise Refused(str(error)) from error
    with transaction.atomic():
        demand(why_not_see_chap_password(role_of(by, infrastructure)))
        Event.objects.record(
            infrastructure,
            "looked at the CHAP password of",
            instance.label,
            by=by,
            url=instance.get_absolute_url(),
            topics=[instance.instance_array.topic, drive.topic],
        )
    return instance, password
