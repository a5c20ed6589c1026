"""Drives, the arrays they are drawn in, and the pools that hold their bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse

from .compute import Instance, InstanceArray
from .event import Event
from .infrastructure import COUNT_MAX, Infrastructure, Numbered, Product

MB = 1024 * 1024
SIZE_MB_MIN = 1024
SIZE_MB_MAX = 2046976


class StorageType(models.TextChoices):
    """The classes of storage a DriveArray can ask for."""

    SSD = "iscsi_ssd", "iscsi_ssd"
    HDD = "iscsi_hdd", "iscsi_hdd"


class StoragePool(models.Model):
    """A place where drives are kept, and the engine that keeps them."""

    label = models.CharField(max_length=40, unique=True)
    engine = models.CharField(max_length=20, default="qcow2", help_text="The storage driver of this pool.")
    storage_type = models.CharField(max_length=9, choices=StorageType.choices, default=StorageType.SSD)
    folder = models.CharField(
        max_length=200, blank=True, help_text="Where the drives are. Empty: a folder of this pool's own in DATA_DIR."
    )
    ceph_conf = models.CharField(
        "Ceph configuration",
        max_length=200,
        blank=True,
        help_text="Path of the cluster's ceph.conf, which names the keyring.",
    )
    ceph_user = models.CharField("Ceph user", max_length=60, blank=True, help_text='Without "client."')
    ceph_pool = models.CharField("RADOS pool", max_length=60, blank=True, help_text="Where the images are.")

    capacity_gb = models.PositiveIntegerField(
        "capacity, GB", null=True, blank=True, help_text="What drives may take of it. Empty: no limit."
    )
    overcommit_percent = models.PositiveIntegerField(
        "over-provisioning, %",
        default=100,
        validators=[MinValueValidator(100), MaxValueValidator(10000)],
        help_text="Up to how much of the capacity the sizes of its drives may add up. 100: no more than there is.",
    )
    maintenance = models.BooleanField(
        default=False, help_text="Nothing new is begun here. What is served goes on being served."
    )

    total_bytes = models.PositiveBigIntegerField(null=True, editable=False)
    free_bytes = models.PositiveBigIntegerField(null=True, editable=False)
    held_bytes = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="What its drives hold with their snapshots, as last counted."
    )
    usage_seen_at = models.DateTimeField(null=True, editable=False)
    usage_error = models.CharField(max_length=300, blank=True, editable=False)
    usage_told = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="The highest warning that was told since the pool had room, in percent."
    )
    check_asked_at = models.DateTimeField(null=True, editable=False, help_text="Until the worker has checked.")
    checked_at = models.DateTimeField(null=True, editable=False)
    checked = models.JSONField(default=list, editable=False, help_text="Pairs: what was tried, and what is wrong.")

    class Meta:
        ordering: ClassVar[list[str]] = ["label"]
        constraints = (
            models.UniqueConstraint(
                fields=["folder"],
                condition=~models.Q(folder=""),
                name="pool_folder_unique",
                violation_error_message="Another pool is in this folder already.",
            ),
            models.UniqueConstraint(
                fields=["ceph_conf", "ceph_pool"],
                condition=~models.Q(ceph_pool=""),
                name="pool_ceph_unique",
                violation_error_message="Another pool is in this RADOS pool already.",
            ),
        )

    def __str__(self) -> str:
        return self.label

    @property
    def path(self) -> Path:
        return Path(self.folder) if self.folder else settings.DATA_DIR / "pools" / str(self.pk)

    @property
    def topic(self) -> str:
        return f"pool-{self.pk}"


class DriveArray(Numbered, Product):
    """A group of iSCSI drives, one for each server of the InstanceArray it is attached to."""

    infrastructure = models.ForeignKey(Infrastructure, models.CASCADE, related_name="drive_arrays")
    instance_array = models.ForeignKey(
        InstanceArray, models.SET_NULL, null=True, blank=True, related_name="drive_arrays", verbose_name="attached to"
    )
    grows = models.BooleanField(
        "grows with its InstanceArray", default=True, help_text="New servers get a drive of this array."
    )
    size_mb = models.PositiveIntegerField(
        "size of each drive, MB",
        default=40960,
        validators=[MinValueValidator(SIZE_MB_MIN), MaxValueValidator(SIZE_MB_MAX)],
    )
    storage_type = models.CharField(max_length=9, choices=StorageType.choices, default=StorageType.SSD)

    class Meta:
        ordering: ClassVar[list[str]] = ["pk"]
        constraints = (
            models.UniqueConstraint(fields=["infrastructure", "label"], name="drive_array_label_unique"),
            models.CheckConstraint(condition=models.Q(count__lte=COUNT_MAX), name="drive_array_count_limit"),
            models.CheckConstraint(
                condition=models.Q(size_mb__gte=SIZE_MB_MIN, size_mb__lte=SIZE_MB_MAX), name="drive_array_size_limit"
            ),
        )

    def get_absolute_url(self) -> str:
        return reverse("drive_array", args=[self.pk])

    def drawn(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "storage_type": self.storage_type,
            "size_mb": self.size_mb,
            "numbers": self.numbers,
            "instance_array": self.instance_array_id,
            "grows": self.grows,
        }

    @property
    def topic(self) -> str:
        return f"drive-array-{self.pk}"


class Drive(models.Model):
    """One volume with its own bytes.

    Its bytes are a tree of layers (see editor.storage): `head_layer` is the one being written, null until the
    volume exists; `next_layer` is the next free id, counted here so that an id is reserved before anything
    happens on disk. `hold` says in a sentence who is working on the drive: it is the lock, the guard for
    power-on and the badge on the canvas.
    """

    drive_array = models.ForeignKey(DriveArray, models.CASCADE, related_name="drives")
    number = models.PositiveIntegerField()
    instance = models.ForeignKey(Instance, models.SET_NULL, null=True, blank=True, related_name="drives")
    pool = models.ForeignKey(StoragePool, models.PROTECT, related_name="drives")
    size_mb = models.PositiveIntegerField(validators=[MinValueValidator(SIZE_MB_MIN), MaxValueValidator(SIZE_MB_MAX)])

    head_layer = models.PositiveIntegerField(null=True, editable=False)
    next_layer = models.PositiveIntegerField(default=1, editable=False)
    hold = models.CharField(max_length=120, blank=True, editable=False)
    snapshot_count = models.PositiveSmallIntegerField(default=0, editable=False)
    next_snapshot_number = models.PositiveIntegerField(default=1, editable=False)
    used_bytes = models.PositiveBigIntegerField(default=0, editable=False)
    observed_at = models.DateTimeField(null=True, editable=False, help_text="When the used bytes were read.")
    observe_due = models.BooleanField(default=False, editable=False)
    reclaim_due = models.BooleanField(
        default=False, editable=False, help_text="Layers of deleted snapshots wait to be merged or removed."
    )
    trouble = models.ForeignKey(
        Event, models.SET_NULL, null=True, editable=False, related_name="+", help_text="The last failure, until read."
    )

    exported = models.BooleanField(default=False, editable=False, help_text="Served over iSCSI when last looked at.")
    export_due = models.BooleanField(default=False, editable=False, help_text="Is not served as it should be.")
    export_error = models.CharField(max_length=300, blank=True, editable=False, help_text="Why it is not served.")
    sessions = models.JSONField(default=list, editable=False, help_text="Pairs of initiator and address, logged in.")

    class Meta:
        ordering: ClassVar[list[str]] = ["number"]
        constraints = (
            models.UniqueConstraint(fields=["drive_array", "number"], name="drive_number_unique"),
            models.UniqueConstraint(
                fields=["drive_array", "instance"],
                condition=models.Q(instance__isnull=False),
                name="drive_one_per_instance",
            ),
            models.CheckConstraint(
                condition=models.Q(size_mb__gte=SIZE_MB_MIN, size_mb__lte=SIZE_MB_MAX), name="drive_size_limit"
            ),
        )
        indexes = (
            models.Index(
                fields=["id"],
                condition=models.Q(observe_due=True)
                | models.Q(reclaim_due=True)
                | models.Q(export_due=True)
                | models.Q(head_layer__isnull=True),
                name="drive_work_waiting",
            ),
        )

    def __str__(self) -> str:
        return self.label

    def get_absolute_url(self) -> str:
        return reverse("drive", args=[self.pk])

    @property
    def label(self) -> str:
        """ "web-data-2": the array's label and the number; select_related("drive_array") in lists."""
        return f"{self.drive_array.label}-{self.number}"

    @property
    def topic(self) -> str:
        return f"drive-{self.pk}"

    @property
    def size_bytes(self) -> int:
        return self.size_mb * MB
