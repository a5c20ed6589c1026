"""Addresses of snapshots, under their drive while there is none yet."""

from __future__ import annotations

from django.urls import path

from snapshots import views

app_name = "snapshots"

urlpatterns = [
    # /drives/<id>/snapshots/
    path("drives/<int:pk>/snapshots/", views.index, name="list"),
    path("drives/<int:pk>/snapshots/create/", views.create, name="create"),
    path("drives/<int:pk>/snapshots/power/", views.power, name="power"),
    # /snapshots/
    path("snapshots/<int:pk>/revert/", views.revert, name="revert"),
    path("snapshots/<int:pk>/delete/", views.delete, name="delete"),
    path("snapshots/<int:pk>/note/", views.note, name="note"),
]
