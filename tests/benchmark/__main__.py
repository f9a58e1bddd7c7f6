"""`make bench`: every ratio, one after the other.

python -m tests.benchmark [NAME …]
"""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("publish_ratio", "consume_ratio", "dead_letters", "replay", "live", "pages")


def main() -> None:
    """Run the named benchmarks, or all, each in a process of its own."""
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise SystemExit(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    for name in names:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"tests.benchmark.{name}"], check=True)


if __name__ == "__main__":
    main()
