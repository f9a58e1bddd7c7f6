"""All commits of consumer groups, asked by a process of its own.

Kafka's client library can tell all commits of a group only through its admin client, and that one dereferences a null
pointer and takes the whole process with it when a group's coordinator has moved, as it does whenever a broker restarts
(confluentinc/librdkafka#5040, still so in 2.16). Here it takes a child with it that is started anew. The child reads a
line of JSON per question and answers with one; it ends when its parent does, because its input does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from bus import conf
from bus.errors import BrokerUnavailableError
from bus.kafka import config
from bus.kafka.consumer import Partition

log = logging.getLogger("bus.kafka")

_START_SECONDS: Final = 20.0
Commits = dict[str, dict[Partition, int] | BrokerUnavailableError]


class CommitLister:
    """Asks for all commits of groups. Used by one thread."""

    def __init__(self, settings: conf.BusSettings) -> None:
        self._settings = settings
        self._child: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            child.kill()
            child.wait()

    def of(self, groups: Sequence[str], timeout: float = 5.0) -> Commits:
        """All commits of each group, or why it couldn't be asked. Raises BrokerUnavailableError."""
        try:
            answer = json.loads(self._exchange({"groups": list(groups), "timeout": timeout}, timeout))
        except (OSError, ValueError) as error:
            self.close()
            raise BrokerUnavailableError(
                f"Kafka at {self._settings.kafka_brokers} can't tell the commits of groups; trying again: {error}"
            ) from error
        found: Commits = {}
        for group, commits in answer["commits"].items():
            found[group] = {(topic, partition): offset for topic, partition, offset in commits}
        for group, problem in answer["errors"].items():
            found[group] = BrokerUnavailableError(f"Kafka at {self._settings.kafka_brokers} can't tell: {problem}")
        return found

    def _exchange(self, question: dict[str, Any], timeout: float) -> bytes:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "bus.kafka.listing"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).resolve().parents[2],
            )
            self._write(self._settings.model_dump(mode="json"))
        self._write(question)
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], 2 * timeout + _START_SECONDS)
        line = self._child.stdout.readline() if ready else b""
        if not line.endswith(b"\n"):
            raise OSError("the process that asks has ended" if ready else "the process that asks doesn't answer")
        return line

    def _write(self, value: dict[str, Any]) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(value).encode() + b"\n")
        self._child.stdin.flush()


def main() -> int:
    """Answer questions until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, and it ends this process
    settings = conf.BusSettings.model_validate_json(sys.stdin.readline())
    client = AdminClient(config.common(settings, log))
    for line in sys.stdin:
        question = json.loads(line)
        answer = _answer(client, question["groups"], question["timeout"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if answer["errors"] and not answer["commits"]:
            # A client that has seen a broker restart asks with what it knew before.
            client = AdminClient(config.common(settings, log))
    return 0


def _answer(client: AdminClient, groups: Sequence[str], timeout: float) -> dict[str, Any]:
    futures: dict[str, Any] = {}
    for group in groups:
        futures.update(
            client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=timeout)
        )
    commits, errors = {}, {}
    for group, future in futures.items():
        try:
            places = future.result().topic_partitions or ()
        except KafkaException as error:
            errors[group] = str(error.args[0].str())
            continue
        commits[group] = [
            (each.topic, each.partition, each.offset) for each in places if each.error is None and each.offset >= 0
        ]
    return {"commits": commits, "errors": errors}


if __name__ == "__main__":
    sys.exit(main())
