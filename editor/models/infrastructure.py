"""Infrastructures, who may see them, and the networks drawn in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.urls import reverse

from .account import User

LABEL_MAX = 63
COUNT_MAX = 1000
# A DNS label (RFC 1035, section 2.3.1): letters, digits and hyphens, a letter first, no hyphen last.
valid_label = RegexValidator(
    r"\A[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\Z",
    "Use 1 to 63 letters, digits and hyphens; begin with a letter and end with a letter or digit.",
)


class Role(models.TextChoices):
    """What a member may do: each role includes the ones before it."""

    VIEWER = "viewer", "Viewer"
    OPERATOR = "operator", "Operator"
    OWNER = "owner", "Owner"


class InfrastructureQuerySet(models.QuerySet["Infrastructure"]):
    def visible_to(self, user: User) -> Self:
        """Those the user is a member of; everything else does not exist for them."""
        return self.filter(memberships__user=user)


class Infrastructure(models.Model):
    """A drawing of servers, drives and networks that belong together."""

    label = models.CharField(max_length=LABEL_MAX, validators=[valid_label])
    description = models.CharField(max_length=120, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(User, through="Membership", related_name="infrastructures")

    objects = InfrastructureQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["label", "pk"]

    def __str__(self) -> str:
        return self.label

    def get_absolute_url(self) -> str:
        return reverse("infrastructure", args=[self.pk])

    @property
    def topic(self) -> str:
        """The word under which browsers listen for changes of this."""
        return f"infrastructure-{self.pk}"


class Membership(models.Model):
    """A user's role in one infrastructure."""

    infrastructure = models.ForeignKey(Infrastructure, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["infrastructure", "user"], name="membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        )

    def __str__(self) -> str:
        return f"{self.user}, {self.get_role_display()} of {self.infrastructure}"


class Placed(models.Model):
    """Something with a place on the canvas, in px of the world; the place is shared by everyone and needs no deploy."""

    x = models.IntegerField(default=0)
    y = models.IntegerField(default=0)

    class Meta:
        abstract = True


class Numbered(models.Model):
    """An array: a group of alike things, each with a number that it keeps.

    `count` of them are drawn. Their numbers are 1 to count, unless `own_numbers` says otherwise: after number 2 of 3
    was taken away, 1 and 3 are left.
    """

    count = models.PositiveIntegerField(default=1, validators=[MaxValueValidator(COUNT_MAX)])
    own_numbers = models.JSONField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    @property
    def numbers(self) -> list[int]:
        """The numbers drawn, in order."""
        own = self.own_numbers
        return own if own and len(own) == self.count else list(range(1, self.count + 1))

    @numbers.setter
    def numbers(self, numbers: Iterable[int]) -> None:
        wanted = sorted(numbers)
        self.count = len(wanted)
        self.own_numbers = None if wanted == list(range(1, self.count + 1)) else wanted


class Product(Placed):
    """Something drawn first and made real by a deploy.

    The columns are the design. `deployed` holds a copy of them as they were last made real, or null while
    nothing was.
    """

    label = models.CharField(max_length=LABEL_MAX, validators=[valid_label])
    deployed = models.JSONField(null=True, blank=True, editable=False)
    leaves = models.BooleanField(default=False, editable=False, help_text="The next deploy deletes it.")
    unsettled = models.BooleanField(
        default=False, editable=False, help_text="A deploy was broken off at it: the next one puts it right."
    )
    revision = models.PositiveIntegerField(default=0, editable=False, help_text="Counts changes of the design.")
    changed_at = models.DateTimeField(null=True, editable=False)
    changed_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.label

    @property
    def is_deployed(self) -> bool:
        return self.deployed is not None

    def drawn(self) -> dict[str, Any]:
        """Answers the design, plain and comparable with `deployed`; what editor.plan calls Drawn."""
        raise NotImplementedError

    @property
    def change(self) -> str:
        """What the next deploy does to this: "add", "edit", "del", or "" for nothing."""
        if self.deployed is None:
            return "add"
        if self.leaves:
            return "del"
        return "edit" if self.unsettled or self.deployed != self.drawn() else ""


class NetworkKind(models.TextChoices):
    """The three kinds of network; WAN and SAN exist once in an infrastructure."""

    WAN = "wan", "WAN"
    LAN = "lan", "LAN"
    SAN = "san", "SAN"


class Network(Product):
    """A network that InstanceArrays are connected to by their interfaces."""

    infrastructure = models.ForeignKey(Infrastructure, models.CASCADE, related_name="networks")
    kind = models.CharField(max_length=3, choices=NetworkKind.choices)
    addresses = models.CharField(max_length=80, blank=True, help_text="Shown on the card, e.g. 10.20.0.0/22.")

    class Meta:
        ordering: ClassVar[list[str]] = ["pk"]
        constraints = (
            models.UniqueConstraint(fields=["infrastructure", "label"], name="network_label_unique"),
            models.UniqueConstraint(
                fields=["infrastructure", "kind"],
                condition=models.Q(kind__in=["wan", "san"]),
                name="network_one_wan_one_san",
            ),
            models.CheckConstraint(condition=models.Q(kind__in=NetworkKind.values), name="network_kind_known"),
        )

    def get_absolute_url(self) -> str:
        return reverse("network", args=[self.pk])

    def drawn(self) -> dict[str, Any]:
        return {"label": self.label}

    @property
    def topic(self) -> str:
        return f"network-{self.pk}"
