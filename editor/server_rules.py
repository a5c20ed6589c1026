"""What may be stated of servers and done with them, said once: `why_not_…` answers the reason, or None.

Addresses, user names and certificates are never repeated in a sentence: a cell of a file that was read wrongly may
hold a password.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from cryptography import x509

from editor.models import Drive, Instance, Power, Server, Trust, User
from editor.rules import why_not_logged_out

_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,39}", re.ASCII)
_FINGERPRINT = re.compile(r"(?:sha-?256 fingerprint=)?((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.ASCII | re.IGNORECASE)
_SYSTEM_PATH = re.compile(r"/redfish/v1/Systems/(?!\.+$)[^/]+")
_PORTS = {"https": 443, "http": 80}


def why_not_administer(by: User, permission: str) -> str | None:
    """Whether somebody may do with servers what the Django permission ("change_server") stands for."""
    if by.is_active and by.is_staff and by.has_perm(f"editor.{permission}"):
        return None
    return "Only administrators keep servers. Ask one."


# ── What is stated ───────────────────────────────────────────────────────────


def why_not_serial(serial: str) -> str | None:
    if _SERIAL.fullmatch(serial):
        return None
    return (
        "A serial has at most 40 letters, digits, spaces and . _ : / - and begins with a letter or a digit. "
        "Look for quotes or formulas that a spreadsheet has left."
    )


def why_not_address(driver: str, address: str, *, plain_http: bool) -> str | None:
    """Whether a driver can make something of the address. Whether anybody answers there, only a check knows."""
    if not address:
        return "Say where the BMC is."
    if len(address) > 200:
        return "An address has at most 200 characters."
    if driver != "redfish":
        return None if address.startswith(f"{driver}://") else f"Write it like {driver}://rack-1-07."
    try:
        parts = urlsplit(address)
        well_formed = parts.scheme in _PORTS and parts.hostname and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed or re.search(r"[\s\x00-\x1f]", address):
        return "Write it like https://bmc-7.example.org, with :port behind if it is another one than 443."
    if parts.username is not None or parts.password is not None:
        return "Leave user name and password out of the address: they have fields of their own."
    if parts.query or parts.fragment or not (parts.path in {"", "/"} or _SYSTEM_PATH.fullmatch(parts.path.rstrip("/"))):
        return "Behind the host only the path of a system may follow, like /redfish/v1/Systems/1."
    if parts.scheme == "http" and not plain_http:
        return "http:// sends the password readably. Write https://, or allow plain HTTP for this server."
    return None


def clean_address(driver: str, address: str) -> str:
    """Answers the one way to write an address that is well formed: two that lead to one BMC are equal then."""
    address = address.strip()
    if driver != "redfish":
        return address
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return address
    if not host or parts.scheme not in _PORTS or "@" in parts.netloc:
        return address
    host = f"[{host}]" if ":" in host else host.rstrip(".")
    at = host if port in {None, _PORTS[parts.scheme]} else f"{host}:{port}"
    tail = f"?{parts.query}" if parts.query else ""
    path = parts.path.rstrip("/")
    # Where the service begins, which is the same for all.
    return f"{parts.scheme}://{at}{'' if path in {'/redfish', '/redfish/v1'} else path}{tail}"


def bmc_of_address(driver: str, address: str) -> tuple[str, str]:
    """Answers which BMC an address leads to, and which of its systems ("": the only one)."""
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return f"{driver} {address}", ""
    host = parts.hostname or ""
    if driver != "redfish":
        return f"{driver} {parts.netloc or address}", ""
    return f"{driver} {host} {port}", parts.path.rstrip("/")


def why_not_credentials(username: str, *, password: bool) -> str | None:
    if password and not username:
        return "Name the user that this password belongs to."
    return None


def why_not_certificate(trust: str, certificate: str) -> str | None:
    """Whether what is given can be compared with what a BMC shows."""
    if "PRIVATE KEY" in certificate:
        return "This holds a private key, which nobody but the BMC should have. Give the certificate alone."
    if trust == Trust.SYSTEM:
        return "Choose what this certificate is for, or leave it empty." if certificate else None
    if not certificate:
        wanted = (
            "the certificate of the authority" if trust == Trust.AUTHORITY else "the certificate, or its fingerprint"
        )
        return f"Give {wanted}."
    if trust == Trust.PINNED and _FINGERPRINT.fullmatch(certificate):
        return None
    try:
        found = x509.load_pem_x509_certificates(certificate.encode())
    except ValueError:
        return "This is no certificate in PEM form (-----BEGIN CERTIFICATE-----)" + (
            "." if trust == Trust.AUTHORITY else ", and no SHA-256 fingerprint of 64 hex digits."
        )
    if trust == Trust.PINNED and len(found) != 1:
        return f"Give the BMC's own certificate alone: these are {len(found)}."
    return None


def clean_certificate(certificate: str) -> str:
    """Answers a fingerprint as openssl writes it ("AB:CD:…"), and anything else as it is."""
    certificate = certificate.strip()
    if match := _FINGERPRINT.fullmatch(certificate):
        digits = match[1].replace(":", "").upper()
        return ":".join(digits[at : at + 2] for at in range(0, 64, 2))
    return certificate


# ── What is done ─────────────────────────────────────────────────────────────


def busy_drives() -> dict[int, Drive]:
    """Answers a drive that somebody is at work on for each server that has one, by the server's id."""
    held = Drive.objects.filter(instance__server__isnull=False).exclude(hold="")
    return {
        drive.instance.server_id: drive
        for drive in held.select_related("drive_array", "instance").order_by("-pk")
        if drive.instance and drive.instance.server_id
    }


def why_not_move_bmc(server: Server, held: Drive | None) -> str | None:
    """Whether the editor may look for the server's BMC elsewhere: not while something waits for what it says.

    `held` is the drive of its instance that somebody is at work on, if any.
    """
    if server.power_command:
        return f"{server} is waiting for {server.get_power_command_display()}. Try again later."
    if server.hold or server.replaces_id:
        return f"{server} is being deployed: {server.hold or 'an instance is getting it.'} Try again later."
    return f"{held} is busy: {held.hold} Try again in a moment." if held else None


def why_not_delete_server(server: Server) -> str | None:
    """Whether the editor may forget the server."""
    if instance := Instance.objects.select_related("instance_array").filter(server=server).first():
        return f"{server} runs {instance}. Replace it there first, or delete {instance} in the design and deploy that."
    if server.replaces_id:
        return f"An instance is getting {server}. Try again in a moment."
    return None


def why_not_replace(instance: Instance, *, vouched: bool = False) -> str | None:
    """Whether another server may take the place of the instance's own, which must be off.

    `vouched`: somebody made sure that a server whose BMC is silent has no power.
    """
    server = instance.server
    if server is None:
        return f"{instance.label} has no server yet. Deploy it first."
    if server.hold:
        return f"{server} is held: {server.hold} Try again when that is done."
    if server.power_command:
        return f"{server} is waiting for {server.get_power_command_display()}. Try again when that is done."
    for drive in instance.drives.select_related("drive_array").order_by("pk"):
        if drive.hold:
            return f"{drive.label} is busy: {drive.hold} Try again in a moment."
        if reason := why_not_logged_out(drive):
            return reason
    if server.power == Power.UNKNOWN and not vouched:
        reason = f" {server.power_error}" if server.power_error else ""
        return (
            f"Power state of {server} is unknown.{reason} If it still ran, two servers would write to the same drives. "
            "Have it checked, or pull its power and say so below."
        )
    if server.power not in (Power.OFF, Power.UNKNOWN):
        return f"{instance.label} is {server.shown_power.label.lower()}. Shut it down first."
    return None


def why_not_put_in(server: Server, instance: Instance) -> str | None:
    """Whether this server may become the instance's."""
    if not Server.objects.free().filter(pk=server.pk).exists():
        return f"{server} is not free any more. Choose another one."
    if instance.server and server.server_type_id != instance.server.server_type_id:
        return f"{server} is of another type than {instance.server}. Choose one of the same."
    return None
