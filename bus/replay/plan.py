"""Plans: which dead letters a replay is for, fixed once and for all, and what to expect of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Count, F, QuerySet, Window
from django.db.models.functions import RowNumber
from pydantic import ValidationError

from bus import catalog, envelope
from bus.deadletterindex.changes import Act
from bus.deadletterindex.pages import LetterFilter
from bus.deadletterindex.rows import unpack_headers
from bus.deadletters import read as read_letter
from bus.errors import EnvelopeError, InvalidEventError
from bus.models import DeadLetter, DeadLetterPayload, LetterStatus, Replay
from bus.replay.operations import MAX_GENERATION
from bus.replay.refusals import UnknownThingError

MAX_ITEMS: Final = 1_000_000
MAX_IDS: Final = 10_000
SAMPLE: Final = 20
NO_WORKER: Final = "no-worker"
CHECKED: Final = 500
"""How many are held against today's schema; a payload each is too much to read for all."""
#: Records of one key are in one partition, in the order in which they failed.
ORDER: Final = ("dlq_topic", "dlq_partition", "dlq_offset", "id")


@dataclass(frozen=True, slots=True)
class Warn:
    """What somebody should know before it runs: `kind` for programs, `text` for people, `count` dead letters."""

    kind: str
    count: int
    text: str
    detail: Any = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned replay, and what to expect."""

    replay: Replay
    sample: Sequence[DeadLetter]
    warnings: Sequence[Warn]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for: a filter, or ids; and what was confirmed."""

    filter: LetterFilter
    ids: tuple[int, ...] | None = None
    force: bool = False
    all_groups: bool = False
    reason: str = ""

    def letters(self) -> QuerySet[DeadLetter]:
        """Everything that fits, open or not."""
        found = self.filter.letters()
        return found if self.ids is None else found.filter(pk__any_of=self.ids)

    def document(self) -> dict[str, Any]:
        """As it is written down."""
        return {"ids": list(self.ids)} if self.ids is not None else self.filter.document()


def plan(choice: Choice, who: str, now: datetime, live_groups: Collection[str] | None) -> Plan:
    """Fix the set of a replay, in the order in which it will be sent, and look at it. Nothing is sent.

    `live_groups` are those with a live worker, None when nobody can say. Only open dead letters are taken; those that
    need a confirmation which wasn't given are left out, and the warnings say how many. Raises UnknownThingError for ids
    that don't exist, and InvalidEventError when nothing, or more than a million, is left.
    """
    if choice.ids is not None:
        _check_ids(choice)
    letters, left_out = _chosen(choice)
    _check_total(choice, letters.count(), left_out)
    with transaction.atomic():
        replay = _make(choice, letters, who, now)
    sample = list(_of(replay).order_by("replay_items__sequence")[:SAMPLE])
    warnings = [*left_out, *warnings_of(replay, live_groups)]
    # Asking for them took a look at the whole set, which stays as it is; who is alive doesn't.
    replay.warnings = [asdict(each) for each in warnings if each.kind != NO_WORKER]
    replay.save(update_fields=["warnings"])
    return Plan(replay, sample, warnings)


def told_of(replay: Replay, live_groups: Collection[str] | None) -> list[Warn]:
    """What was said of a replay when it was planned, and who is alive now. Costs nothing, however large it is."""
    return [*(Warn(**each) for each in replay.warnings), *_without_worker(replay, live_groups)]


def warnings_of(replay: Replay, live_groups: Collection[str] | None) -> list[Warn]:
    """What to know of a planned replay before it runs."""
    found = [_replayed(times, count) for times, count in _times(replay)]
    for group, count in _by_group(replay):
        if not group:
            found.append(Warn("all-groups", count, f"{count} name no group: all groups of their topic will see them"))
        elif group not in catalog.groups():
            text = f"{group} isn't in the catalog: it may have no {catalog.replay_topic(group)} and nobody to read it"
            found.append(Warn("unknown-group", count, text, group))
    found += _without_worker(replay, live_groups)
    checked, refused = _refused(replay)
    if refused:
        topics = sorted({topic for topic, _ in refused})
        example = refused[0][1]
        text = f"{len(refused)} of {checked} looked at don't fit today's schema: {example}"
        found.append(Warn("schema", len(refused), text, topics))
    return found


def _without_worker(replay: Replay, live_groups: Collection[str] | None) -> list[Warn]:
    if live_groups is None:
        return []
    return [
        Warn(NO_WORKER, count, f"{group} has no live worker: they wait until one starts, three days at most", group)
        for group, count in _by_group(replay)
        if group in catalog.groups() and group not in live_groups
    ]


def _by_group(replay: Replay) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for _, group, count in replay.places:
        counts[group] = counts.get(group, 0) + count
    return sorted(counts.items())


def _check_total(choice: Choice, total: int, left_out: Sequence[Warn]) -> None:
    if not total:
        problem = "; ".join(["no open dead letter fits", *(each.text for each in left_out)])
        raise InvalidEventError("filter" if choice.ids is None else "ids", problem)
    if total > MAX_ITEMS:
        raise InvalidEventError("filter", f"{total} dead letters fit, allowed are {MAX_ITEMS} in one replay: narrow it")


def _make(choice: Choice, letters: QuerySet[DeadLetter], who: str, now: datetime) -> Replay:
    replay = Replay.objects.create(
        created_at=now,
        created_by=who[:200],
        changed_at=now,
        changed_by=who[:200],
        reason=choice.reason,
        filter=choice.document(),
        all_groups=choice.all_groups,
    )
    replay.total = _fix(replay, letters)
    replay.places = [
        [row["topic"], row["group"], row["count"]]
        for row in _of(replay).values("topic", "group").annotate(count=Count("pk")).order_by("topic", "group")
    ]
    replay.save(update_fields=["total", "places"])
    detail = {**choice.document(), "force": choice.force, "allGroups": choice.all_groups}
    act = Act(who, "replay.plan", choice.reason, detail)
    act.done(now, "replay", str(replay.pk), replay.total, act.error_groups())
    return replay


def _check_ids(choice: Choice) -> None:
    assert choice.ids is not None
    if not 1 <= len(choice.ids) <= MAX_IDS:
        raise InvalidEventError("ids", f"{len(choice.ids)} given, allowed are 1 to {MAX_IDS}; use a filter for more")
    allowed = DeadLetter.objects.all()
    if choice.filter.topics is not None:
        allowed = allowed.filter(topic__in=choice.filter.topics)
    possible = [pk for pk in choice.ids if 0 < pk < 2**63]  # others are no ids to any database
    known = set(allowed.filter(pk__any_of=possible).values_list("pk", flat=True))
    if missing := [pk for pk in choice.ids if pk not in known]:
        shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
        raise UnknownThingError(f"there is no dead letter {shown}")


def _chosen(choice: Choice) -> tuple[QuerySet[DeadLetter], list[Warn]]:
    letters = choice.letters()
    left_out: list[Warn] = []
    if choice.ids is not None:
        other = DeadLetter.objects.filter(pk__any_of=choice.ids).exclude(status=LetterStatus.OPEN).count()
        if other:
            left_out.append(Warn("left-out", other, f"{other} {_are(other)} left out: not open any more", "status"))
    letters = letters.filter(status=LetterStatus.OPEN)
    left_out += _unconfirmed(letters, choice.force, choice.all_groups)
    if not choice.force:
        letters = letters.filter(generation__lt=MAX_GENERATION)
    if not choice.all_groups:
        letters = letters.exclude(group="")
    return letters, left_out


def _unconfirmed(letters: QuerySet[DeadLetter], force: bool, all_groups: bool) -> list[Warn]:
    """Which of open dead letters need a confirmation that wasn't given."""
    found = []
    if not force and (count := letters.filter(generation__gte=MAX_GENERATION).count()):
        text = (
            f"{count} {_are(count)} left out: replayed {MAX_GENERATION} times or more, they are taken with force only"
        )
        found.append(Warn("left-out", count, text, "force"))
    if not force:
        letters = letters.filter(generation__lt=MAX_GENERATION)
    if not all_groups and (count := letters.filter(group="").count()):
        text = f"{count} {_are(count)} left out: no group is named, so all of the topic would see; allGroups takes them"
        found.append(Warn("left-out", count, text, "allGroups"))
    return found


def _fix(replay: Replay, letters: QuerySet[DeadLetter]) -> int:
    """Insert the items by one statement: a hundred thousand of them don't pass through here."""
    number = Window(RowNumber(), order_by=[F(name).asc() for name in ORDER])
    numbered = letters.annotate(number=number).order_by().values_list("pk", "number")
    sql, params = numbered.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bus_replayitem (replay_id, state, note, dead_letter_id, sequence) "
            f"SELECT %s, %s, '', chosen.* FROM ({sql}) AS chosen",
            [replay.pk, "waiting", *params],
        )
        return int(cursor.rowcount)


def _of(replay: Replay) -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(replay_items__replay=replay)


def _times(replay: Replay) -> Iterable[tuple[int, int]]:
    again = _of(replay).filter(replayed_times__gt=0).values("replayed_times").annotate(count=Count("pk"))
    return [(row["replayed_times"], row["count"]) for row in again.order_by("replayed_times")]


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _replayed(times: int, count: int) -> Warn:
    often = "once" if times == 1 else f"{times} times"
    were = "was" if count == 1 else "were"
    return Warn("already-replayed", count, f"{count} {were} already replayed {often}, and failed again", times)


def _refused(replay: Replay) -> tuple[int, list[tuple[str, str]]]:
    """How many were held against the model of their topic, and which fail: topic and why. Spread over the replay."""
    with_model = [name for name, topic in catalog.topics().items() if topic.model is not None]
    step = max(1, replay.total // CHECKED)
    spread = list(range(1, replay.total + 1, step))[:CHECKED]
    payloads = DeadLetterPayload.objects.filter(
        dead_letter__replay_items__replay=replay,
        dead_letter__replay_items__sequence__in=spread,
        dead_letter__topic__in=with_model,
    ).select_related("dead_letter")
    checked, refused = 0, []
    for payload in payloads:
        letter = payload.dead_letter
        problem = _problem(letter, payload)
        checked += 1
        if problem:
            refused.append((letter.topic, problem))
    return checked, refused


def _problem(letter: DeadLetter, payload: DeadLetterPayload) -> str:
    value = None if payload.value is None else bytes(payload.value)
    read = read_letter(value, None, unpack_headers(bytes(payload.headers)), letter.dlq_topic)
    if read.at_origin:
        return ""
    topic = catalog.topic(letter.topic)
    assert topic is not None
    assert topic.model is not None
    try:
        topic.model.model_validate(envelope.decode(read.value).data)
    except EnvelopeError as error:
        return str(error)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in ('data', *detail['loc']))}: {detail['msg']}"
    return ""
