"""What a person asks of servers, and what their page had told them when they pressed the button."""

from __future__ import annotations

import re
from typing import Any

from django import forms

from editor.models import Instance, InstanceArray, PowerCommand

KEEP_WAITING, LEAVE_ON, DISMISS = "keep_waiting", "leave_on", "dismiss"
ASKED_FIRST = (PowerCommand.RESET, PowerCommand.HARD_POWER_OFF)
"""What loses data that was not written yet, and so has a confirmation of its own."""

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)
_NONE = "Select at least one instance."
_GONE = "An instance of the list is not there any more. Look at the list again."


class InstancesField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]  # generic in the stubs only
    """Instances by id. What is no id is an instance that is not there, however many digits it has."""

    def clean(self, value: Any) -> Any:
        if not all(_ID.fullmatch(str(one)) for one in value or ()):
            raise forms.ValidationError(self.error_messages["invalid_choice"], code="invalid_choice")
        return super().clean(value)


class LimitForm(forms.Form):
    """How long a soft shutdown may take before the person who asked decides."""

    LEAST, MOST = 30, 86400
    _OUT_OF_RANGE = f"Give the servers {LEAST} to {MOST} seconds."

    limit = forms.IntegerField(
        required=False,
        min_value=LEAST,
        max_value=MOST,
        error_messages={
            "invalid": "Type a whole number of seconds.",
            "min_value": _OUT_OF_RANGE,
            "max_value": _OUT_OF_RANGE,
        },
        widget=forms.TextInput(
            attrs={"class": "input", "data-keep": "", "autocomplete": "off", "inputmode": "numeric", "maxlength": "12"}
        ),
    )


class InstancesForm(forms.Form):
    """Instances of one InstanceArray."""

    instances = InstancesField(
        Instance.objects.none(),
        error_messages={"required": _NONE, "invalid_choice": _GONE, "invalid_pk_value": _GONE},
    )

    def __init__(self, data: Any, *, array: InstanceArray) -> None:
        super().__init__(data)
        rows = array.instances.select_related("server").order_by("number")
        self.fields["instances"].queryset = rows  # type: ignore[attr-defined]

    def chosen(self, array: InstanceArray) -> list[Instance]:
        """Answers the instances in order; each knows its array already."""
        instances = list(self.cleaned_data["instances"])
        for instance in instances:
            instance.instance_array = array
        return instances

    def first_error(self) -> str:
        """Answers one sentence for all that is wrong."""
        return str(next(iter(self.errors.values()))[0])


class LookForm(InstancesForm):
    """Whose BMCs are read at once; nobody named means all."""

    def __init__(self, data: Any, *, array: InstanceArray) -> None:
        super().__init__(data, array=array)
        self.fields["instances"].required = False


class PowerForm(LimitForm, InstancesForm):
    """A command for instances of one InstanceArray. `confirmed` comes from the confirmation that named them."""

    command = forms.ChoiceField(
        choices=[
            *PowerCommand.choices,
            (KEEP_WAITING, "Keep waiting"),
            (LEAVE_ON, "Leave it on"),
            (DISMISS, "Dismiss"),
        ],
        error_messages={"required": "Say what to do.", "invalid_choice": "There is no such power command."},
    )
    key = forms.UUIDField(required=False)
    confirmed = forms.BooleanField(required=False)

    def clean(self) -> dict[str, Any] | None:
        """What is typed beside another command is no matter of that."""
        if self.cleaned_data.get("command", PowerCommand.SOFT_SHUTDOWN) != PowerCommand.SOFT_SHUTDOWN:
            self.errors.pop("limit", None)
            self.cleaned_data["limit"] = None
        return self.cleaned_data
