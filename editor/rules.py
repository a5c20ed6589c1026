"""What may be done, said once: `why_not_…` answers the reason as a sentence, or None when nothing stands against it.

Pages ask to disable a button and explain it; actions ask again, with the rows locked, before they write.
"""

from __future__ import annotations

from collections.abc import Iterable

from editor.models import Drive, Instance, Power, PowerCommand, Role, User

_RANK = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.OWNER: 3}


class Refused(Exception):
    """A rule says no. Its text is the sentence for the person who asked."""


def why_not_look(role: str | None) -> str | None:
    """Whether somebody with this role may see what is there, and have it looked at anew."""
    return None if role else "You are not a member of this infrastructure. Ask an owner to add you."


def why_not_operate(role: str | None) -> str | None:
    """Whether a member with this role may take snapshots, revert, switch power and arrange the canvas."""
    if role is None:
        return why_not_look(role)
    if _RANK[Role(role)] < _RANK[Role.OPERATOR]:
        return "You can look but not change anything here. Ask an owner to make you an operator."
    return None


def why_not_see_chap_password(role: str | None) -> str | None:
    """Whether a member with this role may see what opens the drives of an instance."""
    if role and why_not_operate(role):
        return "Only operators and owners see CHAP passwords. Ask an owner to make you an operator."
    return why_not_operate(role)


def why_not_deploy(role: str | None) -> str | None:
    """Whether a member with this role may make a design real: that can destroy drives."""
    if reason := why_not_operate(role):
        return reason
    if role != Role.OWNER:
        return "Only owners deploy. Ask an owner to review and deploy this design."
    return None


def why_not_do_without(people: Iterable[User]) -> str | None:
    """Whether these accounts may go or lose their powers: somebody must be left who can give permissions."""
    chiefs = User.objects.filter(is_active=True, is_staff=True, is_superuser=True)
    going = {one.pk for one in people}
    last = chiefs.filter(pk__in=going).first()
    if last is None or chiefs.exclude(pk__in=going).exists():
        return None
    return (
        f"Nobody but {last} can give permissions here. Make somebody else an active superuser with staff status first."
    )


def why_not_use_drive(drive: Drive) -> str | None:
    """Whether somebody is working on the drive: no second operation starts on it."""
    return f"{drive.label} is busy: {drive.hold} Try again in a moment." if drive.hold else None


def why_not_touch_bytes(drive: Drive) -> str | None:
    """Whether a command may read or write what is on the drive: it must stand still, and nobody else may write."""
    if drive.head_layer is None:
        return f"{drive.label} does not exist yet. Deploy it first."
    if reason := why_not_use_drive(drive):
        return reason
    instance = drive.instance
    if instance is None or instance.server is None:
        return None
    power = instance.shown_power
    if power == Power.UNKNOWN:
        return f"Power state of {instance.label} is unknown. Its drives are left alone until it is known to be off."
    if power != Power.OFF or instance.server.power_command:
        return f"{instance.label} is {power.label.lower()}. Shut it down first: it may be writing to {drive.label}."
    return why_not_logged_out(drive)


def why_not_logged_out(drive: Drive) -> str | None:
    """Whether an initiator was logged in to the drive when that was last looked at: then no server of it is off."""
    for initiator, address in drive.sessions:
        return (
            f"{initiator} is still logged in to {drive.label} from {address}, so its server is not off. "
            "This waits until it has logged out."
        )
    return None


def why_not_switch(instance: Instance) -> str | None:
    """What stands against any power command."""
    server = instance.server
    if server is None:
        return f"{instance.label} has no server yet. Deploy it first."
    if server.hold:
        return _why_held(instance, server.hold, "Wait until that ends, or have an owner stop it.")
    if server.power == Power.UNKNOWN:
        reason = f" {server.power_error}" if server.power_error else ""
        return f"Power state of {instance.label} is unknown.{reason} Try again when its BMC answers."
    return None


def why_not_soft_shut_down(instance: Instance) -> str | None:
    if reason := why_not_switch(instance):
        return reason
    server = instance.server
    assert server is not None
    if server.power_command == PowerCommand.SOFT_SHUTDOWN:
        return f"{instance.label} is shutting down already."
    if server.power_command:
        return _in_progress(instance, server.power_command)
    if server.power == Power.OFF:
        return f"{instance.label} is already off."
    return None


def why_not_power_on(instance: Instance, drives: Iterable[Drive] | None = None) -> str | None:
    """`drives` are the instance's own, when the caller has them at hand (locked, or read ahead)."""
    if reason := why_not_switch(instance):
        return reason
    server = instance.server
    assert server is not None
    if server.power_command:
        return _in_progress(instance, server.power_command)
    if server.power == Power.ON:
        return f"{instance.label} is already on."
    return _why_drives_wait(instance, drives, "powered on")


def why_not_hard_power_off(instance: Instance) -> str | None:
    """A running soft shutdown does not stand against it: that is what it is for."""
    if reason := why_not_switch(instance):
        return reason
    server = instance.server
    assert server is not None
    if server.power_command == PowerCommand.HARD_POWER_OFF:
        return _in_progress(instance, server.power_command)
    if server.power == Power.OFF and not server.power_command:
        return f"{instance.label} is already off."
    return None


def why_not_reset(instance: Instance, drives: Iterable[Drive] | None = None) -> str | None:
    """A reset starts the server again, so a drive in work stands against it as against powering on."""
    if reason := why_not_switch(instance):
        return reason
    server = instance.server
    assert server is not None
    if server.power_command:
        return _in_progress(instance, server.power_command)
    if server.power != Power.ON:
        return f"{instance.label} is off. Power it on instead."
    return _why_drives_wait(instance, drives, "reset")


def _why_drives_wait(instance: Instance, drives: Iterable[Drive] | None, what: str) -> str | None:
    for drive in instance.drives.all() if drives is None else drives:
        if drive.hold:
            return f"{drive.label} is in work: {drive.hold} {instance.label} can be {what} when that is done."
    return None


def why_not_keep_waiting(instance: Instance) -> str | None:
    """Whether there is a soft shutdown that can be given more time, or be given up."""
    if instance.server is None or instance.server.power_command != PowerCommand.SOFT_SHUTDOWN:
        return f"{instance.label} is not shutting down any more."
    if instance.server.hold:
        return _why_held(instance, instance.server.hold, "It waits as was chosen for that.")
    return None


def _why_held(instance: Instance, hold: str, then: str) -> str:
    """Only deploys and administrators hold servers, and only deploys sign."""
    if hold.startswith("Deploy "):
        return f"{instance.label} is being deployed: {hold} {then}"
    return f"{instance.label} waits: {hold} Try again in a moment."


def _in_progress(instance: Instance, command: str) -> str:
    doing = {
        PowerCommand.SOFT_SHUTDOWN: "is shutting down",
        PowerCommand.POWER_ON: "is powering on",
        PowerCommand.HARD_POWER_OFF: "is being forced off",
        PowerCommand.RESET: "is being reset",
    }[PowerCommand(command)]
    return f"{instance.label} {doing}. Wait until that is done."
