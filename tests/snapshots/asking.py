"""How tests look at the Snapshots tab and ask for changes there."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.test import Client
from django.urls import reverse

from editor.models import User
from tests.reading import Page, read

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


def sign_in(client: Client, user: User) -> None:
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")


def address(name: str, pk: int) -> str:
    return reverse(f"snapshots:{name}", args=[pk])


def tab(client: Client, drive: int) -> Page:
    return read(client.get(address("list", drive), headers=PARTIAL))


def post(client: Client, name: str, pk: int, **data: object) -> Any:
    return client.post(address(name, pk), {"key": str(uuid4()), **data}, headers=PARTIAL)
