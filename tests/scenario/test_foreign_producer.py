from __future__ import annotations

import json
from collections.abc import Callable

from bus.deadletters import Reason
from bus.envelope import derived_event_id
from bus.ledger import Ledger, Status
from tests.scenario.stage import Stage


def test_events_without_headers_or_id_are_handled_retried_and_dead_lettered_under_one_derived_id(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1)
    values = [
        b'{"metadata": {}, "data": {"n": 0}}',
        b'{ "data" : {"n": 1, "do": "fail:1", "price": 7.10, "big": 123456789012345678901234567890},"metadata":{}}\n',
        b'{"metadata": {"source": "mainframe"}, "data": {"n": 2, "do": "fail"}, "more": [1, 2.0]}',
        b'{"metadata": {"eventId": "theirs"}, "data": {"n": 3}}',
    ]
    for value in values:
        stage.write(value, b"\xfe\xff")
    stage.writer.flush()
    worker = stage.worker()
    stage.wait_settled(worker)

    ids = [derived_event_id(stage.topic, 0, offset) for offset in (0, 1, 2)]
    assert stage.effects.done() == [0, 1, 3]
    assert [each.event_id for each in stage.effects.read("done")] == [ids[0], ids[1], "theirs"]
    assert [each.event_id for each in stage.effects.read("started") if each.number == 2] == [ids[2]] * 4
    [letter] = stage.dead_letters()
    assert (letter.event_id, letter.reason, letter.attempts) == (ids[2], Reason.EXHAUSTED, 4)
    assert (letter.value, letter.key, letter.headers) == (values[2], b"\xfe\xff", [])
    status = Ledger().status(ids[2], [stage.group])
    assert status is not None
    assert [each.status for each in status.groups] == [Status.FAILED]


def test_an_id_that_its_producer_gave_in_a_header_alone_doesnt_count(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1)
    for number in (0, 1):
        stage.write(json.dumps({"metadata": {}, "data": {"n": number}}).encode(), headers=[("event-id", b"same")])
    stage.writer.flush()
    stage.wait_settled(stage.worker())
    assert stage.handled() == [0, 1]
