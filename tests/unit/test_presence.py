"""Presence: what other workers say of themselves, read by a worker of any release."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, cast

import orjson

from bus import conf
from bus.ledger import Ledger
from bus.presence import GroupPresence, Presence, WorkerPresence, new_worker_name


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
