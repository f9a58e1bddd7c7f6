from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventconsole.quickstart.program import Program
from eventconsole.quickstart.supervisor import RESTART_DELAYS, StartError, Supervisor

ROOT = Path(__file__).resolve().parents[2]
WAITS = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PARENT_OF_ONE = (
    "import subprocess, sys, time;"
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"
)


class Watched:
    """A supervisor, what it said, and a clock that may run ahead."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.folder = folder
        self.ahead = 0.0
        self.supervisor = Supervisor(self.said.append, folder, clock=lambda: time.monotonic() + self.ahead)
        self.supervisor.is_strict = False

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def until(self, condition: Callable[[], bool], seconds: float = 15.0) -> list[str]:
        ended: list[str] = []
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.said
            ended += self.supervisor.step(0.02)
        return ended


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    with watched.supervisor:
        yield watched


def python(name: str, code: str, **options: object) -> Program:
    return Program(name, (sys.executable, "-c", code), **options)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_gone(pids: list[int], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_program_that_dies_is_started_again_and_said_so_in_one_line(watched: Watched) -> None:
    watched.supervisor.start(python("web", f"print('listening', flush=True); {WAITS}"))
    first = watched.supervisor.pids()["web"]
    watched.until(lambda: watched.log("web") == "listening\n")
    os.kill(first, signal.SIGKILL)
    watched.until(lambda: watched.supervisor.pids().get("web", first) != first)
    assert watched.said == ["web died (signal SIGKILL), starting it again in 0.5 s"]


def test_it_says_what_the_dead_program_said_last(watched: Watched) -> None:
    watched.supervisor.start(python("web", "print('no such table'); raise SystemExit(3)"))
    watched.until(lambda: bool(watched.said))
    assert watched.said == ["web died (exit code 3), starting it again in 0.5 s: no such table"]


def test_one_that_keeps_dying_waits_longer_each_time(watched: Watched) -> None:
    watched.supervisor.start(python("web", "pass"))
    for number, delay in enumerate(RESTART_DELAYS[:3], 1):
        watched.until(lambda number=number: len(watched.said) == number)  # type: ignore[misc]
        assert f"again in {delay:g} s" in watched.said[-1]
        watched.ahead += delay


def test_one_that_ran_for_a_while_is_started_again_soon(watched: Watched) -> None:
    watched.supervisor.start(python("web", "pass"))
    watched.until(lambda: len(watched.said) == 2)
    watched.supervisor.start(python("web", WAITS))
    watched.ahead += 60
    os.kill(watched.supervisor.pids()["web"], signal.SIGKILL)
    watched.until(lambda: len(watched.said) == 3)
    assert "again in 0.5 s" in watched.said[-1]


def test_before_all_is_ready_a_program_that_keeps_dying_is_an_error(watched: Watched) -> None:
    watched.supervisor.is_strict = True
    watched.supervisor.start(python("web", "raise SystemExit('BUS_CONCURRENCY: 0 given')"))
    with pytest.raises(StartError, match=r"web doesn't start \(exit code 1\): BUS_CONCURRENCY: 0 given"):
        watched.until(lambda: False)


def test_one_that_is_not_to_be_restarted_is_reported_once(watched: Watched) -> None:
    watched.supervisor.start(python("kafka", WAITS, restarts=False))
    os.kill(watched.supervisor.pids()["kafka"], signal.SIGKILL)
    assert watched.until(lambda: "kafka" not in watched.supervisor.pids()) == ["kafka"]
    assert watched.supervisor.step(0.05) == []
    assert watched.said == []


def test_programs_stop_in_the_reverse_order_of_their_start(watched: Watched, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    code = (
        "import signal, sys, time\n"
        "def stop(*_):\n time.sleep(0.2); open({path!r}, 'a').write({name!r}); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop); print('up', flush=True); time.sleep(60)"
    )
    for name in "abc":
        watched.supervisor.start(python(name, code.format(path=str(journal), name=name)))
    watched.until(lambda: all(watched.log(name) == "up\n" for name in "abc"))
    watched.supervisor.stop()
    assert journal.read_text() == "cba"
    assert watched.supervisor.pids() == {}


def test_a_program_that_ignores_the_signal_is_killed_after_its_grace(watched: Watched) -> None:
    watched.supervisor.start(python("web", STUBBORN, grace=0.3))
    watched.until(lambda: watched.log("web") == "up\n")
    started = time.monotonic()
    watched.supervisor.stop()
    assert time.monotonic() - started < 2
    assert watched.said == ["web didn't stop within 0.3 s and was killed"]


def test_stubborn_programs_share_the_time_there_is(watched: Watched) -> None:
    for name in "abc":
        watched.supervisor.start(python(name, STUBBORN, grace=1.0))
    watched.until(lambda: all(watched.log(name) == "up\n" for name in "abc"))
    started = time.monotonic()
    watched.supervisor.stop(within=1.5)
    assert time.monotonic() - started < 2.2
    # The first leaves the two after it half of theirs; none is killed at once.
    assert [line.split()[0] for line in watched.said] == ["c", "b", "a"]
    assert all("didn't stop within 0.5 s" in line for line in watched.said)


def test_a_program_that_stops_soon_leaves_its_time_to_the_others(watched: Watched) -> None:
    for name, code in (("a", STUBBORN), ("b", "print('up', flush=True); " + WAITS)):
        watched.supervisor.start(python(name, code, grace=1.0))
    watched.until(lambda: all(watched.log(name) == "up\n" for name in "ab"))
    watched.supervisor.stop(within=1.5)
    assert watched.said == ["a didn't stop within 1.0 s and was killed"]


def test_a_stopped_program_is_not_started_again(watched: Watched) -> None:
    watched.supervisor.start(python("web", "pass"))
    watched.until(lambda: bool(watched.said))
    watched.supervisor.stop()
    watched.ahead += 60
    watched.supervisor.step(0.05)
    assert watched.supervisor.pids() == {}


def test_restart_keeps_the_order(watched: Watched) -> None:
    for name in "abc":
        watched.supervisor.start(python(name, WAITS))
    before = watched.supervisor.pids()
    watched.supervisor.restart(iter(["a", "c"]))
    after = watched.supervisor.pids()
    assert after["b"] == before["b"]
    assert after["a"] != before["a"]
    assert [program.name for program in watched.supervisor.programs()] == ["b", "a", "c"]


def test_what_a_dead_program_had_started_dies_with_it(watched: Watched) -> None:
    watched.supervisor.start(python("consumers", PARENT_OF_ONE, restarts=False))
    watched.until(lambda: watched.log("consumers").endswith("\n"))
    grandchild = int(watched.log("consumers"))
    assert is_alive(grandchild)
    os.kill(watched.supervisor.pids()["consumers"], signal.SIGKILL)
    watched.until(lambda: not watched.supervisor.pids())
    assert all_gone([grandchild])


def test_the_environment_of_a_program_is_ours_and_its_own(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    code = "import os; print(os.environ['OURS'], os.environ['ITS'])"
    watched.supervisor.start(python("web", code, environment={"ITS": "2"}, restarts=False))
    assert watched.until(lambda: not watched.supervisor.pids()) == ["web"]
    assert watched.log("web") == "1 2\n"


def test_a_program_inherits_the_sockets_it_is_given(watched: Watched) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        code = f"import socket; print(socket.socket(fileno={ours.fileno()}).getsockname()[1])"
        watched.supervisor.start(python("web", code, inherits=(ours.fileno(),), restarts=False))
        watched.until(lambda: not watched.supervisor.pids())
        assert int(watched.log("web")) == ours.getsockname()[1]


def test_a_program_that_closes_its_output_costs_nothing(watched: Watched) -> None:
    watched.supervisor.start(python("web", f"import os; os.close(1); os.close(2); {WAITS}"))
    watched.until(lambda: not watched.supervisor._selector.get_map())
    before = time.process_time()
    for _ in range(5):
        watched.supervisor.step(0.1)
    assert time.process_time() - before < 0.1


@pytest.mark.parametrize("killed", ["supervisor", "supervisor after its warden"])
def test_a_killed_supervisor_leaves_nobody_behind(tmp_path: Path, killed: str) -> None:
    program = f"""
import os, signal, sys, time
from pathlib import Path
from eventconsole.quickstart.program import Program
from eventconsole.quickstart.supervisor import Supervisor
supervisor = Supervisor(print, Path({str(tmp_path)!r}))
supervisor.start(Program("one", (sys.executable, "-c", {PARENT_OF_ONE!r})))
if {killed!r} != "supervisor":
    supervisor._warden.kill(); supervisor._warden.wait()
supervisor.start(Program("two", (sys.executable, "-c", {STUBBORN!r})))
log = Path({str(tmp_path)!r}) / "one.log"
while not log.read_text().endswith("\\n"):
    supervisor.step(0.02)
print(supervisor._warden.pid, *supervisor.pids().values(), log.read_text(), flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 4
    assert all(is_alive(pid) for pid in pids)
    parent.kill()
    parent.communicate()
    assert all_gone(pids)
