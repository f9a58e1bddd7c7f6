"""Presence: what other workers say of themselves, read by a worker of any release."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, cast

import orjson

from bus import conf
from bus.ledger import Ledger
from bus.presence import GroupPresence, Presence, Wait, Why, WorkerPresence, new_worker_name


class Hash:
    """The one Redis hash that presence uses."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def hset(self, key: str, name: str, value: bytes) -> None:
        self.values[name.encode()] = value

    def hgetall(self, key: str) -> dict[bytes, bytes]:
        return dict(self.values)

    def hdel(self, key: str, name: str) -> None:
        self.values.pop(name.encode(), None)


class Place:
    """As much of a ledger as presence needs."""

    def __init__(self) -> None:
        self.client = Hash()
        self.settings = conf.load(conf.BusSettings)
        self.prefix = "bus"


ENTRY = WorkerPresence(
    "w", "host", 1, "boot", "1", 8, 100.0, 200.0, "running", (GroupPresence("g", {"t[0]": 1}, 1.0, 0, 0.0, 0),)
)


def stored(entry: WorkerPresence, **more: Any) -> bytes:
    return orjson.dumps({**asdict(entry), **more})


def test_an_entry_of_a_release_that_says_more_is_read() -> None:
    place = Place()
    group = {**asdict(ENTRY.groups[0]), "mood": "fine"}
    place.client.values[b"w"] = stored(ENTRY, zone="eu", groups=[group])

    assert Presence(cast(Ledger, place), wall_clock=lambda: 200.0).all() == [ENTRY]


def test_why_partitions_wait_is_read_as_it_was_written() -> None:
    place = Place()
    waits = {"t[0]": Wait(Why.RETRY, "attempt 1 failed", until_ms=5, event_id="e", key="k", error="SmtpError")}
    entry = replace(ENTRY, groups=(replace(ENTRY.groups[0], oldest_ms={"t[0]": 3}, waits=waits),))
    presence = Presence(cast(Ledger, place), wall_clock=lambda: 200.0)
    presence.write(entry)
    assert presence.all() == [entry]
    [group] = presence.all()[0].groups
    assert group.waits["t[0]"].why == Why.RETRY


def test_an_entry_of_a_release_that_says_less_is_read() -> None:
    place = Place()
    less = {"group": "g", "partitions": {"t[0]": 1}, "rate": 1.0, "in_flight": 0, "oldest_seconds": 0.0, "stuck": 0}
    more = {**less, "waits": {"t[0]": {"why": "bored", "detail": "", "mood": 1}}}
    place.client.values[b"w"] = stored(ENTRY, groups=[less])
    place.client.values[b"x"] = stored(replace(ENTRY, worker="x"), groups=[more])
    less_told, more_told = Presence(cast(Ledger, place), wall_clock=lambda: 200.0).all()
    assert less_told == ENTRY
    assert more_told.groups[0].waits == {"t[0]": Wait("bored")}


def test_an_entry_that_cannot_be_read_hides_no_other() -> None:
    place = Place()
    place.client.values |= {b"a": b"{", b"b": b"[]", b"c": b"{}", b"d": stored(ENTRY, seen_at="soon")}
    presence = Presence(cast(Ledger, place), wall_clock=lambda: 200.0)
    presence.write(ENTRY)
    presence.write(replace(ENTRY, worker="v"))

    assert [entry.worker for entry in presence.all()] == ["v", "w"]


def test_no_two_workers_have_the_same_name() -> None:
    names = {new_worker_name("a|b/c") for _ in range(50)}

    assert len(names) == 50
    assert all(name.startswith("a-b-c-") for name in names)
