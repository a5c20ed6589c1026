"""Signing in and out, and the pages of errors."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from django.conf import settings
from django.test import Client, RequestFactory
from django.urls import reverse

from editor.models import User
from editor.views import errors
from tests import factories
from tests.reading import read

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
EMAIL, PASSWORD = "olga.own@example.org", "correct horse battery"


@pytest.fixture
def owner(db: None) -> User:
    return factories.make_user("Olga Own")


@pytest.fixture
def browser(client: Client, owner: User) -> Client:
    client.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    return client


def sign_in(client: Client, password: str = PASSWORD, **fields: str) -> Response:
    return client.post(reverse("sign-in"), {"username": EMAIL, "password": password, **fields})


# ── Signing in ───────────────────────────────────────────────────────────────


def test_sign_in_page_asks_for_email_and_password(client: Client, db: None) -> None:
    response = client.get(reverse("sign-in"))

    page = read(response)
    assert response.status_code == 200
    assert page.words == "Sign in · Infrastructure editor Infrastructure editor Email Password Sign in"
    assert page.control("Sign in").tag == "button"


def test_right_password_leads_to_the_infrastructures(client: Client, owner: User) -> None:
    response = sign_in(client)

    assert (response.status_code, response["Location"]) == (302, reverse("infrastructures"))
    assert client.session["_auth_user_id"] == str(owner.pk)


def test_capitals_in_the_address_do_not_matter(client: Client, owner: User) -> None:
    response = sign_in(client, username="Olga.Own@Example.org")

    assert response.status_code == 302


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "wrong"},
        {"username": "nobody@example.org"},
        {"username": "", "password": ""},
    ],
)
def test_wrong_sign_in_says_the_same_whatever_is_wrong(client: Client, owner: User, fields: dict[str, str]) -> None:
    response = client.post(reverse("sign-in"), {"username": EMAIL, "password": PASSWORD, **fields})

    assert response.status_code == 422
    assert read(response).texts["not-signed-in"] == (
        "Not signed in Email or password is wrong. Check both and try again."
    )
    assert "_auth_user_id" not in client.session


def test_wrong_password_keeps_the_email_and_no_password(client: Client, owner: User) -> None:
    page = read(sign_in(client, "wrong"))

    assert page.value("email") == EMAIL
    assert page.value("password") == ""


def test_somebody_who_left_cannot_sign_in(client: Client, owner: User) -> None:
    owner.is_active = False
    owner.save()

    response = sign_in(client)

    assert response.status_code == 422


def test_fifth_failure_closes_sign_in_for_a_while(client: Client, owner: User) -> None:
    answers = [sign_in(client, "wrong") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [422, 422, 422, 422, 429]
    assert "Not signed in Too many attempts. Try again in 15 minutes." in read(answers[-1]).words
    assert answers[-1]["Retry-After"] == "900"
    assert sign_in(client).status_code == 429


def test_sign_in_of_others_stays_open(client: Client, owner: User) -> None:
    other = factories.make_user("Otto Op")
    for _ in range(5):
        sign_in(client, "wrong")

    response = sign_in(client, username=other.email)

    assert response.status_code == 302


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ("/drives/7/?tab=1", "/drives/7/?tab=1"),
        ("https://evil.example/", "/infrastructures/"),
        ("//evil.example/", "/infrastructures/"),
        ("/\\evil.example", "/infrastructures/"),
        ("javascript:alert(1)", "/infrastructures/"),
    ],
)
def test_next_leads_only_to_pages_of_this_site(client: Client, owner: User, wanted: str, reached: str) -> None:
    response = sign_in(client, next=wanted)

    assert response["Location"] == reached


def test_next_goes_along_with_the_form(client: Client, owner: User) -> None:
    asked = client.get("/drives/7/")
    page = client.get(asked["Location"])

    assert asked["Location"] == "/sign-in/?next=/drives/7/"
    assert '<input type="hidden" name="next" value="/drives/7/">' in page.content.decode()


def test_who_is_signed_in_already_is_led_on(browser: Client) -> None:
    response = browser.get(reverse("sign-in"))

    assert (response.status_code, response["Location"]) == (302, reverse("infrastructures"))


def test_fragment_after_the_session_ended_reloads_the_page(client: Client, db: None) -> None:
    asked = client.get("/drives/7/", headers=PARTIAL)
    response = client.get(asked["Location"], headers=PARTIAL)

    assert (response["HX-Refresh"], response.content) == ("true", b"")


# ── Signing out ──────────────────────────────────────────────────────────────


def test_sign_out_ends_the_session(browser: Client) -> None:
    response = browser.post(reverse("sign-out"))

    assert (response.status_code, response["Location"]) == (302, reverse("sign-in"))
    assert browser.get(reverse("infrastructures")).status_code == 302


def test_sign_out_by_a_link_is_not_possible(browser: Client) -> None:
    response = browser.get(reverse("sign-out"))

    assert response.status_code == 405
    assert browser.get(reverse("infrastructures")).status_code == 200


@pytest.mark.parametrize("name", ["sign-in", "sign-out"])
def test_form_without_its_token_is_refused(owner: User, name: str) -> None:
    client = Client(enforce_csrf_checks=True)

    response = client.post(reverse(name), {"username": EMAIL, "password": PASSWORD})

    page = read(response)
    assert response.status_code == 403
    assert "Nothing was changed" in page.words
    assert "Go back, reload the page and try again." in page.words


def test_fragment_without_its_token_is_a_toast_so_that_the_page_stays(owner: User) -> None:
    client = Client(enforce_csrf_checks=True)

    response = client.post(reverse("sign-out"), headers=PARTIAL)

    assert (response.status_code, response["HX-Retarget"], response["HX-Reswap"]) == (403, "#toasts", "beforeend")
    assert read(response).words == "Nothing was changed This page is too old. Reload it and try again."


@pytest.mark.parametrize(
    "path", ["/infrastructures/", "/infrastructures/1/", "/instance-arrays/1/instances/", "/networks/1/"]
)
def test_every_page_asks_to_sign_in_first(client: Client, db: None, path: str) -> None:
    response = client.get(path)

    assert (response.status_code, response["Location"]) == (302, f"/sign-in/?next={path}")


# ── Error pages ──────────────────────────────────────────────────────────────


def test_missing_page_says_nothing_here(browser: Client) -> None:
    response = browser.get("/drives/4711/")

    page = read(response)
    assert response.status_code == 404
    assert page.words == (
        "Nothing here · Infrastructure editor Error 404 Nothing here This page does not exist, or what it showed was "
        "deleted. Deleted arrays stay in the activity log. All infrastructures"
    )
    assert page.control("All infrastructures").attributes["href"] == reverse("infrastructures")


def test_missing_and_forbidden_look_the_same(browser: Client, db: None) -> None:
    other = factories.make_infrastructure(factories.make_user("Tom Other"), "secret-plan")

    forbidden = browser.get(other.get_absolute_url())
    missing = browser.get("/infrastructures/4711/")

    assert forbidden.status_code == missing.status_code == 404
    assert forbidden.content == missing.content


def test_missing_panel_is_a_fragment(browser: Client) -> None:
    response = browser.get("/drives/4711/", headers=PARTIAL)

    assert response.status_code == 404
    assert "<html" not in response.content.decode()
    assert read(response).texts["panel-title"] == "Nothing here"


def test_forbidden_page_names_the_account_and_nothing_else(owner: User) -> None:
    request = RequestFactory().get("/secret-plan/")
    request.user = owner

    response = errors.forbidden(request)

    page = read(response)
    assert response.status_code == 403
    assert page.words == (
        "No access · Infrastructure editor Error 403 No access You are signed in as olga.own@example.org, and this "
        "account may not open this page. Ask an owner of the infrastructure to add you. All infrastructures "
        "Sign in as someone else"
    )


def test_broken_page_needs_no_database(caplog: pytest.LogCaptureFixture) -> None:
    # Neither a session nor a user on the request, and without the `db` fixture any query would fail.
    with caplog.at_level(logging.ERROR):
        response = errors.server_error(RequestFactory().get("/infrastructures/"))

    page = read(response)
    number = re.search(r"request ([0-9a-f]{8})", page.words)
    assert response.status_code == 500
    assert "Something broke on our side The request was not completed." in page.words
    assert "check the activity log before you try again." in page.words
    assert number is not None
    assert f"Request {number[1]} could not be answered: GET /infrastructures/" in caplog.text
    assert page.control("Try again").attributes["href"] == "/infrastructures/"


def test_try_again_never_sends_a_form_again() -> None:
    page = read(errors.server_error(RequestFactory().post("/drives/7/snapshots/create/")))

    assert page.control("Try again").attributes["href"] == "/"


def test_fault_in_a_view_is_answered_with_the_page(browser: Client) -> None:
    browser.raise_request_exception = False

    with mock.patch("editor.views.infrastructures.rows_of", side_effect=ZeroDivisionError):
        response = browser.get(reverse("infrastructures"))

    assert response.status_code == 500
    assert "Something broke on our side" in read(response).words
    assert "ZeroDivisionError" not in response.content.decode()


def test_broken_fragment_is_a_toast_so_that_the_page_stays() -> None:
    response = errors.server_error(RequestFactory().get("/drives/7/", headers=PARTIAL))

    assert (response.status_code, response["HX-Retarget"], response["HX-Reswap"]) == (500, "#toasts", "beforeend")
    assert "<html" not in response.content.decode()
    assert "Something broke on our side" in read(response).words


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ("note=" + 3_000_000 * "x", "application/x-www-form-urlencoded"),
        ("&".join(f"of={number}" for number in range(9999)), "application/x-www-form-urlencoded"),
        ("note=+AGE-", "application/x-www-form-urlencoded; charset=utf-7"),
        ("note", "multipart/form-data"),
    ],
)
def test_what_is_too_large_or_no_form_is_refused_in_a_sentence(sent: str, kind: str) -> None:
    browser = Client(enforce_csrf_checks=True)  # that reads it
    browser.cookies[settings.CSRF_COOKIE_NAME] = 32 * "x"
    page = browser.post("/drives/7/snapshots/create/", sent, content_type=kind)
    toast = browser.post("/drives/7/snapshots/create/", sent, content_type=kind, headers=PARTIAL)

    assert [page.status_code, toast.status_code, toast["HX-Retarget"]] == [400, 400, "#toasts"]
    assert "Nothing was changed What was sent is too large, or cannot be read." in read(page).words
    assert "Nothing was changed What was sent is too large, or cannot be read." in read(toast).words
    assert "<html" not in toast.content.decode()


def test_address_that_is_not_the_editors_own_is_told(browser: Client) -> None:
    response = browser.get("/infrastructures/", headers={"Host": "elsewhere.example.org"})

    assert response.status_code == 400
    assert "The editor does not answer at this address." in read(response).words
    assert "elsewhere" not in response.content.decode()


# ── The browser is told ──────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/sign-in/", "/infrastructures/", "/drives/4711/"])
def test_no_page_has_inline_style_or_script(browser: Client, path: str) -> None:
    page = browser.get(path, follow=True).content.decode()

    assert not re.search(r"""\s(style|on\w+|hx-on[\w:-]*)=|<style|<script(?![^>]*\ssrc=)""", page)
