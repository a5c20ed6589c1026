"""The panel of a network: what kind it is, and which InstanceArrays are on it, by which interface."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from editor.models import DriveArray, Network, NetworkKind
from editor.views.page import render_panel, visible
from editor.views.panel import Head, Tab, words
from editor.words import counted

MEANINGS = {
    NetworkKind.WAN: "Reaches the internet. An infrastructure has one.",
    NetworkKind.LAN: "Joins the servers of this infrastructure among themselves.",
    NetworkKind.SAN: "Carries the drives to the servers over iSCSI. An infrastructure has one.",
}


@dataclass(frozen=True)
class Tap:
    """One interface of an InstanceArray on the network."""

    array: str
    url: str
    topic: str
    interface: str
    servers: str


@require_safe
def overview(request: HttpRequest, pk: int) -> HttpResponse:
    network = visible(request, Network.objects.select_related("infrastructure"), pk)
    interfaces = network.interfaces.select_related("instance_array").order_by("instance_array__label", "index")
    taps = [
        Tap(
            array=one.instance_array.label,
            url=one.instance_array.get_absolute_url(),
            topic=one.instance_array.topic,
            interface=str(one),
            servers=counted(one.instance_array.count, "server"),
        )
        for one in interfaces
    ]
    context = {
        "head": head(network),
        "network": network,
        "meaning": MEANINGS[NetworkKind(network.kind)],
        "taps": taps,
        "servers": sum(one.instance_array.count for one in interfaces),
        "drive_arrays": _drive_arrays(network),
    }
    return render_panel(request, "editor/network.html", network.infrastructure, context, selected=network.topic)


def head(network: Network, current: str = "Overview") -> Head:
    """Answers the head of a network's panel."""
    kind = NetworkKind(network.kind).label
    return Head(
        infrastructure=network.infrastructure,
        icon=f"port-{network.kind}",
        title=network.label,
        current=current,
        sub=words(f"{kind} network, {network.addresses}" if network.addresses else f"{kind} network"),
        tabs=(
            Tab("Overview", reverse("network", args=[network.pk])),
            Tab("Configuration", reverse("network_configure", args=[network.pk])),
        ),
    )


def _drive_arrays(network: Network) -> list[DriveArray]:
    """Answers the DriveArrays that are reached over this network: those of the infrastructure, over its SAN."""
    if network.kind != NetworkKind.SAN:
        return []
    return list(
        DriveArray.objects.filter(infrastructure=network.infrastructure_id, instance_array__isnull=False)
        .select_related("instance_array")
        .order_by("label")
    )
