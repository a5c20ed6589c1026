"""Who is here just now, and what they look at."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from .account import User
from .infrastructure import Infrastructure

PRESENCE_SECONDS = 15
"""A person who was not heard of for so long has gone."""


class Presence(models.Model):
    """One open page of one person; renewed while it is open. No Event is written for it."""

    infrastructure = models.ForeignKey(Infrastructure, models.CASCADE, related_name="presences")
    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    page = models.CharField(max_length=40, help_text="A random name of the open page.")
    looks_at = models.CharField(max_length=40, blank=True, help_text="The topic of the selected card, if any.")
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["pk"]
        constraints = (models.UniqueConstraint(fields=["infrastructure", "page"], name="presence_page_unique"),)

    def __str__(self) -> str:
        return f"{self.user} in {self.infrastructure}"
