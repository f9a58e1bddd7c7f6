"""How long each page of the console takes on the server, when there is a lot of everything.

python -m tests.benchmark.pages [--letters 100000] [--groups 10000] [--events 1000000] [--database sqlite|postgresql]

The database holds dead letters in 200 error groups, groups of 10 partitions, a day of samples and an audit; Redis holds
handled events. Pages come over HTTP from the product's own web server, one request after the other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from bus.embedded.kafka import EmbeddedKafka
from bus.embedded.redis import EmbeddedRedis
from tests.benchmark.dead_letters import open_database, write
from tests.benchmark.postgres import NoPostgresError
from tests.processes import accepts, free_ports, wait_until

RUNS = 25
BAR_MS = 300
PAGES = (
    "/",
    "/?range=24h",
    "/events",
    "/events/event-5",
    "/events/handled-77",
    "/groups",
    "/groups?sort=-lag",
    "/groups?q=group-00",
    "/groups/group-00042",
    "/dead-letters",
    "/dead-letters?q=topic:topic7",
    "/dead-letters?q=refused",
    "/dead-letters?status=resolved",
    "/dead-letters/{letter}",
    "/replays",
    "/topics",
    "/topics/order.created",
    "/workers",
    "/audit",
    "/audit?who=nobody",
    "/publish",
    "/profile",
)


def main() -> None:
    """Run for each database that is there, in processes of their own: settings are read once per process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--letters", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    with ExitStack() as cleanup:
        kafka = cleanup.enter_context(EmbeddedKafka())
        redis = cleanup.enter_context(EmbeddedRedis())
        kafka.create_topic("order.created", 4)
        write(kafka, options.letters)
        for database in options.database or ["sqlite", "postgresql"]:
            try:
                with open_database(database) as url:
                    print(f"\n{database}", flush=True)
                    measure(kafka.bootstrap, redis.url, url, options)
            except NoPostgresError as error:
                print(f"\n{database}: {error}")


def measure(brokers: str, redis_url: str, database: str, options: Any) -> None:
    """Seed, start the web server, and ask for each page."""
    environment = {
        **os.environ,
        "DATABASE_URL": database,
        "KAFKA_BROKERS": brokers,
        "REDIS_URL": redis_url,
        "DJANGO_SETTINGS_MODULE": "eventconsole.settings",
        "BUS_ENV_FILE": "",
        "SECRET_KEY": "only-for-benchmarks-" * 2,
        "LOG_LEVEL": "ERROR",
    }
    seeding = f"from tests.benchmark.pages import seed; seed({options.groups}, {options.events})"
    began = time.perf_counter()
    seeded = subprocess.run(
        [sys.executable, "-c", seeding], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    session, letter = seeded.stdout.split()[-2:]
    print(f"  seeded in {time.perf_counter() - began:.0f} s", flush=True)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "daphne", "--verbosity", "0", "-p", str(port), "eventconsole.asgi:application"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), 30, "the web server")
        for page in PAGES:
            ask(f"http://127.0.0.1:{port}", page.format(letter=letter), session)
    finally:
        server.terminate()
        server.wait(10)


def ask(base: str, page: str, session: str) -> None:
    """Print the median and the 95th percentile of some requests for a page."""
    times, size, status = [], 0, 0
    for number in range(RUNS + 2):
        request = urllib.request.Request(base + page, headers={"Cookie": f"sessionid={session}"})
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                size, status = len(response.read()), response.status
        except urllib.error.HTTPError as error:
            size, status = len(error.read()), error.code
        if number >= 2:  # the first ones compile templates and open connections
            times.append((time.perf_counter() - began) * 1000)
    p95 = statistics.quantiles(times, n=20)[-1]
    mark = "" if p95 < BAR_MS else f"   OVER {BAR_MS} ms"
    print(f"  {page:34} {status}  {statistics.median(times):7.1f} ms  p95 {p95:7.1f} ms  {size / 1000:6.0f} kB{mark}")


# -- seeding, in a process with the settings of the database ----------------------------------------------------------


def seed(groups: int, events: int) -> None:
    """Fill database and Redis; prints a session of an administrator, and the id of a dead letter."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from bus import conf
    from bus.deadletterindex.index import Index
    from bus.kafka.admin import Admin
    from bus.kafka.reader import RecordReader
    from bus.models import DeadLetter

    with RecordReader(conf.current()) as reader:
        index = Index(reader, Admin(conf.current()))
        index.look()
        index.catch_up()
    now = datetime.now(UTC)
    seed_groups(groups, now)
    seed_samples(now)
    seed_audit(now)
    seed_events(events)
    print(new_session(), DeadLetter.objects.order_by("-pk")[100].pk)


def seed_groups(count: int, now: datetime) -> None:
    """Consumer groups with ten partitions each, one in ten behind; and the topics of the catalog."""
    from bus import catalog
    from bus.models import ClusterState, GroupState, TopicState

    def partitions(number: int) -> list[dict[str, Any]]:
        row = {"committed": 900, "end": 1000 + number % 7, "lag": 100, "timeLag": 3.0, "rate": 1.0, "trend": "steady"}
        more = {"worker": "web-1", "inHand": 0, "waits": None}
        return [{"topic": f"topic{number % 50}", "partition": each, **row, **more} for each in range(10)]

    for first in range(0, count, 1000):
        GroupState.objects.bulk_create(
            GroupState(
                name=f"group-{number:05}",
                is_ours=number % 100 == 0,
                state="stable",
                members=3,
                topics=[f"topic{number % 50}"],
                partition_count=10,
                lag=number if number % 10 == 0 else 0,
                time_lag_seconds=number / 10 if number % 10 == 0 else 0,
                sampled_at=now,
                sparkline=[number % 50] * 60,
                sparkline_at=now,
                partitions=partitions(number),
            )
            for number in range(first, min(first + 1000, count))
        )
    TopicState.objects.bulk_create(
        TopicState(name=name, kind="events", partition_count=4, records=1000, sampled_at=now, sparkline=[1] * 60)
        for name in catalog.topics()
    )
    ClusterState.objects.create(cluster_id="bench", asked_at=now, seen_at=now)


def seed_samples(now: datetime) -> None:
    """A day of minutes and an hour of 5 s, for the whole and for each of our groups."""
    from bus import catalog
    from bus.history import COARSE_STEP, FINE_STEP, slot
    from bus.models import Sample

    series = {
        "outcomes": {"published": 90.0, "processed": 400.0, "retrying": 3.0, "failed": 0.2},
        "handling": {"p50": 4.0, "p95": 80.0},
        "lag": {"total": 1200, "worstSeconds": 9.0},
        "dead-letters": {"open": 1000, "new": 3},
        "workers": {"count": 9},
        **{
            f"group:{name}": {"lag": 9, "timeLag": 1.0, "processed": 50.0, "failed": 0.1, "p50": 4.0, "p95": 80.0}
            for name in catalog.groups()
        },
        **{f"topic:{name}": {"published": 3.0} for name in catalog.topics()},
    }
    for step, count in ((COARSE_STEP, 1440), (FINE_STEP, 720)):
        end = slot(now, step)
        for name, values in series.items():
            Sample.objects.bulk_create(
                Sample(series=name, step=step, at=end - timedelta(seconds=step * n), values=values)
                for n in range(1, count)
            )


def seed_audit(now: datetime) -> None:
    """What people did."""
    from bus.models import AuditEntry

    AuditEntry.objects.bulk_create(
        AuditEntry(at=now - timedelta(minutes=n), who=f"user{n % 9}", what="replay.run", target_kind="replay", target=n)
        for n in range(10_000)
    )


def seed_events(count: int) -> None:
    """Handled events in the ledger: published, and processed by one group."""
    from bus.ledger import Ledger, PublishRecord, Settlement, Status

    ledger = Ledger()
    at_ms = time.time_ns() // 1_000_000
    for first in range(0, count, 1000):
        names = [f"handled-{number}" for number in range(first, min(first + 1000, count))]
        ledger.confirm_publish(
            [(name, PublishRecord("order.created", 0, first, at_ms, "bench"), None) for name in names]
        )
        settled = [
            Settlement(name, "notification-service-group", "order.created", 0, 1, Status.PROCESSED) for name in names
        ]
        ledger.exchange("bench-1-abc/notification-service-group", first // 1000 + 1, settled, [])


def new_session() -> str:
    """The key of a session of an administrator."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore

    user = User.objects.create_superuser("bench")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


if __name__ == "__main__":
    main()
