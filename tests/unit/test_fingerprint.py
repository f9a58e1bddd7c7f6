"""What makes two failures the same."""

from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.deadletterindex.fingerprint import MAX_MESSAGE, kind_of, normalised, own_frame

PYTHON = """Traceback (most recent call last):
  File "/app/bus/consumer/executor.py", line 88, in _call
    return function(*arguments)
  File "/app/shop/handlers/billing.py", line 41, in charge
    gateway.pay(card)
  File "/app/shop/gateway.py", line 7, in pay
    return session.post(url)
  File "/app/.venv/lib/python3.12/site-packages/httpx/_client.py", line 1157, in post
    return self.request(url)
httpx.ConnectError: no route
"""
CHAINED = f"""{PYTHON}
The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/app/shop/handlers/billing.py", line 43, in charge
    raise PaymentError("no gateway") from error
shop.errors.PaymentError: no gateway
"""
NODE = """Error: no route
    at TCPConnectWrap.afterConnect (node:net:1300:16)
    at Gateway.pay (/app/dist/payments/gateway.js:17:11)
    at /app/dist/payments/handler.js:9:3
    at processTicksAndRejections (node:internal/process/task_queues:95:5)
"""
JAVA = """java.lang.IllegalStateException: no route
    at java.net.Socket.connect(Socket.java:612)
    at shop.payments.Gateway.pay(Gateway.java:17)
    at org.apache.kafka.clients.Consumer.poll(Consumer.java:1)
"""


@pytest.mark.parametrize(
    ("message", "normal"),
    [
        ("Order 4711 isn't there", "Order <n> isn't there"),
        ("user 'bob' has no \"wallet\"", "user <text> has no <text>"),
        ("no answer from 10.0.0.1:5432 in 3.5 s", "no answer from <address> in <n> s"),
        ("<Order object at 0x7f33aa00>", "<Order object at <address>>"),
        ("no event 6f1b1c1e-8a52-4b0e-9a3c-0a4e2f1d7b11", "no event <id>"),
        ("no order ord_8f3k2", "no order <n>"),
        ("at 2026-11-24T10:00:00.123Z", "at <n>"),
        ("GET https://api.example/x?y=1 said 502", "GET <url> said <n>"),
        ("mail to joe.doe+x@example.com bounced", "mail to <email> bounced"),
        ("ids 1, 2, 3 are gone", "ids <n> are gone"),
        ("two\n  lines", "two lines"),
        ("it can't be and won't be", "it can't be and won't be"),
        ("", ""),
    ],
)
def test_what_varies_between_failures_of_a_kind_is_masked(message: str, normal: str) -> None:
    assert normalised(message) == normal


@given(st.integers(), st.integers(), st.uuids(), st.uuids())
def test_numbers_and_ids_do_not_tell_failures_apart(one: int, two: int, id_one: uuid.UUID, id_two: uuid.UUID) -> None:
    first = kind_of("ValueError", f"order {one} of {id_one} has {one} items", PYTHON)
    assert kind_of("ValueError", f"order {two} of {id_two} has {two} items", PYTHON) == first


@given(st.text(st.characters(exclude_characters="'\n", exclude_categories=["Cs"]), max_size=100))
def test_quoted_text_does_not_tell_failures_apart(text: str) -> None:
    assert normalised(f"no user '{text}' here").startswith("no user ")
    # Quotes in the text can end the outer ones early; then something of it is left, but nothing breaks.
    if not set(text) & set('"`“”„«»@:/'):
        assert normalised(f"no user '{text}' here") == "no user <text> here"


@given(st.text())
def test_any_message_has_a_short_line_without_digits_that_is_stable(message: str) -> None:
    normal = normalised(message)
    assert len(normal) <= MAX_MESSAGE
    assert "\n" not in normal
    assert not any(letter in "0123456789" for letter in normal)
    normal.encode()


@given(st.text(), st.text(), st.text())
def test_any_failure_has_a_fingerprint_that_is_always_the_same(error_type: str, message: str, stack: str) -> None:
    kind = kind_of(error_type, message, stack)
    assert len(kind.fingerprint) == 32
    assert kind_of(error_type, message, stack) == kind


def test_type_message_and_place_each_tell_failures_apart() -> None:
    kinds = {
        kind_of("ValueError", "no route", PYTHON).fingerprint,
        kind_of("KeyError", "no route", PYTHON).fingerprint,
        kind_of("ValueError", "no road", PYTHON).fingerprint,
        kind_of("ValueError", "no route", PYTHON.replace("in pay", "in refund")).fingerprint,
    }
    assert len(kinds) == 4


def test_another_line_of_the_same_function_is_the_same_place() -> None:
    assert kind_of("E", "", PYTHON.replace("line 7", "line 9")) == kind_of("E", "", PYTHON)


def test_the_same_code_elsewhere_is_the_same_place() -> None:
    assert kind_of("E", "", PYTHON.replace("/app/shop", "/srv/releases/42/app/shop")).frame == "app/shop/gateway.py:pay"
    assert own_frame(PYTHON) == "app/shop/gateway.py:pay"


@pytest.mark.parametrize(
    ("stack", "frame"),
    [
        (PYTHON, "app/shop/gateway.py:pay"),
        (CHAINED, "shop/handlers/billing.py:charge"),
        (NODE, "dist/payments/gateway.js:Gateway.pay"),
        (JAVA, "Gateway.java:shop.payments.Gateway.pay"),
        ('Traceback\n  File "/usr/lib/python3.12/json/decoder.py", line 3, in decode\nValueError', ""),
        ("no stack at all", ""),
        ("", ""),
    ],
)
def test_the_innermost_frame_of_the_projects_own_code_is_found(stack: str, frame: str) -> None:
    assert own_frame(stack) == frame


@pytest.mark.parametrize("piece", ["a", "1", "'", '"', "a1-", "@a.", "1.1.1.", "<n>", "x://", "[:", "0x", " \n"])
def test_no_message_takes_long(piece: str) -> None:
    began = time.perf_counter()
    normalised(piece * 100_000)
    own_frame(f'  File "{piece * 3000}' * 3 + "\n" + f"    at {piece * 2000}(" * 3)
    assert time.perf_counter() - began < 1.0
