"""Designing and deploying: the steps of people that can be undone, and the deploys that made designs real."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse

from .account import User
from .infrastructure import Infrastructure


class DesignStep(models.Model):
    """One change of a design by one person, with what was before and after: what undo and redo go by.

    `changes` is a list of {"topic", "before", "after", "at": [x, y]}; a design of null is a product that is not there.
    """

    infrastructure = models.ForeignKey(Infrastructure, models.CASCADE, related_name="design_steps")
    by = models.ForeignKey(User, models.CASCADE, related_name="+")
    at = models.DateTimeField()
    title = models.CharField(max_length=200, help_text='What was done, e.g. "rename web to front".')
    changes = models.JSONField()
    undone = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["-pk"]
        indexes = (models.Index(fields=["infrastructure", "by", "-id"], name="design_step_newest_first"),)

    def __str__(self) -> str:
        return f"{self.by}: {self.title}"


class DeployState(models.TextChoices):
    """Where a deploy is. A stopped one can be retried; a newer deploy makes it history."""

    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"
    DONE = "done", "Done"


class Deploy(models.Model):
    """One making real of a design: what was reviewed, by whom, with which choices, and how it went."""

    infrastructure = models.ForeignKey(Infrastructure, models.CASCADE, related_name="deploys")
    number = models.PositiveIntegerField(help_text="Counted per infrastructure.")
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=7, choices=DeployState.choices, default=DeployState.RUNNING)
    stop_asked = models.BooleanField(
        default=False, help_text="Nothing more begins; what runs is finished, but soft shutdowns are not waited for."
    )
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    review = models.JSONField(help_text="What was shown and confirmed: changes, and all that is destroyed.")
    goal = models.JSONField(help_text="The designs of all products by topic, as they were confirmed.")
    soft_seconds = models.PositiveIntegerField(
        default=120, help_text="Time for soft shutdowns, in seconds; 0: hard at once."
    )
    then_hard = models.BooleanField(default=False, help_text="Cut the power when that time is over; else wait.")

    class Meta:
        ordering: ClassVar[list[str]] = ["-number"]
        constraints = (
            models.UniqueConstraint(fields=["infrastructure", "number"], name="deploy_number_unique"),
            models.UniqueConstraint(
                fields=["infrastructure"], condition=models.Q(state="running"), name="deploy_one_running"
            ),
            models.CheckConstraint(condition=models.Q(state__in=DeployState.values), name="deploy_state_known"),
        )
        indexes = (models.Index(fields=["id"], condition=models.Q(state="running"), name="deploy_work_waiting"),)

    def __str__(self) -> str:
        return f"Deploy {self.number}"

    def get_absolute_url(self) -> str:
        return reverse("deploy", args=[self.pk])

    @property
    def topic(self) -> str:
        return f"deploy-{self.pk}"


class ItemState(models.TextChoices):
    """Where a part of a deploy is. One that only waits is not finished when the deploy is asked to stop: stopped."""

    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


class DeployStep(models.Model):
    """One step of a deploy's plan (see editor.plan.Step), as it is told: its title, and when it ran."""

    deploy = models.ForeignKey(Deploy, models.CASCADE, related_name="steps")
    position = models.PositiveIntegerField(help_text="From 1, in the order they are listed.")
    kind = models.CharField(max_length=12)
    of = models.CharField(max_length=40, help_text="The topic of the product.")
    title = models.CharField(max_length=300)
    after = models.JSONField(default=list, help_text="Positions of the steps that must be done before.")
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["position"]
        constraints = (models.UniqueConstraint(fields=["deploy", "position"], name="deploy_step_position_unique"),)

    def __str__(self) -> str:
        return self.title


class DeployItem(models.Model):
    """One part of a step: a single server or drive; a step that is about a whole product has one, without number.

    `payload` holds what was confirmed for it (the ids of the snapshots that go, for one) and what a retry must know.
    """

    step = models.ForeignKey(DeployStep, models.CASCADE, related_name="items")
    number = models.PositiveIntegerField(null=True)
    label = models.CharField(max_length=130, help_text='e.g. "web-data-2".')
    state = models.CharField(max_length=7, choices=ItemState.choices, default=ItemState.WAITING)
    payload = models.JSONField(default=dict)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, blank=True, help_text="Why it failed or was stopped, in a sentence.")
    detail = models.TextField(blank=True, help_text="For support: what the device or program said.")

    class Meta:
        ordering: ClassVar[list[str]] = ["pk"]
        constraints = (
            models.UniqueConstraint(fields=["step", "number"], name="deploy_item_number_unique"),
            models.CheckConstraint(condition=models.Q(state__in=ItemState.values), name="deploy_item_state_known"),
        )

    def __str__(self) -> str:
        return self.label
