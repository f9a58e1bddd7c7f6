"""Everything the bus raises on purpose.

    BusError
    ├── ConfigurationError        a setting, a handler or a command line that can't work; raised at start
    ├── InvalidEventError         what was given to publish is refused; names the field
    │   ├── UnknownTopicError
    │   └── EventTooLargeError
    ├── EnvelopeError             a record that can't be read as an event
    ├── EventIdConflictError      the eventId was published on another topic
    ├── EpochChangedError         the group was told to handle events again while this worker ran; start it anew
    ├── PublishInFlightError      the same eventId is being published by somebody else just now
    ├── PublishError              the event isn't known to be in Kafka; carries the eventId to send again with
    │   ├── PublishUnknownError   no answer in time: it may have arrived
    │   └── PublishRefusedError   the broker or the client said no: it has not arrived
    └── UnavailableError          something the bus leans on can't be reached; never counts as a handler's failure
        ├── BrokerUnavailableError
        ├── LedgerUnavailableError
        └── DatabaseUnavailableError

Three signals a handler may raise are instructions, not errors of the bus: `PermanentError`, `RetryLater`, `SkipEvent`.
"""

from __future__ import annotations


class BusError(Exception):
    """Root of the tree; never raised itself."""


class ConfigurationError(BusError):
    """A setting, a handler or a command line that can't work. The message says what is allowed."""


class InvalidEventError(BusError):
    """What was given to publish is refused; nothing was published.

    `field` is the JSON name of what is wrong (`topic`, `data.total`, …), `problem` says what and what is allowed.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class UnknownTopicError(InvalidEventError):
    """The topic isn't in the catalog."""


class EventTooLargeError(InvalidEventError):
    """The encoded event is larger than BUS_MAX_EVENT_BYTES."""


class EnvelopeError(BusError):
    """A record that can't be read as an event. The message says where it departs from the envelope."""


class EventIdConflictError(BusError):
    """The eventId was published before, on another topic."""

    def __init__(self, event_id: str, topic: str, other_topic: str) -> None:
        super().__init__(
            f"eventId {event_id} was already published on {other_topic}; an eventId belongs to one event, so use a new "
            f"one to publish on {topic}"
        )
        self.event_id = event_id
        self.topic = topic
        self.other_topic = other_topic


class EpochChangedError(BusError):
    """The group is in another epoch by now: what this worker has in hand belongs to the old one. Start it anew."""

    def __init__(self, group: str, epoch: int, now: int) -> None:
        super().__init__(f"{group} is in epoch {now} and this worker began in {epoch}; it stops, start it anew")


class PublishInFlightError(BusError):
    """The same eventId is being published by another caller; ask for its status, or send again in a few seconds."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"eventId {event_id} is being published by another caller; send again in a few seconds")
        self.event_id = event_id


class PublishError(BusError):
    """The event isn't known to be in Kafka. Send it again with `event_id`: consumers drop a second copy."""

    def __init__(self, event_id: str, reason: str) -> None:
        super().__init__(reason)
        self.event_id = event_id
        self.reason = reason


class PublishUnknownError(PublishError):
    """No acknowledgement in time: the event may or may not have arrived. Send it again with the same eventId."""


class PublishRefusedError(PublishError):
    """The broker or the client refused the event: it has not arrived."""


class UnavailableError(BusError):
    """Something the bus leans on can't be reached. A handler that fails because of it loses no attempt."""


class BrokerUnavailableError(UnavailableError):
    """Kafka can't be reached."""


class LedgerUnavailableError(UnavailableError):
    """Redis can't be reached, or doesn't do what is asked."""


class DatabaseUnavailableError(UnavailableError):
    """The database can't be reached."""


class PermanentError(Exception):
    """Raised by a handler: trying again can't help. The event becomes a dead letter at once."""


class SkipEvent(Exception):  # noqa: N818 -- an instruction, not an error
    """Raised by a handler: this event is none of its business. It counts as processed."""


class RetryLater(Exception):  # noqa: N818 -- an instruction, not an error
    """Raised by a handler: run me again after `seconds`. It counts as an attempt."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"RetryLater takes seconds ≥ 0, not {seconds!r}")
        super().__init__(reason or f"the handler asked to be run again in {seconds:g} s")
        self.seconds = float(seconds)
