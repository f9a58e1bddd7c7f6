"""Index 100,000 dead letters from the embedded Kafka, and ask for them: records per second and milliseconds.

python -m tests.benchmark.dead_letters [--count 100000] [--database sqlite|postgresql]
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from bus import catalog, deadletters
from bus.deadletters import Failure, Origin, Reason
from bus.embedded.kafka import EmbeddedKafka
from bus.envelope import Event, Metadata, encode, headers_of, timestamp
from tests.benchmark.postgres import NoPostgresError, Postgres

TOPICS, ERRORS, GROUPS = 50, 200, 7
AT_MS = 1_790_000_000_000
RUNS = 15
STACK = """Traceback (most recent call last):
  File "/app/.venv/lib/python3.12/site-packages/thing.py", line 3, in call
    return work()
  File "/app/shop/handlers/part%d.py", line 12, in charge
    raise SomeError(number)
shop.SomeError: order 4711 was refused
"""


def main() -> None:
    """Run for each database that is there, in a process of its own: settings are read once per process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    with EmbeddedKafka() as kafka:
        began = time.perf_counter()
        write(kafka, options.count)
        print(f"{options.count} dead letters written in {time.perf_counter() - began:.0f} s")
        for database in options.database or ["sqlite", "postgresql"]:
            try:
                with open_database(database) as url:
                    environment = {
                        **os.environ,
                        "DATABASE_URL": url,
                        "KAFKA_BROKERS": kafka.bootstrap,
                        "DJANGO_SETTINGS_MODULE": "eventconsole.settings",
                        "BUS_ENV_FILE": "",
                        "SECRET_KEY": "only-for-benchmarks-" * 2,
                        "LOG_LEVEL": "ERROR",
                    }
                    part = [sys.executable, "-c", "from tests.benchmark.dead_letters import measure; measure()"]
                    print(f"\n{database}", flush=True)
                    subprocess.run(part, env=environment, check=True)
            except NoPostgresError as error:
                print(f"\n{database}: {error}")


@contextlib.contextmanager
def open_database(name: str) -> Iterator[str]:
    """The address of an empty database."""
    with ExitStack() as cleanup:
        if name == "postgresql":
            yield cleanup.enter_context(Postgres()).url
        else:
            folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="event-console-bench-"))
            yield f"sqlite:///{folder}/db.sqlite3"


def write(kafka: EmbeddedKafka, count: int) -> None:
    """Write dead letters as workers do."""
    from confluent_kafka import Producer

    names = [f"topic{number}" for number in range(TOPICS)]
    for name in names:
        kafka.create_topic(catalog.dead_letter_topic(name), 2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 20})
    failure = Failure("", Reason.EXHAUSTED, 4, "", "", "", AT_MS, AT_MS)
    for number in range(count):
        error = number * 7919 % ERRORS
        topic = names[error % TOPICS]
        event = Event(
            Metadata(f"event-{number}", topic, timestamp(AT_MS), correlation_id=f"request-{number // 3}"),
            {"orderId": f"order-{number}", "total": number / 100, "items": [{"sku": "abc", "count": 2}] * 5},
        )
        record = deadletters.build(
            encode(event),
            f"customer-{number % 5000}".encode(),
            headers_of(event, "benchmark"),
            Origin(topic, number % 2, number, AT_MS),
            replace(
                failure,
                group=f"group{number % GROUPS}",
                error_type=f"Error{error % 20}",
                error_message=f"order {number} was refused by gate {chr(97 + error // 26)}{chr(97 + error % 26)}",
                stack_trace=STACK % error,
                last_attempt_at_ms=AT_MS + number * 10,
            ),
            max_bytes=2_000_000,
            event_id=f"event-{number}",
        )
        while True:
            try:
                producer.produce(record.topic, record.value, record.key, number % 2, headers=list(record.headers))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(60) == 0


def measure() -> None:
    """Index everything into the database of the settings, then ask."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from bus import conf
    from bus.consumer.worker import quiet_garbage_collector
    from bus.deadletterindex.index import Index
    from bus.kafka.admin import Admin
    from bus.kafka.reader import RecordReader
    from bus.models import DeadLetter

    settings = conf.current()
    quiet_garbage_collector()
    with RecordReader(settings) as reader:
        index = Index(reader, Admin(settings))
        index.look()
        began, cpu = time.perf_counter(), time.process_time()
        if os.environ.get("PROFILE"):
            cProfile.runctx("index.catch_up()", globals(), locals(), os.environ["PROFILE"])
        else:
            index.catch_up()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    count = DeadLetter.objects.count()
    each = cpu / count * 1e6
    print(f"  indexed {count} dead letters at {count / seconds:,.0f} a second, {each:.0f} µs of own CPU time each")
    ask(count)


def ask(count: int) -> None:
    """Time each list and group query; a page in the middle and at the end, too."""
    from bus.deadletterindex.pages import GroupFilter, LetterFilter, letter_page
    from bus.models import DeadLetter
    from eventconsole.api.dead_letter_views import list_groups

    some = DeadLetter.objects.order_by("pk")[count // 2]
    for name, wanted in filters(some, count).items():
        median(name, partial(letter_page, LetterFilter(**wanted), 50))
    for share in (10, 50, 90, 99):
        at = DeadLetter.objects.order_by("-last_failed_at", "-id")[count * share // 100]
        cursor = letter_page(LetterFilter(until=at.last_failed_at), 1).next
        median(f"page at {share} %", partial(letter_page, LetterFilter(), 50, cursor))
        median(f"page at {share} %, status", partial(letter_page, LetterFilter(status="open"), 50, cursor))
    groups: dict[str, dict[str, Any]] = {
        "groups": {},
        "groups of a topic": {"topic": some.topic},
        "groups of a consumer group": {"group": some.group},
        "groups with open ones": {"status": "open"},
        "groups with text": {"q": "refused by gate a"},
    }
    for name, wanted in groups.items():
        median(name, partial(list_groups, GroupFilter(**wanted), 200, None))
    ask_in_short(some)


def ask_in_short(some: Any) -> None:
    """Time what badges, event pages and the cards of error groups ask for, as of when all of them failed lately."""
    from bus import audit
    from bus.deadletterindex.summaries import Completed, completions, letters_of_event, new_groups, open_counts
    from bus.deadletterindex.trends import Span, trends
    from bus.models import DeadLetter, ErrorGroup

    last = DeadLetter.objects.latest("last_failed_at").last_failed_at
    page = list(ErrorGroup.objects.order_by("-last_seen_at").values_list("pk", flat=True)[:50])
    for span in Span:
        median(f"trends of 50 groups, {span.name.lower()}", partial(trends, page, last, span))
        median(f"the same of a topic, {span.name.lower()}", partial(trends, page, last, span, [some.topic]))
    median("counts for badges", open_counts)
    median("new groups", partial(new_groups, some.first_failed_at, 10))
    median("dead letters of an event", partial(letters_of_event, some.event_id))
    median("audit of a dead letter", partial(audit.of_letters, [some.pk]))
    median("audit of an error group", partial(audit.of_error_group, some.fingerprint))
    for of in Completed:
        median(f"completion of {of}", partial(completions, of, "r"))


def filters(some: Any, count: int) -> dict[str, dict[str, Any]]:
    """What is asked for, by what it is called; `some` is a dead letter of those."""
    return {
        "all": {},
        "status open": {"status": "open"},
        "status resolved (none)": {"status": "resolved"},
        "topic": {"topic": some.topic},
        "topic and status": {"topic": some.topic, "status": "open"},
        "topic that isn't there, status": {"topic": "none", "status": "open"},
        "group": {"group": some.group},
        "group and topic": {"group": some.group, "topic": some.topic},
        "event id": {"event_id": some.event_id},
        "event type": {"event_type": some.event_type},
        "fingerprint": {"fingerprint": some.fingerprint},
        "fingerprint and status": {"fingerprint": some.fingerprint, "status": "open"},
        "error type": {"error_type": some.error_type},
        "key": {"key": some.key},
        "reason": {"reason": "exhausted"},
        "reason (none)": {"reason": "crash"},
        "time": {"since": some.last_failed_at},
        "text in many": {"q": "was refused"},
        "text in one": {"q": f"order {count // 3} was"},
        "text in none": {"q": "nothing like it"},
        "an id as text": {"q": some.correlation_id},
    }


def median(name: str, query: Callable[[], Any]) -> None:
    """Print the median and the longest of some runs."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        query()
        times.append((time.perf_counter() - began) * 1000)
    print(f"  {name:34} {statistics.median(times):7.1f} ms   (longest {max(times):.1f})", flush=True)


if __name__ == "__main__":
    main()
