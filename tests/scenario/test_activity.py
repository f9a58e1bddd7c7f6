from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import bus
from bus import producer
from bus.activity import Activity, ActivityStream, Transition, quantile
from bus.envelope import derived_event_id
from bus.ledger import Ledger
from tests.processes import wait_until
from tests.scenario.stage import Stage


class Onlooker:
    """Reads the stream as a page does: from where it was, again and again."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._stream = ActivityStream(self._ledger)
        self.entries: list[Activity] = []

    def counts(self) -> Counter[str]:
        """How often each outcome was seen so far."""
        after = self.entries[-1].id if self.entries else "0-0"
        self.entries += self._stream.read(after)
        found: Counter[str] = Counter()
        for entry in self.entries:
            for _, _, outcome, n in entry.counts:
                found[outcome] += n
        return found

    def wait_for(self, counts: dict[str, int]) -> None:
        """Wait until exactly these were seen."""
        wait_until(lambda: self.counts().total() >= sum(counts.values()), 20, f"{counts}, not {self.counts()}")
        assert self.counts() == counts

    def of(self, event_id: str) -> list[Transition]:
        """What was seen of an event."""
        return [each for entry in self.entries for each in entry.transitions if each.event_id == event_id]

    def steps(self, event_id: str) -> list[tuple[str, int]]:
        """The same as outcome and attempt."""
        return [(each.outcome, each.attempt) for each in self.of(event_id)]

    def duplicates(self, event_id: str) -> dict[str, int]:
        return self._ledger.duplicates(event_id)

    def close(self) -> None:
        self._ledger.client.close()


def test_what_becomes_of_each_event_is_seen(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1)
    onlooker = Onlooker()
    published = bus.publish(stage.topic, {"do": "ok"}, key="k", source="checkout", user_id="u-1", event_id="good")
    bus.publish(stage.topic, {"do": "ok"}, event_id="good")
    producer.close()
    onlooker.wait_for({"published": 1, "duplicate": 1})

    fails, hopeless, skipped = stage.send("fail", "permanent", "skip", keys=["a", "b", "c"])
    [slow] = stage.send("slow:0.05", keys=["s"])
    stage.send("ok", event_id=slow.event_id)  # another copy of it
    broken = stage.write(b"{", key=b"broken")
    stage.writer.flush()
    worker = stage.worker()
    stage.wait_settled(worker)
    worker.sigterm()

    # Begun are the first one, the slow one, the skipped and the hopeless once, the one that fails four times.
    onlooker.wait_for(
        {"published": 1, "duplicate": 2, "processing": 8, "processed": 2, "skipped": 1, "retrying": 3, "failed": 3}
    )
    assert onlooker.steps("good") == [("published", 0), ("duplicate", 0), ("processing", 1), ("processed", 1)]
    assert onlooker.steps(skipped.event_id) == [("processing", 1), ("skipped", 1)]
    assert onlooker.steps(hopeless.event_id) == [("processing", 1), ("failed", 1)]
    assert onlooker.steps(slow.event_id) == [("processing", 1), ("processed", 1), ("duplicate", 0)]
    done = onlooker.of("good")[-1]
    assert (done.partition, done.offset, done.key, done.group) == (0, published.offset, "k", stage.group)
    assert (done.source, done.user_id) == ("checkout", "u-1")
    [unreadable] = onlooker.of(derived_event_id(stage.topic, *broken[0]))
    assert (unreadable.outcome, unreadable.reason, unreadable.key) == ("failed", "undecodable", "broken")
    assert onlooker.duplicates("good") == {"publish": 1}
    assert onlooker.duplicates(slow.event_id) == {stage.group: 1}
    its_attempts_are_seen(onlooker, fails.event_id)
    seven_attempts_were_timed(onlooker)
    onlooker.close()


def its_attempts_are_seen(onlooker: Onlooker, event_id: str) -> None:
    """Of an event that always fails."""
    assert onlooker.steps(event_id) == [
        *[(outcome, attempt) for attempt in (1, 2, 3) for outcome in ("processing", "retrying")],
        ("processing", 4),
        ("failed", 4),
    ]
    told = [each for each in onlooker.of(event_id) if each.error]
    assert [each.error for each in told] == [f"HandlerFailedError: told to fail at attempt {n}" for n in (1, 2, 3, 4)]
    assert [each.reason for each in told] == [None, None, None, "exhausted"]
    for retrying, again in pairwise(onlooker.of(event_id)):
        if retrying.next_retry_at_ms is not None:
            assert again.at_ms >= retrying.next_retry_at_ms - 5


def seven_attempts_were_timed(onlooker: Onlooker) -> None:
    """The skipped one isn't, and nobody ran the one that can't be read."""
    took: Counter[int] = Counter()
    for entry in onlooker.entries:
        for _, _, buckets in entry.durations:
            took.update(buckets)
    assert took.total() == 7
    longest = quantile(took, 1.0)
    assert longest is not None
    assert longest >= 50


def test_a_handler_that_takes_long_is_seen_while_it_runs_and_a_replay_as_its_generation(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(partitions=1)
    onlooker = Onlooker()
    [fails] = stage.send("fail-live")
    worker = stage.worker()
    stage.wait_settled(worker)
    [letter] = stage.dead_letters()
    stage.replay(letter)
    stage.wait_settled(worker)
    [hangs] = stage.send("hang:60")
    wait_until(lambda: bool(onlooker.counts()) and onlooker.steps(hangs.event_id) != [], 20, "the handler that hangs")

    assert onlooker.steps(hangs.event_id) == [("processing", 1)]
    replayed = [each for each in onlooker.of(fails.event_id) if each.generation == 1]
    assert [(each.outcome, each.topic, each.offset) for each in replayed] == [
        ("processing", stage.topic, fails.position[1]),
        ("processed", stage.topic, fails.position[1]),
    ]
    onlooker.close()
