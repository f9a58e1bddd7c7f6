"""The number to commit: promise 2, as far as it is arithmetic."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.consumer.offsets import Watermark

ascending = st.lists(st.integers(0, 400), unique=True).map(sorted)


def test_nothing_is_committable_before_anything_was_taken_in() -> None:
    watermark = Watermark()

    assert watermark.committable is None
    assert watermark.oldest is None
    assert watermark.pending == 0


def test_committed_offset_never_passes_an_unsettled_event() -> None:
    watermark = Watermark()
    watermark.add_many([10, 11, 12])

    watermark.finish_many([11, 12])
    assert watermark.committable == 10

    watermark.finish(10)
    assert watermark.committable == 13


def test_a_gap_in_the_offsets_holds_nothing_back() -> None:
    watermark = Watermark()
    watermark.add(3)
    watermark.add(9)

    watermark.finish(3)
    assert watermark.committable == 9

    watermark.finish(9)
    assert watermark.committable == 10


def test_an_offset_in_hand_is_not_taken_in_twice() -> None:
    watermark = Watermark()
    watermark.add_many([5, 6])

    assert watermark.add(5) is False
    assert watermark.add_many([5, 6, 7]) == [5, 6]
    assert watermark.pending == 3


def test_a_repeated_offset_within_one_batch_is_taken_in_once() -> None:
    watermark = Watermark()

    assert watermark.add_many([1, 1, 2]) == [1]
    assert watermark.pending == 2


def test_finishing_an_unknown_offset_changes_nothing() -> None:
    watermark = Watermark()
    watermark.add(5)

    assert watermark.finish(4) is False
    assert watermark.finish(6) is False
    assert watermark.finish_many([4, 6]) == 0
    assert (watermark.committable, watermark.pending, watermark.oldest) == (5, 1, 5)


def test_finishing_twice_counts_once() -> None:
    watermark = Watermark()
    watermark.add_many([1, 2])

    assert watermark.finish_many([1, 1]) == 1
    assert watermark.finish(1) is False
    assert watermark.committable == 2


def test_a_settled_offset_that_is_delivered_again_takes_the_number_back() -> None:
    watermark = Watermark()
    watermark.add_many([1, 2, 3])
    watermark.finish_many([1, 2, 3])
    assert watermark.committable == 4

    assert watermark.add(2) is True
    assert watermark.committable == 2

    watermark.finish(2)
    assert watermark.committable == 3, "3 will be delivered again, so it isn't passed"


def test_a_settled_offset_below_an_unsettled_one_can_be_taken_in_again() -> None:
    watermark = Watermark()
    watermark.add_many([1, 2, 3, 4])
    watermark.finish(3)

    assert watermark.add(3) is True
    watermark.finish_many([1, 2, 4])
    assert watermark.committable == 3


def test_a_topic_made_anew_is_not_committed_beyond_its_end() -> None:
    watermark = Watermark()
    watermark.add_many([500, 501])
    watermark.finish_many([500, 501])

    assert watermark.add_many([0, 1]) == []
    watermark.finish_many([0, 1])
    assert watermark.committable == 2


@given(ascending, st.randoms(use_true_random=False), st.integers(1, 50))
def test_finishing_everything_in_any_order_ends_after_the_last(offsets: list[int], random: object, chunk: int) -> None:
    watermark = Watermark()
    for begin in range(0, len(offsets), chunk):
        assert watermark.add_many(offsets[begin : begin + chunk]) == []
    shuffled = list(offsets)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    unsettled = set(offsets)

    for offset in shuffled:
        assert watermark.committable == min(unsettled)
        assert watermark.finish(offset)
        unsettled.discard(offset)

    assert watermark.committable == (offsets[-1] + 1 if offsets else None)


class Deliveries(RuleBasedStateMachine):
    """Delivers batches with gaps and rewinds, settles in any order, and compares with a plain set."""

    def __init__(self) -> None:
        super().__init__()
        self.watermark = Watermark()
        self.unsettled: set[int] = set()
        self.next: int | None = None

    @rule(gap=st.integers(0, 3), steps=st.lists(st.integers(1, 3), max_size=12), together=st.booleans())
    def deliver(self, gap: int, steps: list[int], together: bool) -> None:
        offsets = []
        offset = (self.next or 0) + gap
        for step in steps:
            offsets.append(offset)
            offset += step
        in_hand = [offset for offset in offsets if offset in self.unsettled]
        if together:
            assert self.watermark.add_many(offsets) == in_hand
        else:
            assert [offset for offset in offsets if not self.watermark.add(offset)] == in_hand
        self.unsettled.update(offsets)
        if offsets:
            self.next = offsets[-1] + 1

    @precondition(lambda self: self.next)
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        assert self.next is not None
        offset = data.draw(st.integers(0, self.next - 1))
        assert self.watermark.add(offset) is (offset not in self.unsettled)
        self.unsettled.add(offset)
        self.next = offset + 1

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.unsettled)), unique=True))
        assert self.watermark.finish_many(chosen) == len(chosen)
        self.unsettled.difference_update(chosen)

    @rule(offset=st.integers(0, 60))
    def finish_one_that_may_be_unknown(self, offset: int) -> None:
        assert self.watermark.finish(offset) is (offset in self.unsettled)
        self.unsettled.discard(offset)

    @invariant()
    def never_passes_an_unsettled_offset(self) -> None:
        committable = self.watermark.committable
        oldest = min(self.unsettled, default=None)
        assert self.watermark.pending == len(self.unsettled)
        assert self.watermark.oldest == oldest
        if self.next is None:
            assert committable is None
        else:
            assert committable == (self.next if oldest is None else min(oldest, self.next))


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_the_cost_per_offset_does_not_grow_with_their_number() -> None:
    watermark = Watermark()
    begun = time.process_time()
    for start in range(0, 200_000, 500):
        watermark.add_many(range(start, start + 500))
        watermark.finish_many(range(start + 499, start - 1, -1))
        assert watermark.committable == start + 500

    assert time.process_time() - begun < 2
