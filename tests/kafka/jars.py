"""The jars of Apache Kafka, fetched once by Maven into a cache."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
MINIMUM_JAVA = 17


class MissingJarsError(Exception):
    """Kafka's jars can't be had on this machine. The message says why."""


@cache
def java() -> str | None:
    """The path of a Java that is new enough, or None."""
    home = os.environ.get("JAVA_HOME")
    found = [str(Path(home, "bin", "java"))] if home else []
    on_path = shutil.which("java")
    for candidate in [*found, on_path]:
        if candidate and _major(candidate) >= MINIMUM_JAVA:
            return candidate
    return None


def jars() -> Path:
    """The folder with Kafka's jars, filled when it isn't there yet. Raises MissingJarsError.

    TEST_KAFKA_JARS names another folder than the one in the user's cache.
    """
    folder = _folder()
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingJarsError(f"no jars in {folder}, and no mvn to fetch them")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        # A second test run waits here for the first one's download.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(maven, folder)
    return folder


def _fetch(maven: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        target = Path(scratch, "jars")
        command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            raise MissingJarsError("mvn dependency:copy-dependencies took more than 600 s") from None
        if done.returncode or not any(target.glob("kafka_2.13-*.jar")):
            raise MissingJarsError(f"mvn dependency:copy-dependencies failed: {(done.stdout + done.stderr)[-2000:]}")
        # Renamed when complete: a folder that exists is a folder that works.
        target.rename(folder)


def _folder() -> Path:
    given = os.environ.get("TEST_KAFKA_JARS")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "event-console", f"kafka-{kafka_version()}")


def kafka_version() -> str:
    """The version of Kafka that the tests run on."""
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", POM.read_text())
    if found is None:
        raise MissingJarsError(f"{POM} names no kafka.version")
    return found[1]


def _major(command: str) -> int:
    try:
        told = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', told)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    print(jars())
