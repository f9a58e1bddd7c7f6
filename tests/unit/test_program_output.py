from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventconsole.quickstart import output as module
from eventconsole.quickstart.output import Output

INFO = b"2026-11-23T10:00:00Z [info     ] worker ready [bus.consumer] group=g\n"
WARNING = b"2026-11-23T10:00:00Z [\x1b[33mwarning  \x1b[0m] Redis is away [bus.ledger]\n"


class Terminal:
    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.output = Output("web", folder / "web.log", self.lines.append)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.output.close()


def test_what_matters_is_said_with_the_programs_name_and_all_is_kept(terminal: Terminal) -> None:
    terminal.output.feed(INFO + WARNING + INFO, 0)
    assert terminal.lines == [f"web | {WARNING.decode().rstrip()}"]
    assert terminal.output.path.read_bytes() == INFO + WARNING.replace(b"\x1b[33m", b"").replace(b"\x1b[0m", b"") + INFO


def test_a_traceback_is_said_whole_and_what_follows_is_not(terminal: Terminal) -> None:
    trace = b'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: no\n'
    terminal.output.feed(b"Listening\n" + trace + INFO + b"  more\n", 0)
    assert terminal.lines == [f"web | {line}" for line in trace.decode().splitlines()]


def test_a_line_may_come_in_pieces(terminal: Terminal) -> None:
    terminal.output.feed(WARNING[:30], 0)
    assert terminal.lines == []
    terminal.output.feed(WARNING[30:-1], 0)
    terminal.output.end(0)
    assert len(terminal.lines) == 1
    assert terminal.output.last_line == "2026-11-23T10:00:00Z [warning  ] Redis is away [bus.ledger]"


@pytest.mark.parametrize(
    ("line", "is_said"), [(b"%3|1795|FAIL|rdkafka|\n", True), (b"%6|1795|FAIL|\n", False), (b"hello\n", False)]
)
def test_levels_of_librdkafka_are_known(terminal: Terminal, line: bytes, is_said: bool) -> None:
    terminal.output.feed(line, 0)
    assert bool(terminal.lines) == is_said


def test_a_program_that_says_the_same_a_thousand_times_is_cut_short(terminal: Terminal) -> None:
    terminal.output.feed(WARNING * 1000, 0)
    assert len(terminal.lines) == 40
    terminal.output.feed(WARNING, 11)
    assert terminal.lines[40] == f"web | (960 more lines in {terminal.output.path})"
    assert len(terminal.lines) == 42


def test_everything_is_said_when_asked_for(tmp_path: Path) -> None:
    lines: list[str] = []
    output = Output("web", tmp_path / "web.log", lines.append, everything=True)
    output.feed(INFO * 50, 0)
    output.close()
    assert len(lines) == 50


def test_a_log_file_that_grows_too_large_gives_way_to_another(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_FILE_BYTES", 1000)
    for _ in range(100):
        terminal.output.feed(INFO, 0)
    files = sorted(terminal.output.path.parent.iterdir())
    assert [file.name for file in files] == ["web.log", "web.log.1"]
    assert all(file.stat().st_size < 1200 for file in files)


def test_a_line_without_end_does_not_fill_the_memory(terminal: Terminal) -> None:
    for _ in range(10):
        terminal.output.feed(b"x" * 60_000, 0)
    assert len(terminal.output._rest) <= 64 * 1024
