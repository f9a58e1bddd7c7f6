"""Live pages: from a change of an event to the frame in a browser, with 50 sockets and 500 transitions a second.

python -m tests.benchmark.live [--seconds 12] [--sockets 50] [--rate 500]

The web server is a process of its own; transitions are written as four workers do, twice a second. Each socket is in
the tail, filtered for a user of its own, so that none of its rows is sampled away, and in a room like the overview.
One socket more looks at everything, and one doesn't read.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import websockets
from websockets.typing import Origin

from bus import conf
from bus.activity import ActivityLog, Transition
from bus.ledger import Ledger
from tests.api.server import Server

WORKERS = 4
WARM_UP_SECONDS = 2.0


@dataclass
class Measured:
    """Milliseconds from a change until a page had it, and what else was seen."""

    rows: list[float] = field(default_factory=list)
    room: list[float] = field(default_factory=list)
    frames: int = 0
    skipped: int = 0
    resyncs: int = 0
    is_on: bool = False


class Socket:
    """A page's end: acknowledges each second, as pages do."""

    def __init__(self, url: str, cookie: str, filter: str, measured: Measured) -> None:
        self._url, self._cookie, self._filter, self._measured = url, cookie, filter, measured
        self._rendered_at = 0

    def connect(self, **options: Any) -> Any:
        origin = Origin(self._url.replace("ws://", "http://").removesuffix("/ws/live"))
        headers = {"Cookie": f"sessionid={self._cookie}"}
        return websockets.connect(
            self._url, origin=origin, additional_headers=headers, compression=None, proxy=None, **options
        )

    async def join(self, line: Any) -> None:
        for number, (room, params) in enumerate((("events", {"filter": self._filter}), ("benchmark", {}))):
            await line.send(
                orjson.dumps({"v": 1, "type": "join", "id": number, "room": room, "params": params}).decode()
            )

    async def read(self) -> None:
        """Read until cancelled."""
        async with self.connect() as line:
            await self.join(line)
            acknowledged = time.monotonic()
            async for text in line:
                now = time.time() * 1000
                frame = orjson.loads(text)
                if self._measured.is_on:
                    self._note(frame, now)
                if time.monotonic() - acknowledged > 1:
                    acknowledged = time.monotonic()
                    await line.send(orjson.dumps({"v": 1, "type": "ack", "seq": frame["seq"]}).decode())

    def _note(self, frame: dict[str, Any], now: float) -> None:
        self._measured.frames += 1
        match frame["type"]:
            case "rows":
                self._measured.rows += [now - row["at"] for row in frame["rows"] if not frame["reset"]]
                self._measured.skipped += frame["skipped"] if self._filter else 0
            case "data":
                # A change after the last rendering and before this one is seen now: some of them stand for all.
                at, before = frame["data"]["at"], self._rendered_at
                self._measured.room += [now - moment for moment in range(before, at, 10)] if before else []
                self._rendered_at = at
            case "resync":
                self._measured.resyncs += 1


async def write(logs: list[ActivityLog], rate: float, users: int) -> None:
    """Transitions at that rate until cancelled, one in fifty of them a failure."""
    began = time.monotonic()
    number = 0
    while True:
        while number < (time.monotonic() - began) * rate:
            outcome = "failed" if number % 50 == 7 else "processed"
            log = logs[number % len(logs)]
            log.count("order.created", "email-service-group", outcome)
            log.keep(
                Transition(
                    int(time.time() * 1000),
                    outcome,
                    f"event-{number}",
                    "order.created",
                    "email-service-group",
                    number % 6,
                    number,
                    f"order-{number % 1000}",
                    "normal",
                    "shop",
                    f"u-{number % users}",
                    f"request-{number}",
                    1,
                    12,
                    "SmtpError: refused" if outcome == "failed" else None,
                    None,
                    log.by,
                )
            )
            number += 1
        await asyncio.sleep(0.005)


async def run(url: str, cookie: str, logs: list[ActivityLog], options: argparse.Namespace) -> tuple[Measured, str]:
    """Everything at once; returns what was measured, and what became of the socket that doesn't read."""
    measured, ignored = Measured(), Measured()
    filtered = [Socket(url, cookie, f"user:u-{number}", measured) for number in range(options.sockets)]
    everything = Socket(url, cookie, "", ignored)
    tasks = [asyncio.create_task(socket.read()) for socket in (*filtered, everything)]
    tasks.append(asyncio.create_task(write(logs, options.rate, options.sockets)))
    async with everything.connect(max_queue=1) as silent:
        await everything.join(silent)
        await asyncio.sleep(WARM_UP_SECONDS)
        measured.is_on = True
        await asyncio.sleep(options.seconds)
        measured.is_on = False
        fate = await catch_up(silent)
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return measured, fate


async def catch_up(silent: Any) -> str:
    """Read what the silent socket was sent after all: a bounded number of frames, and then everything anew."""
    count = 0
    while True:
        try:
            frame = orjson.loads(await asyncio.wait_for(silent.recv(), 0.5))
        except TimeoutError:
            break
        count += 1
    await silent.send(orjson.dumps({"v": 1, "type": "ack", "seq": frame["seq"]}).decode())
    after = [orjson.loads(await asyncio.wait_for(silent.recv(), 5))["type"] for _ in range(3)]
    return f"was sent {count} frames, and after it read them: {', '.join(after)}"


def cpu_seconds(pid: int) -> float:
    """What a process has used of its cores."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int) -> int:
    """The memory that a process has taken."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1_000_000


def log_in(server: Server) -> str:
    """The session of somebody who may see everything."""
    url = f"http://127.0.0.1:{server.port}"
    with httpx.Client(base_url=url, trust_env=False) as client:
        client.get("/login")
        client.post(
            "/login",
            data={"username": "ann", "password": "secret", "csrfmiddlewaretoken": client.cookies["csrftoken"]},
        )
        return str(client.cookies["sessionid"])


def share(values: list[float], part: float) -> float:
    """The value that a part of them stays below; none is nothing to be proud of."""
    if not values:
        return float("inf")
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def main() -> None:
    """Print the percentiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--sockets", type=int, default=50)
    parser.add_argument("--rate", type=float, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), "tests.benchmark.live_settings", DJANGO_SUPERUSER_PASSWORD="secret")
        try:
            server.manage("createsuperuser", "--noinput", "--username", "ann", "--email", "ann@shop.example")
            settings = conf.BusSettings(redis_url_given=server.redis.url)
            logs = [ActivityLog(Ledger(settings=settings), f"worker-{number}") for number in range(WORKERS)]
            began, cpu = time.monotonic(), cpu_seconds(server.process.pid)
            url, cookie = f"ws://127.0.0.1:{server.port}/ws/live", log_in(server)
            measured, fate = asyncio.run(run(url, cookie, logs, options))
            cpu = (cpu_seconds(server.process.pid) - cpu) / (time.monotonic() - began)
            memory = megabytes(server.process.pid)
        finally:
            server.close()
    print(
        f"{options.sockets} sockets, {options.rate:g} transitions/s, {measured.frames / options.seconds:,.0f} frames/s"
    )
    for name, values in (("tail", measured.rows), ("room of 0.5 s", measured.room)):
        p50, p95, p99 = (share(values, part) for part in (0.5, 0.95, 0.99))
        print(f"  {name:14} p50 {p50:5.0f} ms   p95 {p95:5.0f} ms   p99 {p99:5.0f} ms   ({len(values):,} seen)")
    print(f"  rows left out {measured.skipped}, resyncs {measured.resyncs}; web: {cpu:.0%} of a core, {memory} MB")
    print(f"  a socket that didn't read {fate}")


if __name__ == "__main__":
    main()
