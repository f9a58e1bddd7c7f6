"""What a scenario with replays needs beside its stage: the index of dead letters, and somebody who sends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from bus.deadletterindex.index import Index
from bus.kafka.admin import Admin, ClusterInfo
from bus.kafka.reader import RecordReader
from bus.models import DeadLetter, Replay
from bus.replay.engine import Engine
from tests.scenario.stage import PATIENCE


class OwnTopics:
    """The cluster as if it had only these topics: others belong to other tests."""

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics
        self._admin = Admin()

    def ping(self) -> ClusterInfo:
        return self._admin.ping(5.0)

    def topics(self) -> dict[str, int]:
        return {name: count for name, count in self._admin.topics().items() if name in self._topics}


def index_letters(*topics: str) -> list[DeadLetter]:
    """Read the dead letters of these topics into the index; all there are, in the order of their places."""
    with closing(RecordReader()) as reader:
        Index(reader, OwnTopics([f"{topic}.dlq" for topic in topics])).catch_up()
    return list(DeadLetter.objects.filter(topic__in=topics).order_by("dlq_topic", "dlq_partition", "dlq_offset"))


def drive(
    engine: Engine, replay: Replay, *states: str, topics: Sequence[str] = (), seconds: float = PATIENCE
) -> Replay:
    """Let the engine work until the replay is in one of these states (completed, unless said otherwise)."""
    wanted = states or (Replay.State.COMPLETED,)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        engine.step()
        replay.refresh_from_db()
        if replay.state in wanted:
            return replay
        if topics:
            index_letters(*topics)
        time.sleep(0.05)
    raise TimeoutError(f"{replay} isn't {wanted} after {seconds:g} s: {vars(replay)}")
