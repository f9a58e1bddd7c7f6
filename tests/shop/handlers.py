"""Handlers that do what the event tells them, by `data.do`:

`ok` (or nothing), `fail`, `fail:N` (the first N attempts), `permanent`, `skip`, `later:SECONDS` (the first attempt),
`slow:SECONDS`, `hang:SECONDS` (at the first start), `fail-live` (every attempt until replayed), `kill` (the process, at
every start), `kill:N` (at the first N starts). `fail@GROUP` and the like are orders to one group; the others do `ok`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from bus.envelope import Metadata
from bus.errors import PermanentError, RetryLater, SkipEvent
from bus.handlers import current, handler
from tests.shop import plan
from tests.shop.effects import Effect, Effects
from tests.shop.models import Sale


class HandlerFailedError(Exception):
    """What a handler raises when the event tells it to fail."""


def register(shop: plan.ShopPlan) -> None:
    """Register the handlers of a plan in this process."""
    effects = Effects(Path(shop.effects))
    for each in shop.handlers:
        function = _async_handler(effects, each) if each.is_async else _sync_handler(effects, each)
        handler(*each.topics, group=each.group, **each.options)(function)


def _sync_handler(effects: Effects, its_plan: plan.HandlerPlan) -> Any:
    writes_database = bool(its_plan.options.get("exactly_once"))

    def handle(data: Any, metadata: Metadata) -> None:
        _write_down(effects, "started", data, metadata)
        if writes_database:
            Sale.objects.create(event_id=metadata.event_id, group=its_plan.group)
        time.sleep(_obey(effects, data, metadata))
        _write_down(effects, "done", data, metadata)

    return handle


def _async_handler(effects: Effects, its_plan: plan.HandlerPlan) -> Any:
    writes_database = bool(its_plan.options.get("exactly_once"))

    async def handle(data: Any, metadata: Metadata) -> None:
        _write_down(effects, "started", data, metadata)
        if writes_database:
            await Sale.objects.acreate(event_id=metadata.event_id, group=its_plan.group)
        await asyncio.sleep(_obey(effects, data, metadata))
        _write_down(effects, "done", data, metadata)

    return handle


def _obey(effects: Effects, data: Any, metadata: Metadata) -> float:
    """Do what the event says; returns how many seconds it wants to take."""
    order, _, group = str(data.get("do", "ok")).partition("@")
    what, _, how = (order if group in ("", current().group) else "ok").partition(":")
    attempt = current().attempt
    match what:
        case "fail" if not how or attempt <= int(how):
            raise HandlerFailedError(f"told to fail at attempt {attempt}")
        case "fail-live" if current().generation == 0:
            raise HandlerFailedError("told to fail until replayed")
        case "permanent":
            raise PermanentError("told to fail for good")
        case "skip":
            raise SkipEvent
        case "later" if attempt == 1:
            raise RetryLater(float(how))
        case "kill" if not how or _starts(effects, metadata) <= int(how):
            os.kill(os.getpid(), signal.SIGKILL)
        case "slow":
            return float(how)
        case "hang" if _starts(effects, metadata) == 1:
            return float(how)
    return 0.0


def _starts(effects: Effects, metadata: Metadata) -> int:
    mine = effects.read("started", current().group)
    return sum(each.event_id == metadata.event_id for each in mine)


def _write_down(effects: Effects, step: str, data: Any, metadata: Metadata) -> None:
    it = current()
    number = data.get("n") if isinstance(data, dict) else None
    effects.add(
        Effect(
            step,
            it.group,
            it.topic,
            it.partition,
            it.offset,
            metadata.event_id,
            it.attempt,
            it.generation,
            os.getpid(),
            number,
        )
    )


register(plan.from_environment())
