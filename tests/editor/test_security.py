"""Sign-in slows down whoever guesses, and nobody else."""

from __future__ import annotations

import pytest
from django.test import Client

from editor.models import User

PASSWORD = "correct horse battery"


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("owner@example.org", PASSWORD, name="Olga Owner")


def sign_in(client: Client, email: str, password: str, *, address: str = "192.0.2.1") -> int:
    answer = client.post("/sign-in/", {"username": email, "password": password}, REMOTE_ADDR=address)
    return answer.status_code


@pytest.mark.django_db
def test_fifth_wrong_password_closes_sign_in_whatever_the_capitals(owner: User, client: Client) -> None:
    spellings = [
        "owner@example.org",
        "OWNER@example.org",
        "owner@EXAMPLE.org",
        " owner@example.org",
        "Owner@example.org",
    ]

    statuses = [sign_in(client, email, "wrong") for email in spellings]

    assert statuses[-1] == 429
    assert 429 not in statuses[:-1]
    assert sign_in(client, "owner@example.org", PASSWORD) == 429


@pytest.mark.django_db
def test_guessing_from_elsewhere_does_not_lock_the_owner_out(owner: User, client: Client) -> None:
    for _ in range(6):
        sign_in(client, "owner@example.org", "wrong", address="203.0.113.9")

    assert sign_in(client, "owner@example.org", PASSWORD) == 302


@pytest.mark.django_db
def test_signing_in_clears_earlier_mistakes(owner: User, client: Client) -> None:
    for _ in range(3):
        for _ in range(4):
            sign_in(client, "owner@example.org", "wrong")
        assert sign_in(client, "owner@example.org", PASSWORD) == 302
        client.logout()
