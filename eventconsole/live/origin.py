"""Whose pages may open a socket: those of this very host.

A browser sends cookies along with a socket whoever's page opens it, and no CSRF token; the Origin header is all that
tells pages of others apart. So it is checked as strictly as Django checks that of forms: same scheme, host and port,
or one of CSRF_TRUSTED_ORIGINS for when a proxy hides the real host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

_PORTS = {"http": "80", "https": "443"}


def is_own(scope: Mapping[str, Any]) -> bool:
    """Whether the handshake comes from a page of ours. Without an Origin it comes from no page at all."""
    headers = _headers(scope)
    origin = headers.get("origin", "").lower()
    parts = _split(origin)
    if parts is None:
        return False
    if origin in _trusted():
        return True
    scheme, host, port = parts
    own_host, own_port = split_domain_port(headers.get("host", "").lower())
    hosts = settings.ALLOWED_HOSTS or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    if not own_host or not validate_host(own_host, hosts):
        return False
    if _is_secure(scope, headers) and scheme != "https":
        return False
    return host == own_host and port == (own_port or _PORTS[scheme])


def _split(origin: str) -> tuple[str, str, str] | None:
    """Scheme, host and port of an origin; None when it isn't one."""
    try:
        parts = urlsplit(origin)
        is_origin = parts.scheme in _PORTS and not (parts.path or parts.query or parts.fragment or parts.username)
    except ValueError:
        return None
    host, port = split_domain_port(parts.netloc)
    return (parts.scheme, host, port or _PORTS[parts.scheme]) if is_origin and host else None


def _trusted() -> Iterable[str]:
    return {origin.lower() for origin in settings.CSRF_TRUSTED_ORIGINS}


def _is_secure(scope: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    if scope.get("scheme") == "wss":
        return True
    if settings.SECURE_PROXY_SSL_HEADER is None:
        return False
    name, value = settings.SECURE_PROXY_SSL_HEADER
    return headers.get(name.removeprefix("HTTP_").replace("_", "-").lower()) == value


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """The headers of the handshake. What stands there twice counts as absent: which of them is meant?"""
    found: dict[str, str] = {}
    twice = set()
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in found:
            twice.add(key)
        found[key] = value.decode("latin-1")
    return {key: value for key, value in found.items() if key not in twice}
