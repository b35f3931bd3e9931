"""TLS of connections, from PEM files. An invariant to keep: nothing older than TLS 1.2, and the other side is always verified by whom we connect to."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


def server_tls(certificate: str, key: str = "", authority: str = "") -> ssl.SSLContext:
    """For those who connect to us; with an `authority` they must show a certificate that it has signed (mutual TLS). Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with _telling(certificate, key):
        context.load_cert_chain(certificate, key or None)
    if authority:
        with _telling(authority):
            context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(certificate: str = "", key: str = "", authority: str = "") -> ssl.SSLContext:
    """For connecting; `authority` '' trusts what the machine trusts, `certificate` is shown when the other side asks. Raises OSError."""
    with _telling(authority):
        context = ssl.create_default_context(cafile=authority or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        with _telling(certificate, key):
            context.load_cert_chain(certificate, key or None)
    return context


@contextmanager
def _telling(*files: str) -> Iterator[None]:
    """Say which file it is that cannot be used; the library does not. Raises OSError."""
    try:
        yield
    except OSError as error:
        why = "not the PEM file that is needed" if isinstance(error, ssl.SSLError) else error.strerror
        raise OSError(f"{' or '.join(filter(None, files))}: {why}") from error


def is_mutual(context: ssl.SSLContext | None) -> bool:
    """Whether those who connect must show a certificate."""
    return context is not None and context.verify_mode == ssl.CERT_REQUIRED
