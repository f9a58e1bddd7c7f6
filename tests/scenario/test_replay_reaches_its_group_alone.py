from __future__ import annotations

from collections.abc import Callable

from bus.deadletters import Reason
from tests.scenario.stage import Stage


def test_a_replayed_event_reaches_the_group_that_failed_and_fails_again_to_the_origins_dead_letters(
    open_stage: Callable[..., Stage],
) -> None:
    stage = open_stage(groups=("billing", "mailing"), topics=("orders", "payments"), partitions=2)
    billing, mailing = stage.shop.plan.handlers[0].group, stage.shop.plan.handlers[1].group
    healed, broken, other = stage.send(f"fail-live@{billing}", f"fail@{billing}", "ok", keys=["a", "b"])
    worker = stage.worker()
    stage.wait_settled(worker)
    first = {letter.event_id: letter for letter in stage.dead_letters()}
    assert set(first) == {healed.event_id, broken.event_id}
    assert {(letter.group, letter.generation) for letter in first.values()} == {(billing, 0)}

    for letter in first.values():
        stage.replay(letter)
    stage.wait_settled(worker)
    # All that was replayed ran again in its group, and nowhere else.
    assert stage.handled(billing) == [healed.number, other.number]
    assert stage.handled(mailing) == stage.numbers()
    replayed = [each for each in stage.effects.read("started") if each.generation == 1]
    assert {each.group for each in replayed} == {billing}
    assert sorted((each.number or 0, each.attempt) for each in replayed) == [
        (healed.number, 1),
        *[(broken.number, attempt) for attempt in (1, 2, 3, 4)],
    ]
    assert {each.topic for each in replayed} == {stage.topic}
    letters = stage.dead_letters()
    assert len(letters) == 3
    [second] = [letter for letter in letters if letter.generation == 1]
    before = first[broken.event_id]
    assert (second.event_id, second.group, second.reason) == (broken.event_id, billing, Reason.EXHAUSTED)
    assert (second.value, second.key, second.origin) == (before.value, before.key, before.origin)
    assert second.headers == before.headers
    assert stage.dead_letters(stage.shop.plan.topics[1]) == []

    # A replay of the replay is a generation of its own, and the same replay twice is not.
    stage.replay(second)
    stage.replay(second)
    stage.replay(before)
    stage.wait_settled(worker)
    assert [letter.generation for letter in stage.dead_letters() if letter.event_id == broken.event_id] == [0, 1, 2]


def test_a_poison_record_can_be_replayed_and_is_poison_again(open_stage: Callable[..., Stage]) -> None:
    stage = open_stage(partitions=1)
    stage.write(b"\xff poison", b"key")
    stage.writer.flush()
    worker = stage.worker()
    stage.wait_settled(worker)
    [first] = stage.dead_letters()
    stage.replay(first)
    stage.wait_settled(worker)
    both = stage.dead_letters()
    assert [letter.generation for letter in both] == [0, 1]
    assert {(letter.value, letter.event_id, letter.reason) for letter in both} == {
        (b"\xff poison", first.event_id, Reason.UNDECODABLE)
    }
