"""What the bus keeps in the database.

Kafka is the truth for events: the dead letter index can be lost and made anew. Notes, discards, replays and the audit
are people's, and are only here.
"""

from __future__ import annotations

from bus.models.alerts import Alert
from bus.models.audit import AuditEntry, AuditSubject, Lease
from bus.models.control import GroupEpoch, GroupPause, SteeringVersion
from bus.models.deadletters import (
    DeadLetter,
    DeadLetterPayload,
    DeadLetterPosition,
    ErrorGroup,
    ErrorGroupPlace,
    IndexPosition,
    LetterStatus,
)
from bus.models.inbox import InboxEntry
from bus.models.lookups import AnyOf
from bus.models.replays import Replay, ReplayEdit, ReplayItem
from bus.models.samples import ClusterState, GroupState, RecordingPosition, Sample, TopicState

__all__ = [
    "Alert",
    "AnyOf",
    "AuditEntry",
    "AuditSubject",
    "ClusterState",
    "DeadLetter",
    "DeadLetterPayload",
    "DeadLetterPosition",
    "ErrorGroup",
    "ErrorGroupPlace",
    "GroupEpoch",
    "GroupPause",
    "GroupState",
    "InboxEntry",
    "IndexPosition",
    "Lease",
    "LetterStatus",
    "RecordingPosition",
    "Replay",
    "ReplayEdit",
    "ReplayItem",
    "Sample",
    "SteeringVersion",
    "TopicState",
]
