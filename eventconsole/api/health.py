"""Health: the bare status for anyone, what is wrong for a token or a login."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from bus.envelope import timestamp
from bus.errors import UnavailableError
from eventconsole.api import probes
from eventconsole.api.answers import answer
from eventconsole.api.auth import identify
from eventconsole.api.bodies import Health
from eventconsole.api.errors import Problem

SERVICE = "event-service"

router = Router(tags=["health"])


@router.api_operation(["GET", "HEAD"], "", response={200: Health}, auth=None, summary="Health")
async def health(request: HttpRequest) -> HttpResponse:
    """How the service is: `ok`, `degraded` (it publishes, but something is away) or `down`. Always 200.

    With a token or a login also what is away, and how long each took to answer.
    """
    return answer(await _report(request))


@router.api_operation(["GET", "HEAD"], "/live", response={200: Health}, auth=None, summary="Liveness")
async def live(request: HttpRequest) -> HttpResponse:
    """200 while the process answers; asks nothing else, so that a restart isn't asked for when Kafka is away."""
    return answer(_bare("ok"))


@router.api_operation(["GET", "HEAD"], "/ready", response={200: Health, 503: Health}, auth=None, summary="Readiness")
async def ready(request: HttpRequest) -> HttpResponse:
    """200 when events can be published, else 503."""
    report = await _report(request)
    return answer(report, status=503 if report["status"] == "down" else 200)


def _bare(status: str) -> dict[str, Any]:
    return {"status": status, "service": SERVICE, "timestamp": timestamp(time.time_ns() // 1_000_000)}


async def _report(request: HttpRequest) -> dict[str, Any]:
    dependencies = probes.dependencies()
    findings = await probes.find_all(dependencies)
    report = _bare(probes.status_of(dependencies, findings))
    if await _is_known(request):
        report["dependencies"] = {
            finding.name: {
                "status": "up" if finding.is_up else "down",
                "needed": probe.is_needed,
                "latencyMs": None if finding.latency is None else round(finding.latency * 1000, 1),
                "error": finding.error,
            }
            for probe, finding in zip(dependencies, findings, strict=True)
        }
    return report


async def _is_known(request: HttpRequest) -> bool:
    # Health always answers: a bad token, or a database that can't say whose it is, gets the bare status.
    try:
        return await identify(request) is not None
    except (Problem, UnavailableError):
        return False
