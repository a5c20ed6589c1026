"""The ear that all other tests rely on hears everything."""

from __future__ import annotations

from tests.e2e.people import People


def test_no_complaint_of_a_page_goes_unheard(people: People) -> None:
    page = people.open("ana", "/infrastructures/")

    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
    page.evaluate("console.error('something is wrong')")
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('boom') })")
    page.goto("/no/such/page")

    heard = "\n".join(people.problems)
    people.problems.clear()
    for words in ("CSP: style-src-attr: inline", "something is wrong", "boom", "status of 404"):
        assert words in heard
