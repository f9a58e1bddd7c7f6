"""How groups are steered, as Redis has it: one hash that mirrors what the database says (see `bus.control`).

Workers read it about once a second, and whoever asks the ledger needs the epochs: a group's name in the ledger is
`group` in its epoch 0 and `group@2` in its epoch 2. Every write replaces the hash as a whole, and never by an older
state. It always has a version: a hash that isn't there means that Redis lost it, not that nothing is paused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from bus.errors import LedgerUnavailableError

_NOTHING: Mapping[str, int] = MappingProxyType({})
_FRESH_SECONDS = 1.0
_WRITE = """
local known = tonumber(redis.call('HGET', KEYS[1], 'version') or '-1')
if known > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'version', ARGV[1])
for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
return 1
"""


class Redis(Protocol):
    """What the mirror needs of the ledger's connection."""

    @property
    def client(self) -> Any: ...
    def guard(self, ask: Callable[[], Any]) -> Any: ...


class Pause(NamedTuple):
    """What of one group is paused: all of it, or some topics."""

    whole: bool = False
    topics: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self.whole or bool(self.topics)

    def covers(self, topic: str) -> bool:
        """Whether no event of the topic may be started."""
        return self.whole or topic in self.topics


class Steering(NamedTuple):
    """Everything that steers groups, as of one version. `pauses` are pairs of a group and a topic, or "" for all.

    `resets` are groups whose offsets are being reset: they pause as well.
    """

    version: int = 0
    pauses: frozenset[tuple[str, str]] = frozenset()
    epochs: Mapping[str, int] = _NOTHING
    resets: frozenset[str] = frozenset()

    def pause(self, group: str) -> Pause:
        """What of the group is paused."""
        topics = frozenset(topic for name, topic in self.pauses if name == group)
        return Pause("" in topics or group in self.resets, topics - {""})

    def epoch(self, group: str) -> int:
        """The group's epoch."""
        return self.epochs.get(group, 0)


def ledger_name(group: str, epoch: int) -> str:
    """What the ledger and the inbox call the group in this epoch. No group's own name can hold an `@`."""
    return f"{group}@{epoch}" if epoch else group


class Mirror:
    """Reads and writes the hash. Raises LedgerUnavailableError when Redis can't be reached."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._key = f"{prefix}:control"

    def read(self) -> Steering | None:
        """What Redis says; None when it has lost it, and only the database can tell."""
        stored = self._redis.guard(lambda: self._redis.client.hgetall(self._key))
        return _steering(stored) if stored else None

    def write(self, steering: Steering) -> bool:
        """Replace what Redis says; False when it has a newer version."""
        fields: list[Any] = []
        for group, topic in sorted(steering.pauses):
            fields += (f"pause|{group}|{topic}", 1)
        for group, number in sorted(steering.epochs.items()):
            fields += (f"epoch|{group}", number)
        for group in sorted(steering.resets):
            fields += (f"reset|{group}", 1)
        return bool(self._redis.guard(lambda: self._redis.client.eval(_WRITE, 1, self._key, steering.version, *fields)))


class Epochs:
    """The epochs of groups for whoever asks the ledger, at most a second old.

    An epoch never goes back, so that what this process has seen stands when Redis loses the hash. A process that has
    seen none takes every group for being in its first epoch until the monitor has restored the hash, a second or two
    later: it could only show too old a state, and decides nothing. Workers don't rely on this, see `bus.control.watch`.
    """

    def __init__(self, mirror: Mirror, clock: Callable[[], float] = time.monotonic) -> None:
        self._mirror = mirror
        self._clock = clock
        self._known: dict[str, int] = {}
        self._read_at = float("-inf")

    def name(self, group: str) -> str:
        """The group's name in the ledger. Raises LedgerUnavailableError."""
        if self._clock() - self._read_at >= _FRESH_SECONDS:
            found = self._mirror.read()
            self._read_at = self._clock()
            if found is not None:
                for each, number in found.epochs.items():
                    self._known[each] = max(number, self._known.get(each, 0))
        return ledger_name(group, self._known.get(group, 0))


def _steering(stored: Mapping[bytes, bytes]) -> Steering:
    pauses: set[tuple[str, str]] = set()
    epochs: dict[str, int] = {}
    resets: set[str] = set()
    try:
        for field, value in stored.items():
            kind, _, rest = field.decode().partition("|")
            if kind == "pause":
                group, _, topic = rest.partition("|")
                pauses.add((group, topic))
            elif kind == "epoch":
                epochs[rest] = int(value)
            elif kind == "reset":
                resets.add(rest)
        return Steering(int(stored[b"version"]), frozenset(pauses), epochs, frozenset(resets))
    except (KeyError, ValueError) as error:
        raise LedgerUnavailableError(
            f"Redis holds something else where it keeps how groups are steered: {error}"
        ) from error
