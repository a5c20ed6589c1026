"""Servers and the instances that run on them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.urls import reverse

from .account import User
from .event import Event
from .infrastructure import COUNT_MAX, Infrastructure, Network, Numbered, Product

INTERFACES = 4
"""Every server has so many network ports; index 0 carries the drives."""


class Power(models.TextChoices):
    """What a BMC says of its server."""

    ON = "on", "On"
    OFF = "off", "Off"
    POWERING_ON = "powering_on", "Powering on"
    SHUTTING_DOWN = "shutting_down", "Shutting down"
    UNKNOWN = "unknown", "Unknown"


class PowerCommand(models.TextChoices):
    """What a person can ask of a server."""

    SOFT_SHUTDOWN = "soft_shutdown", "Soft Shutdown"
    POWER_ON = "power_on", "Power On"
    HARD_POWER_OFF = "hard_power_off", "Hard Power Off"
    RESET = "reset", "Reset"


def shown_power(power: str, command: str) -> Power:
    """Answers the state a person is told, from a reading and the command in progress ("" for none).

    A wish never hides a lost BMC: unknown stays unknown.
    """
    if power == Power.ON and command in (PowerCommand.SOFT_SHUTDOWN, PowerCommand.HARD_POWER_OFF):
        return Power.SHUTTING_DOWN
    if power == Power.OFF and command == PowerCommand.POWER_ON:
        return Power.POWERING_ON
    if power != Power.UNKNOWN and command == PowerCommand.RESET:
        return Power.POWERING_ON
    return Power(power)


class Trust(models.TextChoices):
    """What makes the TLS certificate of a BMC good."""

    SYSTEM = "system", "An authority of the operating system signed it"
    AUTHORITY = "authority", "The authority in the field below signed it"
    PINNED = "pinned", "It is the one in the field below"


class ServerType(models.Model):
    """A kind of machine that instances can ask for."""

    label = models.CharField(max_length=40, unique=True)
    cores = models.PositiveIntegerField()
    ram_gb = models.PositiveIntegerField("RAM, GB")

    class Meta:
        ordering: ClassVar[list[str]] = ["label"]

    def __str__(self) -> str:
        return self.label


class ServerQuerySet(models.QuerySet["Server"]):
    def free(self) -> Self:
        """Those that a deploy may take: on no instance, promised to none, and not drained."""
        return self.filter(instance__isnull=True, replaces__isnull=True, drained=False)


class Server(models.Model):
    """A physical machine behind a BMC.

    Where the BMC is, who asks it and how it is known are an administrator's (editor.inventory); the password is kept
    sealed. `described` is what the BMC said of itself when somebody last had the connection checked.
    `power` is what the BMC last said, at `power_seen_at`; `power_command` is what somebody wants of it and has
    not come true yet. "Shutting down" is derived from the two (see `shown_power`).
    """

    server_type = models.ForeignKey(ServerType, models.PROTECT, related_name="servers")
    serial = models.CharField(max_length=40, unique=True)
    driver = models.CharField(max_length=20, default="simulated", help_text="The power driver that reaches the BMC.")
    address = models.CharField(
        "BMC address", max_length=200, help_text="e.g. https://bmc-7.example.org or simulated://rack-1-07"
    )
    username = models.CharField("user name", max_length=100, blank=True)
    password_sealed = models.TextField(blank=True, editable=False)
    trust = models.CharField("TLS certificate", max_length=9, choices=Trust.choices, default=Trust.SYSTEM)
    certificate = models.TextField(
        "certificate or fingerprint",
        blank=True,
        help_text="PEM; of a single certificate its SHA-256 fingerprint is enough.",
    )
    plain_http = models.BooleanField(
        "plain HTTP", default=False, help_text="Everybody on the way can read the password and switch the server."
    )
    drained = models.BooleanField(default=False, help_text="No instance gets it any more; the one on it stays.")
    revision = models.PositiveIntegerField(default=0, editable=False, help_text="Counts changes by administrators.")
    changed_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")

    check_asked_at = models.DateTimeField(null=True, editable=False, help_text="Until the worker has checked.")
    checked_at = models.DateTimeField(null=True, editable=False)
    check_error = models.CharField(max_length=300, blank=True, editable=False)
    check_detail = models.TextField(blank=True, editable=False, help_text="For support: what the BMC or library said.")
    described = models.JSONField(null=True, editable=False)

    replaces = models.OneToOneField(
        "Instance",
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="replacement",
        help_text="The instance that gets it as soon as its own server is surely off.",
    )
    replace_asked_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")
    replace_vouched = models.BooleanField(
        default=False, editable=False, help_text="Somebody made sure that the server that goes has no power."
    )

    power = models.CharField(max_length=13, choices=Power.choices, default=Power.UNKNOWN, editable=False)
    power_seen_at = models.DateTimeField(null=True, editable=False)
    power_error = models.CharField(
        max_length=300, blank=True, editable=False, help_text="Why the power state is unknown."
    )
    look_asked_at = models.DateTimeField(
        null=True, editable=False, help_text="When somebody asked to look at once; nobody has looked since."
    )
    power_command = models.CharField(max_length=14, choices=PowerCommand.choices, blank=True, editable=False)
    power_asked_at = models.DateTimeField(null=True, editable=False)
    power_asked_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")
    power_sent_at = models.DateTimeField(null=True, editable=False, help_text="When the BMC took the command.")
    power_deadline = models.DateTimeField(null=True, editable=False)
    power_overdue = models.BooleanField(
        default=False, editable=False, help_text="The time limit passed and the command has not come true."
    )
    trouble = models.ForeignKey(
        Event, models.SET_NULL, null=True, editable=False, related_name="+", help_text="The last failure, until read."
    )
    hold = models.CharField(max_length=120, blank=True, editable=False, help_text="Why nobody may switch it now.")

    objects = ServerQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["serial"]
        constraints = (
            models.CheckConstraint(condition=models.Q(trust__in=Trust.values), name="server_trust_known"),
            models.CheckConstraint(condition=models.Q(power__in=Power.values), name="server_power_known"),
            models.CheckConstraint(
                condition=models.Q(power_command__in=["", *PowerCommand.values]), name="server_power_command_known"
            ),
        )

    def __str__(self) -> str:
        return self.serial

    @property
    def topic(self) -> str:
        return f"server-{self.pk}"

    @property
    def shown_power(self) -> Power:
        """What a person is told: the reading, seen in the light of what was asked."""
        return shown_power(self.power, self.power_command)

    @property
    def time_limit(self) -> timedelta:
        """How long the running command may take: what was asked for with it."""
        if self.power_asked_at and self.power_deadline:
            return self.power_deadline - self.power_asked_at
        return timedelta(seconds=settings.SHUTDOWN_SECONDS)

    def command_started_at(self) -> datetime | None:
        """When the running command was asked for; null when none is."""
        return self.power_asked_at if self.power_command else None


class InstanceArray(Numbered, Product):
    """A group of identical servers."""

    infrastructure = models.ForeignKey(Infrastructure, models.CASCADE, related_name="instance_arrays")
    server_type = models.ForeignKey(ServerType, models.PROTECT, related_name="instance_arrays")

    class Meta:
        ordering: ClassVar[list[str]] = ["pk"]
        constraints = (
            models.UniqueConstraint(fields=["infrastructure", "label"], name="instance_array_label_unique"),
            models.CheckConstraint(condition=models.Q(count__lte=COUNT_MAX), name="instance_array_count_limit"),
        )

    def get_absolute_url(self) -> str:
        return reverse("instance_array", args=[self.pk])

    def drawn(self) -> dict[str, Any]:
        """Needs its interfaces: prefetch them in lists."""
        networks = {interface.index: interface.network_id for interface in self.interfaces.all()}
        return {
            "label": self.label,
            "server_type": self.server_type_id,
            "numbers": self.numbers,
            "interfaces": [networks.get(index) for index in range(INTERFACES)],
        }

    @property
    def topic(self) -> str:
        return f"instance-array-{self.pk}"


class Interface(models.Model):
    """A network port of every server of an InstanceArray; index 0 carries the drives (SAN)."""

    instance_array = models.ForeignKey(InstanceArray, models.CASCADE, related_name="interfaces")
    index = models.PositiveSmallIntegerField()
    network = models.ForeignKey(Network, models.SET_NULL, null=True, blank=True, related_name="interfaces")

    class Meta:
        ordering: ClassVar[list[str]] = ["index"]
        constraints = (
            models.UniqueConstraint(fields=["instance_array", "index"], name="interface_index_unique"),
            models.CheckConstraint(condition=models.Q(index__lte=3), name="interface_index_limit"),
        )

    def __str__(self) -> str:
        return f"if{self.index}"


class Instance(models.Model):
    """One place in an InstanceArray; it runs on a server once deployed."""

    instance_array = models.ForeignKey(InstanceArray, models.CASCADE, related_name="instances")
    number = models.PositiveIntegerField()
    server = models.OneToOneField(Server, models.PROTECT, null=True, blank=True, related_name="instance")
    address = models.GenericIPAddressField(null=True, blank=True)
    chap_sealed = models.TextField(
        blank=True, editable=False, help_text="The CHAP password that opens its drives; made when one is first served."
    )

    class Meta:
        ordering: ClassVar[list[str]] = ["number"]
        constraints = (models.UniqueConstraint(fields=["instance_array", "number"], name="instance_number_unique"),)

    def __str__(self) -> str:
        return self.label

    def get_absolute_url(self) -> str:
        return reverse("instance_array_instances", args=[self.instance_array_id])

    @property
    def label(self) -> str:
        """ "web-2": the array's label and the number; select_related("instance_array") in lists."""
        return f"{self.instance_array.label}-{self.number}"

    @property
    def shown_power(self) -> Power:
        """An instance without a server has nothing that could run: it is off."""
        return self.server.shown_power if self.server else Power.OFF
