"""Points in time of a drive."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from editor.models import Drive, User

NOTE_MAX = 80


class State(models.TextChoices):
    """Where a snapshot is in its life."""

    CREATING = "creating", "Creating"
    READY = "ready", "Ready"
    REVERTING = "reverting", "Reverting"


class SnapshotQuerySet(models.QuerySet["Snapshot"]):
    def newest_first(self) -> Self:
        return self.order_by("-number")

    def newer_than(self, snapshot: Snapshot) -> Self:
        """Those of the same drive that were taken later, newest first: what a revert to `snapshot` deletes."""
        return self.filter(drive=snapshot.drive_id, number__gt=snapshot.number).order_by("-number")

    def in_work(self) -> Self:
        """Those the worker still has to finish."""
        return self.exclude(state=State.READY)


class Snapshot(models.Model):
    """A drive exactly as it was at one moment.

    `layer` is the storage layer frozen at that moment. `new_layer` is the layer reserved for the step in work:
    the one put on top of `layer` by the creation, or by the latest revert to it.
    """

    drive = models.ForeignKey(Drive, models.CASCADE, related_name="snapshots")
    number = models.PositiveIntegerField(help_text="Counted per drive, never used twice.")
    note = models.CharField(max_length=NOTE_MAX, blank=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.CREATING, editable=False)
    layer = models.PositiveIntegerField(editable=False)
    new_layer = models.PositiveIntegerField(editable=False)
    requested_at = models.DateTimeField(editable=False)
    requested_by = models.ForeignKey(
        User, models.SET_NULL, null=True, editable=False, related_name="+", help_text="Of the step in work."
    )
    taken_at = models.DateTimeField(null=True, editable=False, help_text="The moment it shows, UTC.")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")
    replaces = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        help_text="The oldest one, deleted once this one is made: a drive never shows more than five.",
    )
    written_since_bytes = models.PositiveBigIntegerField(default=0, editable=False)

    objects = SnapshotQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["-number"]
        constraints = (
            models.UniqueConstraint(fields=["drive", "number"], name="snapshot_number_unique"),
            models.UniqueConstraint(fields=["drive", "layer"], name="snapshot_layer_unique"),
            models.UniqueConstraint(
                fields=["drive"], condition=~models.Q(state="ready"), name="snapshot_one_in_work_per_drive"
            ),
            models.CheckConstraint(condition=models.Q(state__in=State.values), name="snapshot_state_known"),
            models.CheckConstraint(
                condition=models.Q(state="creating") | models.Q(taken_at__isnull=False), name="snapshot_taken_at_known"
            ),
        )
        indexes = (models.Index(fields=["id"], condition=~models.Q(state="ready"), name="snapshot_work_waiting"),)

    def __str__(self) -> str:
        return f"#{self.number} {self.note}".rstrip()

    @property
    def name(self) -> str:
        """The name other programs know it by: `snapshot-<id>-YYYY-MM-DD-HH-MM-SS`, UTC; without time while made."""
        return f"snapshot-{self.pk}-{self.taken_at:%Y-%m-%d-%H-%M-%S}" if self.taken_at else f"snapshot-{self.pk}"
