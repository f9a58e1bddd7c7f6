"""Errors that were logged although no test expected them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


@contextmanager
def only_expected_errors(patterns: list[str]) -> Iterator[None]:
    """Raise AssertionError at the end if an ERROR was logged that matches no pattern; more may be added meanwhile."""
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(errors)
    unexpected = [line for line in errors.lines if not any(re.search(pattern, line) for pattern in patterns)]
    if unexpected:
        raise AssertionError("errors were logged that the test didn't expect:\n" + "\n".join(unexpected))
