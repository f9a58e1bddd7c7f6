"""Replay dead letters on the real Kafka at 500 per second and as fast as it goes, and print events per second.

python -m tests.benchmark.replay [--count 20000] [--rate 500] [--seconds 20] [--database sqlite|postgresql]

The rate is judged by the times at which Kafka stored the records, in windows of two seconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from tests.benchmark.dead_letters import open_database
from tests.benchmark.postgres import NoPostgresError
from tests.benchmark.venue import services

GROUP, TOPIC = "bench-billing", "bench.orders"
PARTITIONS = 4
_WINDOW_SECONDS = 2.0


def main() -> None:
    """Run for each database that is there, in a process of its own: settings are read once per process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    with services() as (brokers, redis_url):
        for database in options.database or ["sqlite", "postgresql"]:
            try:
                with open_database(database) as url:
                    environment = {
                        **os.environ,
                        "DATABASE_URL": url,
                        "KAFKA_BROKERS": brokers,
                        "REDIS_URL": redis_url,
                        "DJANGO_SETTINGS_MODULE": "eventconsole.settings",
                        "BUS_ENV_FILE": "",
                        "SECRET_KEY": "only-for-benchmarks-" * 2,
                        "LOG_LEVEL": "ERROR",
                    }
                    numbers = f"{options.count}, {options.rate}, {options.seconds}"
                    part = [sys.executable, "-c", f"from tests.benchmark.replay import measure; measure({numbers})"]
                    print(f"\n{database}", flush=True)
                    subprocess.run(part, env=environment, check=True)
            except NoPostgresError as error:
                print(f"\n{database}: {error}")


def measure(count: int, rate: float, seconds: float) -> None:
    """Measure on the Kafka, Redis and database of the environment."""
    import django

    django.setup()
    from django.core.management import call_command

    from bus import catalog
    from bus.consumer.worker import quiet_garbage_collector
    from bus.kafka.admin import Admin, specs

    call_command("migrate", verbosity=0)
    quiet_garbage_collector()
    catalog.add_topic(TOPIC, "benchmark")
    catalog.add_group(GROUP, "benchmark")
    Admin().create_topics([spec for spec in specs() if spec.name.startswith((TOPIC, GROUP))])
    at_rate = int(rate * seconds)
    _fill(0, at_rate)
    # After the filling: partitions that were just created have no leader for a moment.
    before = _ends()
    _run(at_rate, rate)
    _report_rate(rate, before)
    _fill(at_rate, count)
    took, planned = _run(count, None)
    print(f"unlimited: {count} in {took:.1f} s, {count / took:.0f}/s; planned in {planned:.2f} s", flush=True)


def _fill(first: int, count: int) -> None:
    from tests.indexed import index, record

    for start in range(first, first + count, 500):
        numbers = range(start, min(start + 500, first + count))
        index([record(number, TOPIC, key=f"key-{number % 1000}", group=GROUP) for number in numbers])


def _run(count: int, rate: float | None) -> tuple[float, float]:
    """Plan and send that many; returns the seconds of sending and of planning."""
    from datetime import UTC, datetime

    from bus.conf import current
    from bus.deadletterindex.pages import LetterFilter
    from bus.models import Replay
    from bus.monitor.replays import Sending
    from bus.replay import operations
    from bus.replay.plan import Choice, plan

    began = time.perf_counter()
    replay = plan(Choice(LetterFilter(topic=TOPIC)), "benchmark", datetime.now(UTC), None).replay
    planned = time.perf_counter() - began
    assert replay.total == count, f"{replay.total} planned, {count} were to be"
    task = Sending(current())
    operations.run(replay.pk, "benchmark", datetime.now(UTC), rate=rate)
    began = time.perf_counter()
    while Replay.objects.get(pk=replay.pk).sent < count:
        # As the monitor does it.
        time.sleep(task.step())
    took = time.perf_counter() - began
    task.close()
    return took, planned


def _ends() -> dict[tuple[str, int], int]:
    from bus.kafka.reader import RecordReader

    with RecordReader() as reader:
        places = reader.offsets([(f"{GROUP}.replay", number) for number in range(PARTITIONS)])
    return {place: end for place, (_, end) in places.items()}


def _report_rate(rate: float, starts: dict[tuple[str, int], int]) -> None:
    from bus.kafka.reader import RecordReader

    stops = _ends()
    wanted = sum(stops[place] - starts[place] for place in stops)
    times: list[float] = []
    with RecordReader() as reader:
        reader.assign(dict(starts))
        deadline = time.monotonic() + 60
        while len(times) < wanted and time.monotonic() < deadline:
            times += [record.timestamp()[1] / 1000 for record in reader.read(1000, 0.5)]
    times.sort()
    windows: Counter[int] = Counter(int((at - times[0]) / _WINDOW_SECONDS) for at in times)
    whole: list[Any] = [windows[number] / _WINDOW_SECONDS for number in range(max(windows))]
    held = sum(abs(each - rate) <= rate * 0.1 for each in whole)
    overall = (len(times) - 1) / (times[-1] - times[0])
    print(
        f"{rate:g}/s: {overall:.1f}/s over all {len(times)} events; windows of {_WINDOW_SECONDS:g} s between "
        f"{min(whole):.0f}/s and {max(whole):.0f}/s, {held} of {len(whole)} within 10 %",
        flush=True,
    )


if __name__ == "__main__":
    main()
