"""Where tgtd listens for initiators: an address and a port, as in ISCSI_PORTAL."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

from editor.iscsi.base import ExportError


def normal(portal: str) -> str:
    """The portal as tgtd tells it."""
    host, port = _address(portal)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def demand_free(portal: str) -> None:
    """Raises ExportError unless a program of this user can listen there now."""
    host, port = _address(portal)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise taken(portal, str(error)) from error
            raise ExportError(
                f"tgtd cannot listen at {portal}: {os.strerror(error.errno or errno.EIO)}. "
                "No drive is served. Set ISCSI_PORTAL to an address of this machine, then try again.",
                detail=str(error),
            ) from error


def taken(portal: str, detail: str) -> ExportError:
    """Says that somebody else listens there."""
    return ExportError(
        f"Another program listens at {portal}, where drives are to be served. No drive is served there. "
        "End that program or set ISCSI_PORTAL to another port, then try again.",
        detail=detail,
    )


def _address(portal: str) -> tuple[str, int]:
    host, _, port = portal.rpartition(":")
    return str(ipaddress.ip_address(host.strip("[]"))), int(port)
