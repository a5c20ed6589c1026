"""Sign-in slows down whoever guesses, and nobody else."""

from __future__ import annotations

import pytest
from django.db import OperationalError
from django.test import Client

from editor.models import User
from tests import factories

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


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true", "HX-Request-Type": "partial"}])
def test_database_that_does_not_answer_is_said_in_a_sentence(
    db: None, client: Client, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    client.force_login(factories.make_user(), backend="django.contrib.auth.backends.ModelBackend")

    def locked(*_: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr("editor.models.infrastructure.InfrastructureQuerySet.visible_to", locked)
    response = client.get("/infrastructures/", headers=headers)

    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert "It is busy, or its disk is full." in response.content.decode()


def test_change_after_the_session_ended_leads_to_the_list_not_to_the_change(db: None, client: Client) -> None:
    assert client.post("/drives/1/snapshots/create/").headers["Location"] == "/sign-in/?next=/"
    assert client.get("/drives/1/").headers["Location"] == "/sign-in/?next=/drives/1/"
