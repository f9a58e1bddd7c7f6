"""How many copies of an event were dropped, and by whom."""

from __future__ import annotations

import pytest

from bus.activity import ActivityLog, Transition
from bus.errors import LedgerUnavailableError
from bus.ledger import PUBLISHING, Ledger
from tests.contract.ledger.workers import EVENT, GROUP, TOPIC


def test_copies_add_up_per_event_and_group(ledger: Ledger) -> None:
    events = [f"event-{number}" for number in range(40)]
    assert ledger.duplicates(EVENT) == {}
    ledger.count_duplicates({(event, GROUP): number + 1 for number, event in enumerate(events)})
    ledger.count_duplicates({(EVENT, GROUP): 2, (EVENT, PUBLISHING): 1})
    ledger.count_duplicates({})

    assert ledger.duplicates(EVENT) == {GROUP: 4, "publish": 1}
    assert [ledger.duplicates(event) for event in events[2:]] == [{GROUP: n + 3} for n in range(38)]


def test_copies_are_forgotten_with_the_event(ledger: Ledger) -> None:
    ledger.count_duplicates({(EVENT, GROUP): 1})

    assert 0 < ledger.client.pttl(ledger._duplicates_key(EVENT)) <= ledger.settings.dedup_seconds * 1000


def test_what_stands_in_the_way_is_told(ledger: Ledger) -> None:
    ledger.client.set(ledger._duplicates_key(EVENT), "something else")

    with pytest.raises(LedgerUnavailableError):
        ledger.duplicates(EVENT)


def test_the_activity_log_counts_copies_also_when_the_stream_has_no_room_for_them(ledger: Ledger) -> None:
    log = ActivityLog(ledger, "worker-1", patience=600.0)
    for number in range(300):
        log.count(TOPIC, GROUP, "failed")
        log.keep(Transition(number, "failed", f"failed-{number}", TOPIC, GROUP))
    for group in (GROUP, GROUP, "mailing", ""):
        log.count(TOPIC, group, "duplicate")
        log.keep(Transition(1000, "duplicate", EVENT, TOPIC, group))
    assert log.flush()
    log.close()

    assert ledger.duplicates(EVENT) == {GROUP: 2, "mailing": 1, "publish": 1}
