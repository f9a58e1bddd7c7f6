"""Redis that forgets, hangs, refuses or isn't there: LedgerUnavailableError in time, or an answer that is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier

import pytest

from bus.errors import ConfigurationError, LedgerUnavailableError
from bus.ledger import Ledger, PublishRecord, Status, Verdict
from tests.contract.ledger.workers import (
    EVENT,
    GROUP,
    TOPIC,
    MakeWorker,
    Worker,
    claim,
    fails_in_time,
    frozen,
    ledger_at,
    state,
)
from tests.processes import free_ports
from tests.redis_server import RedisAddress, RedisServer

MakeServer = Callable[..., RedisServer]


def forget_functions(ledger: Ledger) -> None:
    ledger.client.execute_command("FUNCTION FLUSH", **ledger._functions.everywhere)


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Starts a Redis that forgets everything when it is stopped: `make_server("--maxmemory", "1mb")`."""
    with ExitStack() as cleanup:

        def make(*options: str) -> RedisServer:
            server = RedisServer(tmp_path / "redis", options=options)
            cleanup.callback(server.stop)
            return server

        yield make


@pytest.fixture
def server(make_server: MakeServer) -> RedisServer:
    """The same without options."""
    return make_server()


def ledger_of(server: RedisServer) -> Ledger:
    return ledger_at(RedisAddress(server.url))


# -- the function library --------------------------------------------------------------------------------------------


def test_the_functions_are_loaded_again_when_redis_lost_them(worker: MakeWorker, ledger: Ledger) -> None:
    a = worker("a")
    a.claim()
    forget_functions(ledger)
    assert worker("b").claim().verdict is Verdict.BUSY
    forget_functions(ledger)
    assert a.settle(Status.PROCESSED)
    forget_functions(ledger)
    assert ledger.claim_publish(TOPIC, ["one", "two", "three"], "token") == [None] * 3
    forget_functions(ledger)
    ledger.confirm_publish([("one", PublishRecord(TOPIC, 0, 0, 0, ""), "flow")])
    forget_functions(ledger)
    ledger.heartbeat("a", 10)


def test_eight_threads_may_find_the_functions_missing_at_once(any_redis: RedisAddress) -> None:
    ledgers = [ledger_at(any_redis) for _ in range(3)]
    start = Barrier(8)

    def work(thread: int) -> list[Verdict]:
        worker = Worker(ledgers[thread % 3], f"worker-{thread}")
        verdicts = []
        for turn in range(5):
            start.wait(10)
            if thread == 0:
                forget_functions(ledgers[0])
            _, answers = worker.call((), [claim(f"{thread}-{turn}-{number}") for number in range(20)])
            verdicts += [answer.verdict for answer in answers]
        return verdicts

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(work, range(8)))
    # A part of a call may have run before the functions were gone: repeated, it finds its own claims.
    assert {verdict for verdicts in found for verdict in verdicts} <= {Verdict.GRANTED, Verdict.AGAIN}
    assert [len(verdicts) for verdicts in found] == [100] * 8
    for ledger in ledgers:
        ledger.client.close()


# -- Redis goes away -------------------------------------------------------------------------------------------------


def test_what_redis_forgot_is_written_anew(server: RedisServer) -> None:
    ledger = ledger_of(server)
    a, b = Worker(ledger, "a"), Worker(ledger, "b")
    a.claim()
    a.claim("other")
    server.stop()
    with fails_in_time():
        a.settle(Status.PROCESSED)
    server.start()
    assert a.repeat([a.outcome(Status.PROCESSED)])[0] == [True]
    assert state(ledger) == (Status.PROCESSED, 0, None)
    # Nobody knows of the other one any more: it is handled a second time rather than never.
    assert b.claim("other").verdict is Verdict.GRANTED
    assert a.settle(Status.RETRYING, "other") is False
    ledger.client.close()


def test_every_method_says_that_redis_is_away(any_redis: RedisAddress) -> None:
    [port] = free_ports(1)
    away = ledger_at(RedisAddress(f"redis://127.0.0.1:{port}/0", any_redis.cluster))
    for call in (
        lambda: away.exchange("a", 1, [], [claim()]),
        lambda: away.heartbeat("a", 1),
        lambda: away.end_lease("a"),
        lambda: away.status(EVENT, [GROUP]),
        lambda: away.correlated("flow"),
        lambda: away.claim_publish(TOPIC, [EVENT], "one"),
        lambda: away.confirm_publish([(EVENT, PublishRecord(TOPIC, 0, 0, 0, ""), None)]),
        lambda: away.release_publish([EVENT], "one"),
        away.ping,
        away.problems,
    ):
        with fails_in_time(str(port)):
            call()


def test_a_redis_that_hangs_is_given_up_in_time_and_its_late_work_changes_nothing(server: RedisServer) -> None:
    ledger = ledger_of(server)
    a, b = Worker(ledger, "a"), Worker(ledger, "b")
    a.claim("handled")
    with frozen(server):
        with fails_in_time("can't be used"):
            a.claim()
        with fails_in_time():
            ledger.ping()
        with fails_in_time():
            ledger.status(EVENT, [GROUP])
    # The claim was sent twice and given up. Once a later call is answered, it can't come true any more.
    assert a.settle(None, number=a.number)
    assert a.settle(Status.PROCESSED, "handled")
    with pytest.raises(LedgerUnavailableError):
        ledger.exchange("a", 2, [], [claim()])
    assert b.claim().verdict is Verdict.GRANTED
    ledger.client.close()


def test_a_full_redis_refuses_and_says_so(make_server: MakeServer) -> None:
    server = make_server("--maxmemory", "3mb")
    ledger = ledger_of(server)
    ledger.ping()
    ledger.exchange("a", 1, [], [claim()])
    ledger.client.config_set("maxmemory", "1mb")
    with fails_in_time("refused a call of the ledger.*maxmemory"):
        ledger.exchange("a", 2, [], [claim("other")])
    assert any("refuses to write" in problem for problem in ledger.problems())
    ledger.client.config_set("maxmemory", "0")
    assert ledger.problems() == []
    assert ledger.exchange("a", 2, [], [claim("other")])[1][0].verdict is Verdict.GRANTED
    ledger.client.close()


@pytest.mark.parametrize("cluster", [False, True])
def test_a_wrong_password_is_said_without_the_password(cluster: bool, make_server: MakeServer) -> None:
    server = make_server("--requirepass", "right")
    for credentials in ("", ":wrong-secret@", "default:wrong-secret@"):
        ledger = ledger_at(RedisAddress(server.url.replace("://", f"://{credentials}"), cluster))
        with fails_in_time() as caught:
            ledger.exchange("a", 1, [], [claim()])
        assert "secret" not in str(caught.value)
    if not cluster:
        right = ledger_at(RedisAddress(server.url.replace("://", "://:right@")))
        assert right.exchange("a", 1, [], [claim()])[1][0].verdict is Verdict.GRANTED
        right.client.close()


# -- a Redis that isn't fit ------------------------------------------------------------------------------------------


def test_a_fit_redis_has_no_problems(ledger: Ledger) -> None:
    assert ledger.problems() == []


@pytest.mark.parametrize(
    ("policy", "is_fit"),
    [
        ("noeviction", True),
        ("volatile-ttl", False),
        ("volatile-lru", False),
        ("volatile-lfu", False),
        ("volatile-random", False),
        ("allkeys-lru", False),
        ("allkeys-lfu", False),
        ("allkeys-random", False),
    ],
)
def test_an_eviction_policy_that_forgets_events_is_a_problem(policy: str, is_fit: bool, server: RedisServer) -> None:
    ledger = ledger_of(server)
    ledger.client.config_set("maxmemory-policy", policy)
    found = ledger.problems()
    assert bool(found) is not is_fit
    if found:
        assert policy in found[0]
        assert "noeviction" in found[0]
    ledger.client.close()


def test_a_redis_that_hides_its_state_has_no_problem(make_server: MakeServer) -> None:
    server = make_server("--rename-command", "CONFIG", "", "--rename-command", "INFO", "")
    ledger = ledger_of(server)
    assert ledger.problems() == []
    ledger.client.close()


def test_a_redis_without_functions_names_the_remedy(make_server: MakeServer) -> None:
    server = make_server("--rename-command", "FCALL", "", "--rename-command", "FUNCTION", "")
    ledger = ledger_of(server)
    with fails_in_time("Redis 7.0 or newer"):
        ledger.exchange("a", 1, [], [claim()])
    ledger.client.close()


@pytest.mark.parametrize("version", ["6.2.14", "5.0.0", "3.2"])
def test_an_old_redis_is_refused_at_start(version: str, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ledger_of(server)
    monkeypatch.setattr(ledger.client, "info", lambda section: {"redis_version": version})
    with pytest.raises(ConfigurationError, match=rf"{version}.*Redis 7\.0 or newer, or Valkey"):
        ledger.problems()
    ledger.client.close()
