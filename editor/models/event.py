"""What happened: the audit trail and the live feed are this one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, NamedTuple, Self
from uuid import UUID

from django.db import connection, models, transaction
from django.utils import timezone

from editor import bell

from .account import User
from .infrastructure import Infrastructure


class Result(models.TextChoices):
    """How it went."""

    DONE = "done", "Done"
    STARTED = "started", "Started"
    REFUSED = "refused", "Refused"
    FAILED = "failed", "Failed"
    FORCED = "forced", "Forced"
    NOTICE = "notice", "Notice"
    SILENT = "silent", "Silent"


class Told(NamedTuple):
    """What an Event tells about the power of an instance: what was shown before and since, as `Power` stores it.

    "" before: nobody had looked yet.
    """

    instance: int
    before: str
    power: str


# Any fixed number serves, as long as nothing else in the database uses the same.
ORDER_LOCK = 0x45564E54


class EventQuerySet(models.QuerySet["Event"]):
    def told(self) -> Self:
        """Those a person wants to read; silent ones only wake browsers."""
        return self.exclude(result=Result.SILENT)

    def about(self, topic: str) -> Self:
        """Those with this topic in their list."""
        return self.filter(topics__contains=f" {topic} ")


class EventManager(models.Manager.from_queryset(EventQuerySet)):  # type: ignore[misc]
    """Writes Events; reading is the queryset's."""

    def record(
        self,
        infrastructure: int,
        verb: str = "",
        subject: str = "",
        *,
        topics: Iterable[str],
        by: User | None = None,
        text: str = "",
        detail: str = "",
        url: str = "",
        result: Result = Result.DONE,
        request_key: UUID | None = None,
        told: Told | None = None,
    ) -> Event:
        """Writes down what happened and wakes everyone who follows, once the transaction commits.

        Must be called inside the transaction that makes it happen. Ids become visible in order: on PostgreSQL
        by a lock held until the commit (SQLite has one writer at a time anyway), so that a follower who read
        up to an id has missed none below it.
        """
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ORDER_LOCK])
        event: Event = self.create(
            at=timezone.now(),
            infrastructure_id=infrastructure,
            actor=by,
            verb=verb,
            subject=subject,
            url=url,
            text=text[:500],
            detail=detail,
            result=result,
            topics=f" {' '.join(topics)} ",
            request_key=request_key,
            instance_id=told.instance if told else None,
            power_before=told.before if told else "",
            power=told.power if told else "",
        )
        transaction.on_commit(bell.ring)
        return event


class Event(models.Model):
    """One thing that happened, written in the transaction that made it happen."""

    at = models.DateTimeField(db_index=True)
    infrastructure = models.ForeignKey(Infrastructure, models.CASCADE, related_name="events")
    actor = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    verb = models.CharField(max_length=120, help_text='What was done, e.g. "created snapshot #13 of".')
    subject = models.CharField(max_length=130, help_text='To what, e.g. "web-data-2".')
    url = models.CharField(max_length=200, blank=True)
    text = models.CharField(max_length=500, blank=True)
    detail = models.TextField(blank=True, help_text="For support: what the device or program said.")
    result = models.CharField(max_length=8, choices=Result.choices, default=Result.DONE)
    topics = models.TextField(help_text='Who should look again: " drive-7 drive-array-3 ".')
    request_key = models.UUIDField(null=True, unique=True, editable=False)
    # The index below is all that looks these up, also for the rows of an instance that goes.
    instance = models.ForeignKey(
        "editor.Instance", models.SET_NULL, null=True, editable=False, related_name="+", db_index=False
    )
    power_before = models.CharField(max_length=13, blank=True, editable=False)
    power = models.CharField(max_length=13, blank=True, editable=False, help_text="Of the instance, since then.")

    objects = EventManager()

    class Meta:
        ordering: ClassVar[list[str]] = ["-pk"]
        indexes = (
            models.Index(fields=["infrastructure", "-id"], name="event_newest_first"),
            models.Index(
                fields=["instance", "at"], name="event_of_instance", condition=models.Q(instance__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"{self.actor or 'The editor'} {self.verb} {self.subject}"

    @property
    def topic_list(self) -> list[str]:
        return self.topics.split()
