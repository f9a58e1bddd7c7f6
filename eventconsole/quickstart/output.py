"""What the programs say: all of it into a log file each, what matters onto the terminal."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from pathlib import Path

Say = Callable[[str], None]

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# `[warning  ]` of our own lines, `%3|` of librdkafka's.
_LEVEL = re.compile(r"\[(debug|info|notset|warning|error|critical|exception)\s*\]|^%([0-7])\|", re.IGNORECASE)
_LOUD = {"warning", "error", "critical", "exception"}
_LOUDEST_QUIET_SYSLOG_LEVEL = 5
_MAX_LINES = 40
_WINDOW_SECONDS = 10.0
_MAX_FILE_BYTES = 5 * 1024 * 1024
_MAX_LINE_BYTES = 64 * 1024


class Output:
    """The lines of one program. Not for several threads."""

    def __init__(self, name: str, path: Path, say: Say, everything: bool = False) -> None:
        """`path` is begun anew; `everything` puts quiet lines onto the terminal too."""
        self.name = name
        self.path = path
        self.last_line = ""
        self._say = say
        self._everything = everything
        self._rest = b""
        self._is_loud = False
        self._said: deque[float] = deque(maxlen=_MAX_LINES)
        self._held_back = 0
        self._file = path.open("wb")

    def feed(self, chunk: bytes, now: float) -> None:
        """Take what the program wrote."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._line(line, now)
        self._file.flush()

    def end(self, now: float) -> None:
        """The program ended: what it wrote without a line's end is a line."""
        if self._rest:
            self.feed(b"\n", now)
        self._tell_held_back()
        self._is_loud = False

    def close(self) -> None:
        """Close the log file."""
        self._file.close()

    def _line(self, line: bytes, now: float) -> None:
        if self._file.tell() > _MAX_FILE_BYTES:
            self._begin_another_file()
        text = line.decode(errors="replace").rstrip()
        plain = COLOUR.sub("", text)
        self._file.write(plain.encode() + b"\n")
        if not plain:
            return
        self.last_line = plain.strip()
        if self._everything:
            self._say(f"{self.name} | {text}")
        elif self._matters(plain):
            self._say_rarely(text, now)

    def _matters(self, text: str) -> bool:
        level = _LEVEL.search(text)
        if level:
            name, syslog = level.groups()
            self._is_loud = name.lower() in _LOUD if name else int(syslog) < _LOUDEST_QUIET_SYSLOG_LEVEL
        elif text.startswith("Traceback (most recent call last)"):
            self._is_loud = True
        # Lines without a level go on with what the one before them said, as those of a traceback do.
        return self._is_loud

    def _say_rarely(self, text: str, now: float) -> None:
        """A program in trouble says the same a thousand times; here it gets forty lines in ten seconds."""
        if len(self._said) == _MAX_LINES and now - self._said[0] < _WINDOW_SECONDS:
            self._held_back += 1
            return
        self._tell_held_back()
        self._said.append(now)
        self._say(f"{self.name} | {text}")

    def _tell_held_back(self) -> None:
        if self._held_back:
            self._say(f"{self.name} | ({self._held_back} more lines in {self.path})")
            self._held_back = 0

    def _begin_another_file(self) -> None:
        self._file.close()
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        self._file = self.path.open("wb")
