from __future__ import annotations

import random
from collections.abc import Callable

import orjson

from bus.deadletters import Reason
from bus.envelope import derived_event_id
from tests.kafka.contact import records_of
from tests.scenario.stage import Stage

POISON: dict[str, bytes | None] = {
    "text": b"not JSON {",
    "array": b'[{"metadata": {}}, {"data": {}}]',
    "no-metadata": b'{"data": {"n": 1}}',
    "odd-metadata": b'{"metadata": "none", "data": {"n": 1}}',
    "no-data": b'{"metadata": {"eventId": "x"}}',
    "strict": b'{"metadata": {"eventId": "strict-1"}, "data": {"n": "many", "do": 7.10}}',
    "garbage": random.Random(7).randbytes(1_000_000),
    "null": None,
    "too-large": b"x" * 2_060_000,
}
KEY = b"\xff\x00 key"
HEADERS = [("note", b"\x00\xff"), ("note", b"again"), ("empty", b""), ("none", None)]


def last(value: bytes | None) -> bytes | None:
    """The same poison again; with an id of its own, or it would be a duplicate."""
    return value and value.replace(b"strict-1", b"strict-2")


def test_poison_is_dead_lettered_at_once_byte_for_byte_and_its_partition_goes_on(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(topics=tuple(POISON), partitions=1, settings={"BUS_RETRY_DELAYS": "30"})
    topic_of = {name: next(each for each in stage.shop.plan.topics if each.startswith(name + "-")) for name in POISON}
    for name, value in POISON.items():
        stage.write(value, KEY, HEADERS, topic=topic_of[name])
        stage.send("ok", "ok", "ok", keys=[None, "key"], topic=topic_of[name])
        stage.write(last(value), KEY, HEADERS, topic=topic_of[name])
        stage.writer.flush()
    worker = stage.worker()
    stage.wait_settled(worker)

    assert stage.handled() == stage.numbers()
    assert len(stage.effects.read("started")) == 3 * len(POISON)
    for name, value in POISON.items():
        check(stage, topic_of[name], value, at_origin={"value"} if name == "too-large" else set())


def check(stage: Stage, topic: str, value: bytes | None, at_origin: set[str]) -> None:
    letters = stage.dead_letters(topic)
    assert [each.origin and (each.origin.topic, each.origin.offset) for each in letters] == [(topic, 0), (topic, 4)]
    for letter, poison in zip(letters, (value, last(value)), strict=True):
        assert letter.at_origin == at_origin, topic
        if at_origin:
            [origin] = records_of(stage.kafka.bootstrap, topic, 1)
            letter = letter.completed(origin.value(), None, [])
        assert letter.value == poison, topic
        assert letter.key == KEY
        assert letter.headers == HEADERS
        assert (letter.group, letter.reason, letter.attempts) == (stage.group, Reason.UNDECODABLE, 1), topic
        assert letter.error_message
        assert letter.problems == ()
    own_ids = {"strict": ["strict-1", "strict-2"]}
    ids = own_ids.get(topic.split("-")[0], [derived_event_id(topic, 0, 0), derived_event_id(topic, 0, 4)])
    assert [each.event_id for each in letters] == ids
    assert stage.committed(topic=topic) == {0: 5}


def test_a_readable_event_that_only_lacks_an_id_is_known_by_its_position(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1)
    stage.write(orjson.dumps({"metadata": {}, "data": {"n": 0, "do": "permanent"}}))
    stage.writer.flush()
    stage.wait_settled(stage.worker())
    [letter] = stage.dead_letters()
    assert letter.event_id == derived_event_id(stage.topic, 0, 0)
    assert letter.value == orjson.dumps({"metadata": {}, "data": {"n": 0, "do": "permanent"}})
