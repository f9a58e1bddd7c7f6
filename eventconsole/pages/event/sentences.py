"""The sentences that a colleague would say about an event, and about what one group made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eventconsole.templatetags.console import milliseconds

if TYPE_CHECKING:
    from eventconsole.pages.event.story import GroupStory, Story

#: Without a group that took it, an event is late after so long.
LATE_MS = 10_000
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Sentence:
    """`tone` is good, warn, bad or empty; `words` are text, parts of which may be somebody else's."""

    tone: str
    words: str

    @property
    def mark(self) -> str:
        """The shape that stands before it."""
        return {"good": "✓", "warn": "▲", "bad": "✕"}.get(self.tone, "○")


def of_event(story: Story, now_ms: int) -> Sentence:
    """What became of the event, the worst first."""
    by_status: dict[str, list[GroupStory]] = {}
    for group in story.groups:
        by_status.setdefault(group.status, []).append(group)
    if failed := by_status.get("failed"):
        return Sentence("bad", f"{_names(failed)} gave it up{_why(failed, _given_up)}.{_others(story)}")
    if retrying := by_status.get("retrying"):
        waits = f"{_names(retrying)} {'waits' if len(retrying) == 1 else 'wait'} for another attempt"
        return Sentence("warn", f"{waits}{_why(retrying, _failed)}.{_others(story)}")
    if processing := by_status.get("processing"):
        return Sentence("", f"{_names(processing)} {_is(processing)} handling it now.{_others(story)}")
    if pending := by_status.get("pending"):
        return _pending(story, pending, now_ms)
    if story.groups:
        return Sentence("good", _handled(story))
    return _without_groups(story)


def of_group(group: Mapping[str, Any], now_ms: int) -> Sentence:
    """What one group made of it. `group` has the fields of a GroupStory."""
    runs, most = group["runs"], group["most"]
    of_most = f" of {most}" if most else ""
    match group["status"]:
        case "processed" if not runs:
            return Sentence("good", "Done without an attempt: its handler takes no such events.")
        case "processed":
            tries = f" at attempt {len(runs)}{of_most}" if len(runs) > 1 else ""
            return Sentence("good", f"Handled{tries} in {milliseconds(runs[-1].duration_ms)} on {runs[-1].worker}.")
        case "failed":
            return Sentence(
                "bad", f"Given up after {_attempts(len(runs))}." if runs else "Given up without an attempt."
            )
        case "retrying":
            return Sentence("warn", f"Attempt {len(runs)}{of_most} failed; the next one follows")
        case "processing":
            number = f"Attempt {len(runs)}{of_most} runs" if runs else "It runs"
            return Sentence("", f"{number} on {group['worker']}.")
    if not group["has_handler"]:
        return Sentence("", "Nothing is known here of a handler of this group.")
    return Sentence("", "Not taken yet.")


def _pending(story: Story, pending: Sequence[GroupStory], now_ms: int) -> Sentence:
    rest = _others(story)
    age_ms = now_ms - story.published.at_ms if story.published else 0
    if age_ms > LATE_MS:
        since = milliseconds(age_ms)
        return Sentence(
            "warn", f"{_names(pending)} hasn't taken it for {since}: it lags, is paused or has no worker.{rest}"
        )
    return Sentence("", f"Published; {_names(pending)} will take it.{rest}")


def _handled(story: Story) -> str:
    count = len(story.groups)
    whom = f"all {count} consumer groups" if count > 1 else story.groups[0].name
    ends = [run.at_ms + (run.duration_ms or 0) for group in story.groups for run in group.runs[-1:]]
    if story.published and ends:
        return f"Handled by {whom}, {milliseconds(max(0, max(ends) - story.published.at_ms))} after it was published."
    return f"Handled by {whom}."


def _without_groups(story: Story) -> Sentence:
    if story.published:
        return Sentence("", "Published; no consumer group here has a handler for its topic.")
    if story.letters and not story.knows_redis:
        return Sentence("warn", "It became a dead letter; what is below is from there.")
    if story.letters:
        return Sentence("", "Redis doesn't know it any more; what is below is from its dead letters.")
    return Sentence("", "Nothing is known of it.")


def _others(story: Story) -> str:
    done = sum(1 for group in story.groups if group.status == "processed")
    if not done:
        return ""
    return f" {done} other group{'s' * (done > 1)} handled it."


def _names(groups: Sequence[GroupStory]) -> str:
    names = [group.name for group in groups]
    if len(names) == 1:
        return names[0]
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _is(groups: Sequence[GroupStory]) -> str:
    return "is" if len(groups) == 1 else "are"


def _attempts(count: int) -> str:
    return f"{count} attempt{'s' * (count != 1)}"


def _of_most(group: GroupStory) -> str:
    return f" of {group.most}" if group.most else ""


def _why(groups: Sequence[GroupStory], tell: Callable[[GroupStory], str]) -> str:
    """What the first of them met, and that the others met something else, if they did."""
    told = [tell(group) for group in groups]
    if len(set(told)) == 1:
        return told[0]
    return f"; the first of them{told[0]}"


def _given_up(group: GroupStory) -> str:
    after = f" after {_attempts(len(group.runs))}" if group.runs else ""
    return f"{after}{_error_of(group)}"


def _failed(group: GroupStory) -> str:
    return f": attempt {len(group.runs)}{_of_most(group)} failed{_error_of(group)}"


def _error_of(group: GroupStory) -> str:
    failed = [run for run in group.runs if run.error_type or run.error]
    if not failed:
        return ""
    words = f"{failed[-1].error_type}: {failed[-1].error}" if failed[-1].error else failed[-1].error_type
    return f": {words[:160]}{'…' if len(words) > 160 else ''}"
