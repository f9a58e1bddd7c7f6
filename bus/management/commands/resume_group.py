"""`manage.py resume_group`: let a group, or one of its topics, go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from bus.control import pauses
from bus.management.commands import pause_group


class Command(pause_group.Command):
    help = "Resume a consumer group, or one topic of it. What else of it is paused stays so."

    change: ClassVar[Callable[..., pauses.Told]] = staticmethod(pauses.resume)
    done = "resumed"
