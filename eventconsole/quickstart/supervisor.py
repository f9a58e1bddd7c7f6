"""Runs programs: starts them again when they die, stops them in order, leaves nothing behind.

One thread does it all, and it must be the main one: the kernel ends our children when the *thread* that started them
ends.

A program that dies is started again after 0.5 s, then 1, 2, 4, 8 and 15 s; one that ran for half a minute begins at
0.5 s again. Programs are stopped one after the other, the last started first, each with its own time between SIGTERM
and SIGKILL, which may be cut short so that all together keep to a limit.
"""

from __future__ import annotations

import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bus.errors import BusError
from eventconsole.quickstart.output import Output, Say
from eventconsole.quickstart.program import Child, Program

RESTART_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_STEADY_SECONDS = 30.0
_CHUNK = 64 * 1024
_WARDEN = Path(__file__).with_name("warden.py")


class StartError(BusError):
    """Something doesn't start. The message says what, and what it said last."""


@dataclass
class Seat:
    """A program's place under the supervisor, over all its runs."""

    program: Program
    output: Output | None
    child: Child | None = None
    deaths: int = 0
    """In a row, since it last ran for a while."""
    due_at: float | None = None
    """When it starts again."""


class Supervisor:
    """See the module. A context manager: on the way out all programs are stopped."""

    def __init__(
        self,
        say: Say,
        log_folder: Path | None,
        *,
        everything: bool = False,
        stop_within: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`say` writes a line to the terminal. Without `log_folder` the programs' output goes where ours goes.

        `stop_within` bounds the stop on the way out, see `stop`.
        """
        self._say = say
        self._log_folder = log_folder
        self._everything = everything
        self._stop_within = stop_within
        self._clock = clock
        self._seats: dict[str, Seat] = {}
        self._selector = selectors.DefaultSelector()
        self._warden: subprocess.Popen[bytes] | None = None
        self.is_strict = True
        """Whether a program that keeps dying raises StartError: so until all is ready."""
        self.is_hurried = False
        """Whether programs that are asked to stop get no time for it. A signal handler may set it."""

    def start(self, program: Program) -> None:
        """Start a program; the same name again takes its predecessor's place."""
        seat = self._seats.pop(program.name, None)
        if seat is None:
            path = self._log_folder and self._log_folder / f"{program.name}.log"
            seat = Seat(program, Output(program.name, path, self._say, self._everything) if path else None)
        seat.program, seat.deaths = program, 0
        # To the end, which is the place from where stopping begins.
        self._seats[program.name] = seat
        self._launch(seat)

    def step(self, timeout: float) -> list[str]:
        """Read output and look after the programs for up to `timeout` seconds.

        Returns the names of those that died and aren't started again. Raises StartError when `is_strict` and one died
        three times in a row.
        """
        self._pump(timeout)
        return [seat.program.name for seat in list(self._seats.values()) if self._look_after(seat)]

    def stop(self, names: Iterable[str] | None = None, within: float | None = None) -> None:
        """Stop programs (all by default), the last started first, each only after the one before it ended.

        `within` bounds the seconds that all of them take together: then a stubborn one is killed before its grace is
        over, when those after it would be left with less than half of theirs.
        """
        wanted = set(self._seats if names is None else names)
        seats = [seat for seat in reversed(list(self._seats.values())) if seat.program.name in wanted]
        started = self._clock()
        for number, seat in enumerate(seats):
            grace = seat.program.grace
            if within is not None:
                left = within - (self._clock() - started)
                grace = max(0.0, min(grace, left - sum(later.program.grace for later in seats[number + 1 :]) / 2))
            self._stop(seat, grace)

    def restart(self, names: Iterable[str]) -> None:
        """Stop programs in order and start them again."""
        chosen = set(names)
        wanted = [program for program in self.programs() if program.name in chosen]
        self.stop([program.name for program in wanted])
        for program in wanted:
            self.start(program)

    def kill(self) -> None:
        """End all at once."""
        for seat in self._seats.values():
            seat.due_at = None
            if seat.child:
                seat.child.signal(signal.SIGKILL)
        for seat in self._seats.values():
            while seat.child and not self._has_ended(seat):
                self._pump(0.01)

    def programs(self) -> list[Program]:
        """All programs, the first started first."""
        return [seat.program for seat in self._seats.values()]

    def pids(self) -> dict[str, int]:
        """Process ids of the programs that run."""
        return {name: seat.child.pid for name, seat in self._seats.items() if seat.child}

    def close(self) -> None:
        """Stop everything."""
        try:
            self.stop(within=self._stop_within)
        finally:
            self.kill()
            for seat in self._seats.values():
                if seat.output:
                    seat.output.close()
            self._selector.close()
            self._dismiss_warden()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _launch(self, seat: Seat) -> None:
        seat.due_at = None
        seat.child = Child(seat.program, self._clock(), captured=seat.output is not None)
        self._tell_warden(f"+{seat.child.pid}")
        if seat.child.output:
            self._selector.register(seat.child.output, selectors.EVENT_READ, seat)

    def _look_after(self, seat: Seat) -> bool:
        """Whether the program died for good."""
        now = self._clock()
        if seat.child is None:
            if seat.due_at is not None and now >= seat.due_at:
                self._launch(seat)
            return False
        child = seat.child
        if not self._has_ended(seat):
            return False
        if not seat.program.restarts:
            return True
        seat.deaths = 1 if now - child.started_at >= _STEADY_SECONDS else seat.deaths + 1
        if self.is_strict and seat.deaths >= 3:
            raise StartError(f"{seat.program.name} doesn't start ({child.ending}){_last_words(seat, child)}")
        delay = RESTART_DELAYS[min(seat.deaths, len(RESTART_DELAYS)) - 1]
        seat.due_at = now + delay
        self._say(
            f"{seat.program.name} died ({child.ending}), starting it again in {delay:g} s{_last_words(seat, child)}"
        )
        return False

    def _stop(self, seat: Seat, grace: float) -> None:
        seat.due_at = None
        if not seat.child:
            return
        seat.child.ask_to_stop()
        deadline = self._clock() + grace
        while not self._has_ended(seat):
            if self.is_hurried or self._clock() >= deadline:
                if not self.is_hurried:
                    self._say(f"{seat.program.name} didn't stop within {grace:.1f} s and was killed")
                seat.child.signal(signal.SIGKILL)
                deadline = float("inf")
            self._pump(0.02)

    def _has_ended(self, seat: Seat) -> bool:
        """Whether the program isn't running; its last output is read and its seat free then."""
        child = seat.child
        if child is None:
            return True
        if not child.has_ended():
            return False
        seat.child = None
        self._tell_warden(f"-{child.pid}")
        if child.output and seat.output:
            while self._read(child, seat):
                pass
            if child.output in self._selector.get_map():
                self._selector.unregister(child.output)
            child.output.close()
            seat.output.end(self._clock())
        return True

    def _pump(self, timeout: float) -> None:
        if not self._selector.get_map():
            time.sleep(timeout)
            return
        for key, _ in self._selector.select(timeout):
            seat: Seat = key.data
            if seat.child and self._read(seat.child, seat) == b"":
                # The end of a pipe stays readable: waiting on it would be a busy loop.
                self._selector.unregister(key.fileobj)

    def _read(self, child: Child, seat: Seat) -> bytes | None:
        """What there was to read: None when nothing now, nothing at all when the pipe is at its end."""
        chunk: bytes | None = child.output.read(_CHUNK) if child.output else None
        if chunk and seat.output:
            seat.output.feed(chunk, self._clock())
        return chunk

    def _tell_warden(self, line: str) -> None:
        if self._warden is None or self._warden.poll() is not None:
            self._hire_warden()
            line = "\n".join(f"+{seat.child.pid}" for seat in self._seats.values() if seat.child) or line
        assert self._warden
        assert self._warden.stdin
        try:
            self._warden.stdin.write(f"{line}\n".encode())
            self._warden.stdin.flush()
        except BrokenPipeError:
            # It was killed just now. The next line finds that out, and hires another.
            pass

    def _hire_warden(self) -> None:
        self._dismiss_warden()
        command = [sys.executable, "-I", "-S", str(_WARDEN)]
        # In a session of its own, or the Ctrl-C that we outlive would end it.
        self._warden = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _dismiss_warden(self) -> None:
        warden, self._warden = self._warden, None
        if warden:
            try:
                warden.communicate(timeout=2)
            except subprocess.TimeoutExpired:
                warden.kill()
                warden.wait()


def _last_words(seat: Seat, child: Child) -> str:
    # Who was killed had no say in it: its last line is about something else.
    is_known = seat.output and seat.output.last_line and not child.was_killed
    return f": {seat.output.last_line}" if seat.output and is_known else ""
