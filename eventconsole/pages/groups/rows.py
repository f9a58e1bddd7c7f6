"""A consumer group as lists show it: what it says, how urgent it is, and where its page is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from bus import catalog
from bus.models import GroupState
from eventconsole import addresses
from eventconsole.pages.pauses import Pause

BEHIND_SECONDS: Final = 30.0
"""A group is behind when its oldest unsettled event is older."""
FAR_BEHIND_SECONDS: Final = 300.0
OLD_SECONDS: Final = 30.0
"""The monitor looks at our own groups every few seconds: what is older tells nothing of now."""
FOREIGN_OLD_SECONDS: Final = 900.0
"""A round over very many foreign groups takes minutes."""


def tone_of(seconds: float | None) -> str:
    """The colour of a time lag."""
    if seconds is None or seconds < BEHIND_SECONDS:
        return ""
    return "red" if seconds >= FAR_BEHIND_SECONDS else "amber"


@dataclass(frozen=True, slots=True)
class Row:
    """One group of a list."""

    group: GroupState
    is_consumed: bool
    pauses: tuple[Pause, ...] = ()
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def unseen_seconds(self) -> float:
        """For how long nobody has looked at it; 0 while that is as it should be."""
        age = (self.now - self.group.sampled_at).total_seconds()
        return age if age > (OLD_SECONDS if self.group.is_ours else FOREIGN_OLD_SECONDS) else 0.0

    @property
    def url(self) -> str:
        """Its page."""
        return addresses.group_url(self.group.name)

    @property
    def topics(self) -> list[str]:
        """The topics that it reads, without the one of its replays."""
        return [topic for topic in self.group.topics if topic != catalog.replay_topic(self.group.name)]

    @property
    def tone(self) -> str:
        """The colour of its time lag."""
        return tone_of(self.group.time_lag_seconds)

    @property
    def state(self) -> tuple[str, str]:
        """A mark and a word: what is to be known of it first."""
        group = self.group
        if any(not pause.topic for pause in self.pauses):
            return "paused", "paused"
        if self.unseen_seconds:
            return "warn", "not looked at"
        if group.is_ours and self.is_consumed and not group.workers:
            return ("failed" if group.lag else "warn"), "no worker"
        if self.pauses:
            return "paused", "partly paused"
        if self.tone:
            return "late" if self.tone == "amber" else "failed", "behind"
        if group.state in ("", "stable"):
            return ("good", "fine") if group.members or group.workers or not group.lag else ("pending", "unknown")
        return ("pending" if group.state in ("empty", "dead") else "processing"), group.state


def rows_of(groups: Iterable[GroupState], consumed: Iterable[str], pauses: Iterable[Pause]) -> list[Row]:
    """These groups with what is paused of them; `consumed` are those that have handlers here."""
    names, now = set(consumed), datetime.now(UTC)
    by_group: dict[str, list[Pause]] = {}
    for pause in pauses:
        by_group.setdefault(pause.group, []).append(pause)
    return [Row(group, group.name in names, tuple(by_group.get(group.name, ())), now) for group in groups]
