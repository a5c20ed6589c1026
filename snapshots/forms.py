"""What people type about snapshots, and what their page had told them when they pressed the button."""

from __future__ import annotations

import unicodedata
from typing import Any

from django import forms

from snapshots.models import NOTE_MAX

_TOO_LONG = f"A note has at most {NOTE_MAX} characters. Shorten it and try again."
_UNREADABLE = "This form cannot be read. Nothing was done. Reload the page and try again."


class NoteForm(forms.Form):
    """The words beside a snapshot; none are asked for."""

    note = forms.CharField(
        max_length=NOTE_MAX, required=False, error_messages={"max_length": _TOO_LONG}, empty_value=""
    )

    def clean_note(self) -> str:
        """Without characters that are not seen, or that turn the text around them: a confirmation shows the note."""
        note = self.cleaned_data["note"]
        return "".join(letter for letter in note if unicodedata.category(letter) not in {"Cc", "Cf"}).strip()


class KeyForm(forms.Form):
    """A form that means one wish, however often it arrives."""

    key = forms.UUIDField(required=False, error_messages={"invalid": _UNREADABLE})


class CreateForm(NoteForm, KeyForm):
    """`expect_delete` is the id of the snapshot that the page said goes for the new one."""

    expect_delete = forms.IntegerField(
        required=False, min_value=1, error_messages={"invalid": _UNREADABLE, "min_value": _UNREADABLE}
    )


class RevertForm(KeyForm):
    """`expect` are the ids of the snapshots that the confirmation said are deleted."""

    expect = forms.CharField(required=False)

    def clean_expect(self) -> list[int]:
        words: Any = self.cleaned_data["expect"].split(",")
        try:
            return [int(word) for word in words if word]
        except ValueError:
            raise forms.ValidationError(_UNREADABLE) from None


class PowerForm(KeyForm):
    """What is wanted of the server, asked where the drive is shown."""

    command = forms.ChoiceField(
        choices=[("soft_shutdown", "Shut down"), ("power_on", "Power on"), ("keep_waiting", "Keep waiting")]
    )


def first_error(form: forms.Form) -> str:
    """Answers one sentence about a form that cannot be taken."""
    return next(str(messages[0]) for messages in form.errors.values())
