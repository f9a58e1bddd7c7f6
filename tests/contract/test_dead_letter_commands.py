"""`manage.py dead_letters` and `manage.py reindex_dead_letters`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from bus import catalog, conf
from bus.models import DeadLetter, ErrorGroup, IndexPosition
from tests.contract.dead_letter_writer import DeadLetterWriter
from tests.indexed import index, record
from tests.kafka.subject import KafkaUnderTest

pytestmark = pytest.mark.django_db(transaction=True)


def said(*arguments: str, **options: Any) -> list[str]:
    out = io.StringIO()
    call_command(*arguments, stdout=out, **options)
    return out.getvalue().splitlines()


@pytest.fixture
def five() -> None:
    index([record(number, "payment.failed" if number < 2 else "order.created") for number in range(5)])


@pytest.mark.usefixtures("five")
def test_the_list_shows_the_last_failed_first_with_where_and_why() -> None:
    first, *_ = said("dead_letters", "--topic", "payment.failed", "--group", "billing")

    assert "payment.failed" in first
    assert "billing" in first
    assert "CardRefusedError: card 4711 was refused" in first


@pytest.mark.usefixtures("five")
def test_json_is_a_line_each_that_pages_do_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.management.commands.dead_letters.MAX_PAGE", 2)

    found = [json.loads(line) for line in said("dead_letters", "--json", "--limit", "0")]

    assert [each["eventId"] for each in found] == [f"event-{number}" for number in (4, 3, 2, 1, 0)]
    assert found[0]["error"] == {"type": "CardRefusedError", "message": "card 4711 was refused"}
    assert len(said("dead_letters", "--json", "--limit", "3")) == 3


@pytest.mark.usefixtures("five")
def test_since_takes_a_time_or_how_long_ago() -> None:
    recent = datetime.now(UTC) - timedelta(minutes=5)
    DeadLetter.objects.filter(event_id="event-1").update(last_failed_at=recent)

    for since in ("10m", "1h", "2d", recent.isoformat()):
        (found,) = said("dead_letters", "--json", "--since", since)
        assert json.loads(found)["eventId"] == "event-1"
    assert said("dead_letters", "--json", "--since", "10s") == []
    assert said("dead_letters", "--json", "--error", "OtherError") == []


@pytest.mark.parametrize("arguments", [["--since", "yesterday"], ["--limit", "-1"], ["--since", "99999999999d"]])
def test_what_cannot_be_asked_is_refused_with_what_can(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="allowed is"):
        said("dead_letters", *arguments)


def test_an_empty_index_says_how_to_fill_it() -> None:
    assert "nothing is indexed yet: start manage.py run_monitor" in said("dead_letters")


def test_reindexing_reads_everything_again_and_mends_the_counts(
    kafka: KafkaUnderTest, unique: Callable[[str], str]
) -> None:
    topic, writer = unique("orders"), DeadLetterWriter(kafka.bootstrap)
    kafka.create_topic(catalog.dead_letter_topic(topic), 2, {"max.message.bytes": "2200000"})
    for number in range(10):
        writer.write(topic, number, partition=number % 2)
    writer.flush()
    with conf.override(kafka_brokers=kafka.bootstrap):
        said("reindex_dead_letters")
        letters = DeadLetter.objects.filter(topic=topic)
        ids = set(letters.values_list("pk", flat=True))
        assert len(ids) == 10
        fingerprint = letters.values_list("fingerprint", flat=True).distinct().get()
        ErrorGroup.objects.filter(pk=fingerprint).update(open=77, note="known")
        letters.filter(event_id=f"{topic}-3").update(status="resolved", error_message="of another event")

        last = said("reindex_dead_letters")[-1]

    assert last.endswith("dead letters in the index")
    assert set(letters.values_list("pk", flat=True)) == ids
    mended = letters.get(event_id=f"{topic}-3")
    assert (mended.status, mended.error_message) == ("resolved", "card 4711 was refused")
    group = ErrorGroup.objects.get(pk=fingerprint)
    others = DeadLetter.objects.filter(fingerprint=fingerprint)
    assert group.note == "known"
    assert (group.open, group.resolved) == (others.filter(status="open").count(), 1)
    assert all(each.next_offset == each.end_offset for each in IndexPosition.objects.all())


def test_reindexing_without_kafka_changes_nothing() -> None:
    index([record(0)])
    with conf.override(kafka_brokers="127.0.0.1:1"), pytest.raises(CommandError, match="KAFKA_BROKERS"):
        said("reindex_dead_letters")
    assert DeadLetter.objects.get().cluster == "made-up"
