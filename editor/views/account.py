"""Signing in and out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from axes.helpers import get_cool_off
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from editor.views.page import is_partial
from editor.words import counted


class SignIn(LoginView):
    """Leads on to `next` when that is an address of this site."""

    template_name = "sign_in.html"
    redirect_authenticated_user = True

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if is_partial(request):
            # Somebody's session ended while their page was open: the whole page leads here, not a piece of it.
            return HttpResponse(headers={"HX-Refresh": "true"})
        return super().dispatch(request, *args, **kwargs)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        # One answer for every reason, so that nobody learns which addresses have an account.
        return self.render_to_response(self.get_context_data(form=form), status=422)


sign_in = login_not_required(SignIn.as_view())


@login_not_required
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("sign-in")


def locked_out(request: HttpRequest, response: HttpResponse, credentials: Mapping[str, Any] | None) -> HttpResponse:
    """Answers a sign-in after too many failures; django-axes calls it in place of the form's answer."""
    del credentials
    wait = get_cool_off(request) or timedelta()
    minutes = max(1, round(wait.total_seconds() / 60))
    response = render(request, "locked_out.html", {"wait": counted(minutes, "minute")}, status=429)
    response["Retry-After"] = str(minutes * 60)
    return response
