"""Start a program that the kernel ends when its parent dies.

    python -I -S tether.py PARENT_PID PROGRAM ARGUMENT…

It asks Linux for a SIGKILL on the parent's death (PR_SET_PDEATHSIG), then becomes the program. A program of its own
rather than a function between fork and exec, because the parent has threads. The kernel means the *thread* that started
us: only a thread that lives as long as its process may do so. Elsewhere than on Linux the program just starts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def tethered(command: list[str]) -> list[str]:
    """The command line that starts `command` tethered to this process."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), *command]


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
        # The parent may have died before the kernel was asked.
        if os.getppid() != parent:
            sys.exit(1)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
