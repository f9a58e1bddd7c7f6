"""The request that tells an alert: JSON, signed, to the one address of the settings."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

import orjson

from bus.deadletterindex.times import iso, iso_or_none
from bus.models import Alert

TIMEOUT: Final = 5.0
SIGNATURE: Final = "X-Bus-Signature"


class DeliveryError(Exception):
    """The receiver didn't take it."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What is told may be secret; it goes to the address of the settings and nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects())


def document(alert: Alert, client_id: str) -> dict[str, Any]:
    """What is told of an alert. `id` and `state` together are the same at every try."""
    return {
        "id": alert.key,
        "state": "begun" if alert.ended_at is None else "ended",
        "kind": alert.kind,
        "subject": alert.subject,
        "summary": alert.summary,
        "beganAt": iso(alert.began_at),
        "endedAt": iso_or_none(alert.ended_at),
        "from": client_id,
        # Chat tools show this field of any JSON that they are sent.
        "text": f"{'✕' if alert.ended_at is None else '✓ over:'} {alert.summary}",
    }


def signature(body: bytes, secret: str) -> str:
    """What the receiver computes as well: `sha256=` and the HMAC of the body in hexadecimal."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def send(url: str, told: Mapping[str, Any], secret: str, timeout: float = TIMEOUT) -> None:
    """Tell it. Raises DeliveryError unless the answer is 2xx."""
    body = orjson.dumps(dict(told))
    headers = {"Content-Type": "application/json", "User-Agent": "event-console"}
    if secret:
        headers[SIGNATURE] = signature(body, secret)
    try:
        with _opener.open(urllib.request.Request(url, body, headers, method="POST"), timeout=timeout):
            return
    except urllib.error.HTTPError as error:
        with error:
            raise DeliveryError(f"the receiver answered {error.code}") from None
    except http.client.HTTPException as error:
        # Without its text, which may quote the address, and that may be secret.
        raise DeliveryError(f"the receiver's answer isn't HTTP ({type(error).__name__})") from None
    except (OSError, ValueError) as error:
        raise DeliveryError(f"the receiver can't be reached: {error}") from error
