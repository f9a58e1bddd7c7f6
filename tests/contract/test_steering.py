"""Pauses and epochs in the database, and their mirror in Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError

import bus
from bus import catalog, conf, handlers
from bus.consumer import worker as workers
from bus.control import pauses, store
from bus.control.watch import Watch
from bus.errors import InvalidEventError, LedgerUnavailableError
from bus.handlers import Handler
from bus.ledger import Claim, Ledger, Settlement, Status
from bus.ledger.keeping import keep
from bus.ledger.mirror import Epochs, Mirror, Pause, Steering
from bus.models import AuditEntry, GroupEpoch, GroupPause, SteeringVersion
from bus.monitor.control import Keeping, Mirroring
from bus.replay.refusals import NotPossibleError, UnknownThingError
from tests.redis_server import RedisAddress
from tests.unit.dispatch_stage import Time

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
TOPIC = "order.created"


@pytest.fixture
def ledger(any_redis: RedisAddress, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(handlers, "registry", handlers.Registry())
    monkeypatch.setattr(catalog, "_groups", catalog.groups())
    catalog.add_group("billing", "A group of a test")
    handlers.registry.add(Handler("billing", (TOPIC, "order.shipped"), lambda data, metadata: None))
    with conf.override(redis_url_given=any_redis.url, redis_cluster=any_redis.cluster, redis_prefix="test"):
        yield Ledger()


def nothing() -> None:
    """Nobody is told that the worker lives."""


def key_of(ledger: Ledger) -> str:
    return f"{ledger.prefix}:control"


def read(mirror: Mirror) -> Steering:
    found = mirror.read()
    assert found is not None
    return found


def settle(ledger: Ledger, group: str, event_id: str, outcome: Status, topic: str = TOPIC) -> None:
    ledger.exchange("w", 1, [], [Claim(event_id, group, topic)])
    ledger.exchange("w", 2, [Settlement(event_id, group, topic, 0, 1, outcome, 1, delay_ms=60_000)], [])
    ledger.end_lease("w")


def test_a_pause_is_in_the_database_the_audit_and_the_mirror(ledger: Ledger) -> None:
    told = pauses.pause("billing", TOPIC, "ada", "bank is down", NOW, ledger.mirror)

    assert told.is_told
    assert read(ledger.mirror).pause("billing") == Pause(topics=frozenset({TOPIC}))
    (row,) = pauses.pauses_of("billing")
    assert (row.topic, row.who, row.why, row.at) == (TOPIC, "ada", "bank is down", NOW)
    (entry,) = AuditEntry.objects.all()
    assert (entry.who, entry.what, entry.target, entry.why) == ("ada", "group.pause", "billing", "bank is down")
    assert (entry.outcome, entry.detail["topic"]) == ("done", TOPIC)

    pauses.pause("billing", "", "bob", "", NOW, ledger.mirror)
    assert read(ledger.mirror).pause("billing") == Pause(True, frozenset({TOPIC}))
    pauses.resume("billing", "", "bob", "", NOW, ledger.mirror)
    assert read(ledger.mirror).pause("billing") == Pause(topics=frozenset({TOPIC}))
    pauses.resume("billing", TOPIC, "bob", "", NOW, ledger.mirror)
    assert not read(ledger.mirror).pause("billing")
    assert AuditEntry.objects.filter(outcome="done").count() == 4


def test_refusals_say_what_is_possible(ledger: Ledger) -> None:
    with pytest.raises(UnknownThingError, match="billing"):
        pauses.pause("nobody", "", "ada", "", NOW, ledger.mirror)
    with pytest.raises(InvalidEventError, match=r"it handles order\.created, order\.shipped"):
        pauses.pause("billing", "user.deleted", "ada", "", NOW, ledger.mirror)
    with pytest.raises(NotPossibleError, match="possible: pause"):
        pauses.resume("billing", "", "ada", "", NOW, ledger.mirror)
    pauses.pause("billing", TOPIC, "ada", "", NOW, ledger.mirror)
    with pytest.raises(NotPossibleError, match="by ada on 2026-11-27 at 12:00:00 UTC; possible: resume"):
        pauses.pause("billing", TOPIC, "bob", "", NOW, ledger.mirror)
    with pytest.raises(NotPossibleError, match=r"what is: order\.created"):
        pauses.resume("billing", "", "bob", "", NOW, ledger.mirror)
    assert AuditEntry.objects.count() == 1


def test_while_redis_is_away_the_pause_stands_and_the_monitor_tells_it_later(ledger: Ledger) -> None:
    away = Ledger(settings=conf.load(conf.BusSettings, redis_url_given="redis://127.0.0.1:1/0"))

    assert not pauses.pause("billing", "", "ada", "", NOW, away.mirror).is_told
    assert AuditEntry.objects.get().outcome == "intent"

    Mirroring(conf.current()).step()
    assert read(ledger.mirror).pause("billing").whole
    assert AuditEntry.objects.get().outcome == "done"


def test_the_monitor_restores_what_redis_lost_and_takes_out_what_is_stale(ledger: Ledger) -> None:
    pauses.pause("billing", "", "ada", "", NOW, ledger.mirror)
    GroupEpoch.objects.create(group="billing", number=3)
    ledger.client.delete(key_of(ledger))
    assert ledger.mirror.read() is None
    assert store.restore(ledger.mirror)
    assert read(ledger.mirror) == store.load()
    assert read(ledger.mirror).epoch("billing") == 3

    ledger.client.hset(key_of(ledger), "pause|shipping|", 1)
    assert store.restore(ledger.mirror)
    assert not read(ledger.mirror).pause("shipping")
    assert not store.restore(ledger.mirror)


def test_with_nothing_to_steer_the_mirror_says_so(ledger: Ledger) -> None:
    assert store.restore(ledger.mirror)
    assert read(ledger.mirror) == Steering()


def test_an_older_state_never_replaces_a_newer_one(ledger: Ledger) -> None:
    old = store.load()
    pauses.pause("billing", "", "ada", "", NOW, ledger.mirror)

    assert not ledger.mirror.write(old)
    assert read(ledger.mirror).pause("billing").whole


def test_a_database_that_was_put_back_takes_no_epoch_back(ledger: Ledger) -> None:
    ledger.mirror.write(Steering(57, frozenset({("billing", "")}), {"billing": 4}))

    store.restore(ledger.mirror)

    found = read(ledger.mirror)
    assert (found.version, found.epoch("billing"), found.pause("billing")) == (58, 4, Pause())
    assert GroupEpoch.objects.get().number == 4
    assert SteeringVersion.objects.get().number == 58


def test_a_reset_that_its_process_left_is_ended(ledger: Ledger) -> None:
    GroupEpoch.objects.create(group="billing", resetting_since=NOW)
    store.restore(ledger.mirror, NOW)
    assert read(ledger.mirror).pause("billing").whole

    store.restore(ledger.mirror, NOW + timedelta(seconds=store.RESET_SECONDS + 1))
    assert not read(ledger.mirror).pause("billing")


def test_only_what_is_in_the_mirror_is_audited_as_done(ledger: Ledger) -> None:
    """Bob's change is committed while Ada's is being mirrored, and Redis is away before his can be."""

    class Crossed(Mirror):
        def write(self, steering: Steering) -> bool:
            written = super().write(steering)
            assert not pauses.pause("billing", "order.shipped", "bob", "", NOW, Away(ledger._functions, "test")).is_told
            return written

    class Away(Mirror):
        def write(self, steering: Steering) -> bool:
            raise LedgerUnavailableError("away")

    assert pauses.pause("billing", TOPIC, "ada", "", NOW, Crossed(ledger._functions, "test")).is_told

    assert dict(AuditEntry.objects.values_list("who", "outcome")) == {"ada": "done", "bob": "intent"}


def test_a_monitor_that_begins_while_redis_is_away_audits_nothing_as_done(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "write", lambda self, steering: 1 / 0)
        with pytest.raises(ZeroDivisionError):  # the process dies right after its commit
            pauses.pause("billing", TOPIC, "ada", "", NOW, ledger.mirror)
    mirroring = Mirroring(conf.current())

    def away(self: Mirror) -> Steering:
        raise LedgerUnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "read", away)
        with pytest.raises(LedgerUnavailableError):
            mirroring.step()
    assert AuditEntry.objects.get().outcome == "intent"

    mirroring.step()
    assert AuditEntry.objects.get().outcome == "done"
    assert read(ledger.mirror).pause("billing")


# -- what a worker does with it -------------------------------------------------------------------------------------


def test_a_worker_that_finds_no_mirror_asks_the_database_and_restores_it(ledger: Ledger) -> None:
    """Redis lost the hash and not the records: in epoch 0 the worker would take what is new for handled."""
    GroupEpoch.objects.create(group="billing", number=2)
    GroupPause.objects.create(group="billing", topic=TOPIC, who="ada", at=NOW)

    found = Watch(ledger.mirror).learn(threading.Event(), nothing)

    assert found is not None
    assert (found.epoch("billing"), found.pause("billing")) == (2, Pause(topics=frozenset({TOPIC})))
    assert read(ledger.mirror) == found


def test_a_worker_that_nobody_can_tell_waits(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.control.watch.LOOK_SECONDS", 0.01)
    stopping, asked = threading.Event(), []

    def load() -> Steering:
        asked.append(1)
        if len(asked) == 5:
            stopping.set()
        raise OperationalError("the database is away")

    said: list[int] = []
    assert Watch(ledger.mirror, load).learn(stopping, lambda: said.append(len(asked))) is None
    assert len(asked) == 5
    assert said == [0, 1, 2, 3, 4]  # before each look
    assert ledger.mirror.read() is None


def test_a_worker_goes_by_the_mirror_while_the_database_is_away(ledger: Ledger) -> None:
    ledger.mirror.write(Steering(1, frozenset(), {"billing": 1}))

    def load() -> Steering:
        raise OperationalError("the database is away")

    found = Watch(ledger.mirror, load).learn(threading.Event(), nothing)
    assert found is not None
    assert found.epoch("billing") == 1


def test_what_was_known_stays_while_redis_is_away_or_has_lost_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.control.watch.LOOK_SECONDS", 0.01)
    known = Steering(1, frozenset({("billing", "")}))
    answers: list[Steering | Exception | None] = [LedgerUnavailableError("away"), None, known, Steering(2)]
    stopping = threading.Event()
    seen: list[Steering] = []

    class Silent(Mirror):
        def read(self) -> Steering | None:
            answer = answers.pop(0)
            if not answers:
                stopping.set()
            if isinstance(answer, Exception):
                raise answer
            return answer

    Watch(Silent(ledger._functions, "test")).follow(stopping, known, seen.append)
    assert seen == [Steering(2)]


@pytest.mark.expects_errors("steering_not_read")
def test_a_look_that_fails_oddly_is_not_the_last_one(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that never looks again would go on with a group that people believe to be paused."""
    monkeypatch.setattr("bus.control.watch.LOOK_SECONDS", 0.01)
    answers: list[Steering | Exception] = [RuntimeError("odd"), Steering(2), Steering(3)]
    stopping, seen = threading.Event(), []

    class Odd(Mirror):
        def read(self) -> Steering | None:
            answer = answers.pop(0)
            if not answers:
                stopping.set()
            if isinstance(answer, Exception):
                raise answer
            return answer

    def obey(found: Steering) -> None:
        seen.append(found)
        if len(seen) == 1:
            raise RuntimeError("odd as well")

    Watch(Odd(ledger._functions, "test")).follow(stopping, Steering(1), obey)
    assert seen == [Steering(2), Steering(3)]


def test_a_worker_whose_group_is_in_another_epoch_stops(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    class Source:
        def __getattr__(self, name: str) -> object:
            return lambda *args, **kwargs: []

    class Sender:
        is_broken = False

        def send(self, *args: object, **kwargs: object) -> None: ...

    ledger.mirror.write(Steering(1))
    worker = workers.Worker(
        {"billing": handlers.registry.for_group("billing")},
        sender=Sender(),
        ledger=ledger,
        open_source=lambda group, name: Source(),  # type: ignore[arg-type, return-value]
    )
    assert worker._learn_steering()
    errors: list[BaseException] = []
    worker._obey(Steering(2, frozenset(), {"billing": 1}), errors)

    assert worker.runners[0].paused.whole  # nothing begins in the wrong epoch while it stops
    assert "epoch 1" in str(errors[0])
    assert worker._stopping.is_set()


# -- epochs in the ledger -------------------------------------------------------------------------------------------


def test_whoever_asks_hears_of_the_current_epoch_under_the_plain_name(ledger: Ledger) -> None:
    settle(ledger, "billing", "mine", Status.PROCESSED)
    assert bus.is_event_processed("mine", "billing")

    ledger.mirror.write(Steering(1, frozenset(), {"billing": 1}))
    asked = Ledger()
    assert asked.status("mine", ["billing"]) is None

    settle(ledger, "billing@1", "mine", Status.RETRYING)
    found = asked.status("mine", ["billing"])
    assert found is not None
    assert [(each.group, each.status) for each in found.groups] == [("billing", Status.RETRYING)]


def test_an_epoch_that_was_seen_stands_when_redis_loses_it(ledger: Ledger) -> None:
    clock = Time()
    epochs = Epochs(ledger.mirror, clock)
    ledger.mirror.write(Steering(1, frozenset(), {"billing": 2}))
    assert epochs.name("billing") == "billing@2"
    ledger.client.delete(key_of(ledger))
    clock.now += 10
    assert epochs.name("billing") == "billing@2"
    assert epochs.name("shipping") == "shipping"


# -- what paused groups remember ------------------------------------------------------------------------------------


def test_what_a_paused_group_has_handled_is_remembered(ledger: Ledger) -> None:
    for number in range(1200):
        settle(ledger, "billing", f"e{number}", Status.PROCESSED, TOPIC if number % 2 else "order.shipped")
    settle(ledger, "shipping", "other", Status.PROCESSED)
    keys = {number: ledger._group_key("billing", f"e{number}") for number in range(1200)}
    for key in (*keys.values(), ledger._group_key("shipping", "other")):
        ledger.client.pexpire(key, 60_000)

    assert keep(ledger, "billing", frozenset({TOPIC}), 3_600_000) == 600
    assert ledger.client.pttl(keys[1]) > 3_000_000
    assert ledger.client.pttl(keys[0]) <= 60_000
    assert keep(ledger, "billing", None, 1_800_000) == 1200
    assert ledger.client.pttl(keys[1]) > 3_000_000  # never less than before
    assert ledger.client.pttl(keys[0]) > 1_700_000
    assert ledger.client.pttl(ledger._group_key("shipping", "other")) <= 60_000


def test_the_monitor_sees_to_it_four_times_as_often_as_records_live(ledger: Ledger) -> None:
    clock = Time()
    task = Keeping(conf.current(), clock)
    settle(ledger, "billing", "mine", Status.PROCESSED)
    key, seconds = ledger._group_key("billing", "mine"), conf.current().dedup_seconds

    def ttl_after(passed: float) -> float:
        clock.now += passed
        ledger.client.pexpire(key, 1000)
        task.step()
        return float(ledger.client.pttl(key)) / 1000

    assert ttl_after(0) <= 1  # nothing is paused
    pauses.pause("billing", "", "ada", "", NOW, ledger.mirror)
    assert ttl_after(0) > seconds / 2
    assert ttl_after(seconds / 5) <= 1
    assert ttl_after(seconds / 5) > seconds / 2
