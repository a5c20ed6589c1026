"""Which certificate of a BMC is good, and the encrypted connection that only such a one gets."""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import socket
import ssl

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from .base import Bmc, PowerError, Trust

NOT_ENCRYPTED = "No encrypted connection to the BMC came about. Check address and port; the BMC needs TLS 1.2 or newer."
UNTRUSTED = (
    "No trusted certificate authority has signed the BMC's certificate. "
    "Enter the certificate of its authority, or pin its own."
)
EXPIRED = "The BMC's certificate has expired or is not valid yet. Renew it, set the BMC's clock, or pin it."
OTHER_NAME = (
    "The BMC's certificate is for another host. Correct the address, have the certificate made for it, or pin it."
)
NOT_THE_PINNED = (
    "The BMC shows another certificate than the pinned one. If it was renewed, pin the new one; "
    "if not, something else answers at its address."
)
BAD_AUTHORITY = "The certificate authority entered for this BMC is not understood. Enter its certificate as PEM."
BAD_PIN = (
    "The certificate pinned for this BMC is not understood. "
    "Enter it as PEM, or its SHA-256 fingerprint of 64 hexadecimal digits."
)

# OpenSSL's numbers: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_REFUSALS = {9: EXPIRED, 10: EXPIRED, 62: OTHER_NAME, 64: OTHER_NAME}


def encrypted(bmc: Bmc, plain: socket.socket, host: str) -> ssl.SSLSocket:
    """Answers `plain` encrypted, once the certificate of the BMC is known to be good; nothing was sent before.

    The time-out of `plain` is that of the whole handshake. Raises PowerError, and OSError where the connection fails.
    """
    pin = _fingerprint(bmc.certificate) if bmc.trust == Trust.PINNED else ""
    context = _context(bmc.trust, "" if pin else bmc.certificate)
    try:
        connection = context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        sentence = _REFUSALS.get(error.verify_code, UNTRUSTED)
        raise PowerError(sentence, error.verify_message, permanent=True) from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        raise  # the other side hung up: that is a matter of the connection
    except ssl.SSLError as error:
        raise PowerError(NOT_ENCRYPTED, str(error)) from error
    if pin:
        shown = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
        if not hmac.compare_digest(shown, pin):
            connection.close()
            raise PowerError(NOT_THE_PINNED, f"SHA-256 fingerprint shown: {shown}", permanent=True)
    return connection


def _fingerprint(certificate: str) -> str:
    """Answers the SHA-256 fingerprint of what was pinned, in 64 lower-case hexadecimal digits."""
    if "BEGIN CERTIFICATE" in certificate:
        try:
            return x509.load_pem_x509_certificate(certificate.encode()).fingerprint(SHA256()).hex()
        except ValueError as error:
            raise PowerError(BAD_PIN, str(error), permanent=True) from error
    digits = re.sub(r"[:\s]", "", certificate).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise PowerError(BAD_PIN, permanent=True)
    return digits


@functools.lru_cache(maxsize=64)
def _context(trust: Trust, authority: str) -> ssl.SSLContext:
    """One for all BMCs with the same authorities: reading those of the operating system takes 20 ms each time."""
    if trust == Trust.SYSTEM:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trust == Trust.PINNED:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # `encrypted` compares the whole certificate
        return context
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what was entered may be an intermediate authority
    try:
        context.load_verify_locations(cadata=authority)
    except (ssl.SSLError, TypeError, ValueError) as error:
        raise PowerError(BAD_AUTHORITY, str(error), permanent=True) from error
    return context
