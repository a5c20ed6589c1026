"""What people type about the design, checked by the rules, each no at its field."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any

from django import forms

from editor.design_rules import (
    why_not_count,
    why_not_infrastructure_label,
    why_not_label,
    why_not_server_type,
    why_not_size,
    why_not_storage_type,
)
from editor.models import (
    SIZE_MB_MAX,
    DriveArray,
    InstanceArray,
    Product,
    ServerType,
    StorageType,
)

MB_PER_GB = 1024
NUMBER_MAX = 10**9
_NO_NUMBER = "Type a whole number."
_UNREADABLE = "This form cannot be read. Nothing was done. Reload the page and try again."

LABEL_MAX = 63
KEEP, DELETE = "keep", "delete"
CHOICES_FOR_DRIVES = [("", ""), (KEEP, "Keep"), (DELETE, "Delete")]


def number(value: Any) -> str:
    """Answers "40" or "1.5": a size in GB as people type it."""
    return f"{Decimal(value).quantize(Decimal('0.001')).normalize():f}"


def text_input(**attrs: str) -> dict[str, str]:
    """The attributes of an input: it keeps what is half typed when the page around it is refreshed."""
    return {"class": "input", "data-keep": "", "autocomplete": "off", **attrs}


RESIZE = {"data-resize": ""}
"""Where one goes to make an array larger or smaller: the first of these in a form."""


class KeyForm(forms.Form):
    """A form that means one wish, however often it arrives. `seen` is the revision that its page showed."""

    key = forms.UUIDField(required=False, error_messages={"invalid": _UNREADABLE})
    seen = forms.IntegerField(
        required=False, min_value=0, max_value=NUMBER_MAX, error_messages={"invalid": _UNREADABLE}
    )


class LabelForm(KeyForm):
    """The label of a product; `others` are the labels that are taken."""

    label = forms.CharField(
        max_length=LABEL_MAX,
        required=False,
        widget=forms.TextInput(attrs=text_input(spellcheck="false", autocapitalize="off")),
    )

    def __init__(self, *args: Any, product: Product, others: Collection[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.product, self.others = product, others

    def clean_label(self) -> str:
        label: str = self.cleaned_data["label"]
        _demand(why_not_label(label, self.others))
        return label


class ArrayForm(LabelForm):
    """What both kinds of arrays have."""

    thing = "server"
    count = forms.IntegerField(
        min_value=0,
        error_messages={"invalid": _NO_NUMBER, "required": _NO_NUMBER, "min_value": _NO_NUMBER},
        widget=forms.NumberInput(attrs=text_input(inputmode="numeric", min="0", step="1") | RESIZE),
    )
    leaving = forms.TypedMultipleChoiceField(required=False, coerce=int)

    def __init__(self, *args: Any, product: InstanceArray | DriveArray, **kwargs: Any) -> None:
        super().__init__(*args, product=product, **kwargs)
        self.fields["leaving"].choices = [  # type: ignore[attr-defined]
            (str(number), str(number)) for number in product.numbers
        ]

    def clean_count(self) -> int:
        count: int = self.cleaned_data["count"]
        _demand(why_not_count(count, self.thing))
        return count


class InstanceArrayForm(ArrayForm):
    """The Configuration tab of an InstanceArray. `drives` says what becomes of the drives of servers that go."""

    server_type = forms.ModelChoiceField(
        ServerType.objects.all(),
        empty_label=None,
        error_messages={"required": "Choose a server type.", "invalid_choice": "There is no such server type."},
        widget=forms.Select(attrs=text_input()),
    )
    drives = forms.ChoiceField(choices=CHOICES_FOR_DRIVES, required=False)

    def clean_server_type(self) -> ServerType:
        kind: ServerType = self.cleaned_data["server_type"]
        assert isinstance(self.product, InstanceArray)
        _demand(why_not_server_type(self.product, kind.pk))
        return kind


class DriveArrayForm(ArrayForm):
    """The Configuration tab of a DriveArray. Sizes are typed in GB and kept in MB."""

    thing = "drive"
    size_gb = forms.DecimalField(
        max_digits=8,
        decimal_places=3,
        error_messages={
            "invalid": "Type a size in GB, for example 40.",
            "required": "Type a size in GB, for example 40.",
        },
        widget=forms.NumberInput(
            attrs=text_input(inputmode="decimal", min="1", max=str(SIZE_MB_MAX // MB_PER_GB), step="any") | RESIZE
        ),
    )
    storage_type = forms.ChoiceField(
        choices=StorageType.choices,
        error_messages={"required": "Choose a class.", "invalid_choice": "There is no such class of storage."},
        widget=forms.Select(attrs=text_input()),
    )
    grows = forms.BooleanField(required=False, widget=forms.CheckboxInput(attrs={"class": "check", "data-keep": ""}))

    def clean_size_gb(self) -> Decimal:
        size_gb: Decimal = self.cleaned_data["size_gb"]
        deployed = self.product.deployed or {}
        _demand(why_not_size(round(size_gb * MB_PER_GB), deployed.get("size_mb", 0), self.product.label))
        return size_gb

    def clean_storage_type(self) -> str:
        storage_type: str = self.cleaned_data["storage_type"]
        assert isinstance(self.product, DriveArray)
        _demand(why_not_storage_type(self.product, storage_type))
        return storage_type

    @property
    def size_mb(self) -> int:
        size_gb: Decimal = self.cleaned_data["size_gb"]
        return round(size_gb * MB_PER_GB)


class DeleteForm(KeyForm):
    """A confirmation that something is taken out of the design."""

    drives = forms.ChoiceField(choices=CHOICES_FOR_DRIVES, required=False)


class InfrastructureForm(forms.Form):
    """A new infrastructure, or new words for one. `others` are the labels that this person sees already."""

    label = forms.CharField(
        max_length=LABEL_MAX,
        required=False,
        widget=forms.TextInput(attrs=text_input(spellcheck="false", autocapitalize="off")),
    )
    description = forms.CharField(max_length=120, required=False, widget=forms.TextInput(attrs=text_input()))

    def __init__(self, *args: Any, others: Collection[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.others = others

    def clean_label(self) -> str:
        label: str = self.cleaned_data["label"]
        _demand(why_not_infrastructure_label(label, self.others))
        return label


class DeployForm(KeyForm):
    """What was reviewed, and how servers that must be off are shut down."""

    SECONDS_MIN, SECONDS_MAX = 30, 86400
    _TIME = f"Give the servers {SECONDS_MIN} to {SECONDS_MAX} seconds."

    fingerprint = forms.CharField(max_length=200, error_messages={"required": _UNREADABLE})
    destroy = forms.BooleanField(required=False)
    how = forms.ChoiceField(
        choices=[
            ("wait", "Soft Shutdown, then wait"),
            ("force", "Soft Shutdown, then force"),
            ("hard", "Hard at once"),
        ],
        required=False,
        error_messages={"invalid_choice": _UNREADABLE},
    )
    seconds = forms.IntegerField(
        required=False,
        min_value=SECONDS_MIN,
        max_value=SECONDS_MAX,
        error_messages={"invalid": _NO_NUMBER, "min_value": _TIME, "max_value": _TIME},
        widget=forms.NumberInput(
            attrs=text_input(inputmode="numeric", min=str(SECONDS_MIN), max=str(SECONDS_MAX), step="1")
        ),
    )

    def __init__(self, *args: Any, destroys: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.destroys = destroys

    def clean_destroy(self) -> bool:
        agreed: bool = self.cleaned_data["destroy"]
        if self.destroys and not agreed:
            raise forms.ValidationError("Tick this to go on.")
        return agreed

    def soft_seconds(self, otherwise: int) -> int:
        """Answers the time for soft shutdowns, 0 when the power is cut at once."""
        if self.cleaned_data["how"] == "hard":
            return 0
        seconds: int | None = self.cleaned_data["seconds"]
        return seconds or otherwise

    @property
    def then_hard(self) -> bool:
        return bool(self.cleaned_data["how"] == "force")


def first_error(form: forms.Form) -> str:
    """Answers one sentence about a form that cannot be taken."""
    return next(str(messages[0]) for messages in form.errors.values())


def disable(form: forms.Form) -> None:
    """What may not be changed is shown as it is."""
    for field in form.fields.values():
        field.disabled = True


def _demand(reason: str | None) -> None:
    if reason:
        raise forms.ValidationError(reason)
