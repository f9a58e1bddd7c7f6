"""Records become work, whatever they hold: one that ended the poll thread would end it in every worker, for ever."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from bus.consumer.work import Decoder
from bus.deadletters import GENERATION
from bus.handlers import Handler
from bus.kafka.consumer import headers_of
from tests.unit.dispatch_stage import GROUP, P0, TOPIC, Message, value_of


class Order(BaseModel):
    total: int

    @field_validator("total", mode="before")
    @classmethod
    def _halve(cls, value: Any) -> Any:
        return {"one": 1}[value]


def decoder() -> Decoder:
    made = Decoder(GROUP, {TOPIC: Handler(GROUP, (TOPIC,), print)})
    made._models = {TOPIC: Order}
    return made


def test_a_validator_that_breaks_makes_the_record_unreadable() -> None:
    work = decoder().decode(Message(P0, 0, None, value_of("a", {"total": "two"})), P0)

    assert "KeyError" in str(work.problem)
    assert work.event_id == "a"


@pytest.mark.parametrize("at_ms", [-1, 0, 253_402_300_799_999, 2**63 - 1])
def test_a_record_may_claim_any_time(at_ms: int) -> None:
    value = b'{"metadata":{"eventId":"a"},"data":{"total":"one"}}'

    work = decoder().decode(Message(P0, 0, None, value, at_ms=at_ms), P0)

    assert work.problem is None
    assert work.event is not None
    assert work.event.metadata.timestamp.endswith("Z")


class Torn(Message):
    """A record with a header name that isn't UTF-8, as the client library behaves."""

    __slots__ = ()

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        if self.of_headers is None:
            raise SystemError("returned a result with an exception set")
        return self.of_headers

    def set_headers(self, headers: list[tuple[str, bytes | None]]) -> None:
        self.of_headers = headers


def test_headers_that_cannot_be_read_count_as_none() -> None:
    record = Torn(P0, 0, None, value_of("a"))

    assert headers_of(record) == []
    assert headers_of(record) == []
    work = decoder().decode(
        Torn((f"{GROUP}.replay", 0), 0, None, value_of("a", {"total": "one"})), (f"{GROUP}.replay", 0)
    )
    assert work.event_id == "a"


def test_a_generation_fits_into_the_database_whatever_a_header_claims() -> None:
    headers: list[tuple[str, bytes | None]] = [(GENERATION, b"%d" % 2**62)]
    record = Message((f"{GROUP}.replay", 0), 0, None, value_of("a"), headers)

    assert decoder().decode(record, record.place).generation == 2**31 - 1
