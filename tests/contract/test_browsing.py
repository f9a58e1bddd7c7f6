"""Looking into topics, on the embedded broker and on a real Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bus.browsing import BrowseError, Browser, Look, Wish
from bus.conf import BusSettings
from bus.kafka.consumer import Record
from bus.kafka.reader import RecordReader
from tests.kafka.contact import produce
from tests.kafka.subject import KafkaUnderTest

Settings = Callable[..., BusSettings]
MakeTopic = Callable[..., str]
START = 1_790_000_000_000


@pytest.fixture
def reader(kafka: KafkaUnderTest, settings: Settings) -> Iterator[RecordReader]:
    with RecordReader(settings(), "test") as found:
        yield found


@pytest.fixture
def topic(kafka: KafkaUnderTest, make_topic: MakeTopic) -> str:
    """Two partitions with 30 and 20 records, a second apart, each with its number; every tenth names Zoë."""
    name = make_topic("browse", partitions=2)
    for partition, count in ((0, 30), (1, 20)):
        values = [
            f'{{"n":{number},"who":"{"Zoë" if number % 10 == 0 else "ann"}"}}'.encode() for number in range(count)
        ]
        produce(kafka.bootstrap, name, values, b"k", partition=partition, first_at_ms=START + partition)
    return name


def places(records: list[Record]) -> list[tuple[int, int]]:
    return [(record.partition(), record.offset()) for record in records]


def all_looks(browser: Browser, wish: Wish, cursor: str) -> list[Look]:
    looks = []
    following: str | None = cursor
    while following is not None:
        looks.append(browser.look(wish, following, seconds=5.0))
        following = looks[-1].cursor
        assert len(looks) < 60
    return looks


def test_looking_back_begins_with_the_newest_and_sees_each_once(reader: RecordReader, topic: str) -> None:
    browser, wish = Browser(reader), Wish(topic, [0, 1], rows=8)
    looks = all_looks(browser, wish, browser.newest(wish))
    assert places(looks[0].records)[0] == (0, 29)
    seen = [place for look in looks for place in places(look.records)]
    assert sorted(seen) == [(0, n) for n in range(30)] + [(1, n) for n in range(20)]
    for partition in (0, 1):
        mine = [offset for p, offset in seen if p == partition]
        assert mine == sorted(mine, reverse=True)
    assert sum(look.scanned for look in looks) == 50


def test_looking_forward_goes_to_the_end_and_no_further(
    kafka: KafkaUnderTest, reader: RecordReader, topic: str
) -> None:
    browser, wish = Browser(reader), Wish(topic, [0, 1], rows=7)
    cursor = browser.from_offsets(wish, {0: 25, 1: 18})
    produce(kafka.bootstrap, topic, [b"later"], partition=0)
    looks = all_looks(browser, wish, cursor)
    assert sorted(place for look in looks for place in places(look.records)) == [
        *((0, n) for n in range(25, 30)),
        (1, 18),
        (1, 19),
    ]


def test_text_is_found_and_the_effort_is_told(reader: RecordReader, topic: str) -> None:
    browser, wish = Browser(reader), Wish(topic, [0, 1], text="zoë", rows=50)
    looks = all_looks(browser, wish, browser.newest(wish))
    found = {place for look in looks for place in places(look.records)}
    assert found == {(0, 0), (0, 10), (0, 20), (1, 0), (1, 10)}
    assert sum(look.scanned for look in looks) == 50
    assert sum(look.size for look in looks) > 50 * 15


def test_a_time_leads_to_the_first_record_from_then_on(reader: RecordReader, topic: str) -> None:
    partitions = [(topic, 0), (topic, 1)]
    assert reader.offsets_at(partitions, START + 9_500) == {(topic, 0): 10, (topic, 1): 10}
    assert reader.offsets_at(partitions, START - 1) == {(topic, 0): 0, (topic, 1): 0}
    assert reader.offsets_at(partitions, START + 25_000) == {(topic, 0): 25, (topic, 1): 20}


def test_an_empty_topic_and_a_made_up_cursor(reader: RecordReader, make_topic: MakeTopic) -> None:
    browser, wish = Browser(reader), Wish(make_topic("empty", partitions=1), [0])
    look = browser.look(wish, browser.newest(wish))
    assert (look.records, look.scanned, look.cursor, look.silent) == ([], 0, None, [])
    with pytest.raises(BrowseError, match="the cursor isn't one"):
        browser.look(wish, "bm90IG91cnM")
    with pytest.raises(BrowseError, match="none of the partitions 7"):
        browser.newest(Wish(wish.topic, [7]))
