"""Ends what the supervisor leaves behind when it is killed.

    python -I -S warden.py < pipe

Lines `+123` and `-123` on its input name process groups that run and that ended. The end of the input is the
supervisor's end, however it came: whatever is still there then is killed. The kernel's signal on a parent's death
(`bus.embedded.tether`) is faster, but reaches only the supervisor's own children, and only on Linux; this reaches
theirs too.
"""

from __future__ import annotations

import os
import signal
import sys


def watch(lines: object) -> set[int]:
    """The groups that are left when the input ends."""
    groups: set[int] = set()
    for line in lines:  # type: ignore[attr-defined]
        number = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(number)
    return groups


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for group in watch(sys.stdin):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


if __name__ == "__main__":
    main()
