"""What a shop sells: which topics there are, and who handles them how. Handed to a worker through SHOP_PLAN."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

VARIABLE = "SHOP_PLAN"


@dataclass(frozen=True, slots=True)
class HandlerPlan:
    """One handler: `options` are those of `bus.handlers.handler`."""

    group: str
    topics: tuple[str, ...]
    is_async: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShopPlan:
    """All handlers of a shop, and the file they write down what they did in."""

    effects: str = ""
    handlers: tuple[HandlerPlan, ...] = ()

    @property
    def topics(self) -> list[str]:
        """Every topic once."""
        return sorted({topic for each in self.handlers for topic in each.topics})

    @property
    def groups(self) -> list[str]:
        """Every group once."""
        return sorted({each.group for each in self.handlers})

    def to_json(self) -> str:
        """The value of SHOP_PLAN."""
        return json.dumps(asdict(self))


def from_environment() -> ShopPlan:
    """The plan of this process; empty without SHOP_PLAN."""
    given = json.loads(os.environ.get(VARIABLE) or "{}")
    handlers = tuple(HandlerPlan(**{**each, "topics": tuple(each["topics"])}) for each in given.get("handlers", ()))
    return ShopPlan(given.get("effects", ""), handlers)
