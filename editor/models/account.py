"""People: they sign in with their e-mail address and are shown by their name."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models
from django.db.models.functions import Lower

TINTS = 3
"""How many avatar colours the design has (`.tint-1` to `.tint-3` in components.css)."""


class UserManager(BaseUserManager["User"]):
    """Creates users by e-mail address; Django's own manager insists on a user name."""

    def get_by_natural_key(self, username: str | None) -> User:
        """Answers the user of an address, whatever its capitals; raises User.DoesNotExist."""
        return self.annotate(address=Lower("email")).get(address=(username or "").lower())

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser):
    """A person with an account."""

    username = None  # type: ignore[assignment]
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    email = models.EmailField("email", unique=True)
    name = models.CharField(max_length=80, help_text="Shown beside everything this person does.")
    infrastructure_quota = models.PositiveIntegerField(
        default=10, help_text="So many infrastructures may this person own."
    )
    server_quota = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="So many servers may there be in the infrastructures of this owner. Empty: no limit.",
    )

    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    class Meta:
        constraints = (
            models.UniqueConstraint(
                Lower("email"), name="user_email_unique", violation_error_message="This address has an account already."
            ),
        )

    def __str__(self) -> str:
        return self.name or self.email

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name

    @property
    def initials(self) -> str:
        """One or two capitals for the avatar: "AM" for Ana Marin."""
        words = str(self).replace("@", " ").split()
        return (words[0][0] + (words[1][0] if len(words) > 1 else "")).upper() if words else "?"

    @property
    def tint(self) -> str:
        """The CSS class of this person's avatar; the same everywhere."""
        return f"tint-{(self.pk or 0) % TINTS + 1}"
