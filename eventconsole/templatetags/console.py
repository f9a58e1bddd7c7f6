"""Marks, ids, times, numbers and small drawings, the same on every page.

All of them escape what they are given: text of events, errors and topics is somebody else's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from eventconsole.models import Scope

register = template.Library()

_SPARK_WIDTH, _SPARK_HEIGHT = 100, 24
# The only markup that isn't made by format_html: it holds nobody's text.
_NONE = mark_safe('<span class="muted">none</span>')
_NEVER = mark_safe('<span class="muted">never</span>')
_NOTHING = mark_safe("")


@register.simple_tag
def icon(name: str) -> SafeString:
    """A 16 px icon of `static/icons.svg`; decoration, so whoever uses it gives the words."""
    return format_html('<svg aria-hidden="true" width="16" height="16"><use href="{}#{}"/></svg>', _icons(), name)


@register.simple_tag
def status(name: Any, words: str = "") -> SafeString:
    """A state as shape, word and colour; `words` in place of its name."""
    shown = str(name).lower()
    return format_html('<span class="status {}">{}</span>', shown.replace(" ", "-"), words or shown)


@register.simple_tag
def ident(value: Any, keep: int = 8) -> SafeString:
    """An id to be copied: shortened in the middle, whole on hover and on copy."""
    text = "" if value is None else str(value)
    if not text:
        return _NONE
    shown = text if len(text) <= 2 * keep + 1 else f"{text[:keep]}…{text[-4:]}"
    return format_html(
        '<span class="ident"><span class="foreign" title="{}">{}</span><button class="copy" type="button" '
        'data-copy="{}" aria-label="Copy {}">{}</button></span>',
        text,
        shown,
        text,
        text[:80],
        icon("copy"),
    )


@register.simple_tag
def ago(at: Any) -> SafeString:
    """A point in time, relative, exact on hover. Takes a datetime, ISO text, or ms since 1970.

    The browser rewrites it in its own zone, and keeps it up to date.
    """
    moment = _moment(at)
    if moment is None:
        return _NEVER
    iso = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return format_html('<time datetime="{}" data-ago title="{}">{}</time>', iso, iso, iso[:19].replace("T", " "))


@register.simple_tag
def clock(at: Any) -> SafeString:
    """A point in time as hours, minutes and seconds, by the browser in its own zone."""
    moment = _moment(at)
    if moment is None:
        return format_html('<span class="muted">never</span>')
    iso = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return format_html('<time datetime="{}" data-clock title="{}">{} UTC</time>', iso, iso, iso[11:19])


@register.simple_tag
def until(at: Any) -> SafeString:
    """The time left until a moment; the browser counts it down."""
    moment = _moment(at)
    if moment is None:
        return _NOTHING
    iso = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return format_html('<time datetime="{}" data-until title="{}">{}</time>', iso, iso, iso[11:19])


@register.filter
def number(value: Any) -> str:
    """1204 as 1,204; 0.256 as 0.26; nothing as a dash."""
    if value is None or value == "":
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{int(value):,}"


@register.filter
def rate(value: Any) -> str:
    """Events per second: 412, 3.4, 0.07; nothing as a dash."""
    if value is None or value == "":
        return "–"
    each = float(value)
    return f"{each:,.0f}" if each >= 100 or each == int(each) else f"{each:.1f}" if each >= 0.95 else f"{each:.2g}"


@register.simple_tag
def trend(name: Any) -> SafeString:
    """Whether a lag grows, as an arrow and, for who can't see it, a word."""
    arrow = {"growing": "↗", "shrinking": "↘", "steady": "→"}.get(str(name), "")
    tone = {"growing": "amber", "shrinking": "green"}.get(str(name), "muted")
    return format_html(
        '<span class="arrow {}" title="{}" role="img" aria-label="{}">{}</span>', tone, name, name, arrow
    )


@register.filter
def seconds(value: Any) -> str:
    """A duration given in seconds: 340 ms, 1.2 s, 4 min 12 s, 3 h 5 min, 2 days."""
    if value is None or value == "":
        return "–"
    left = float(value)
    if math.isinf(left) or math.isnan(left):
        return "–"
    if left == 0:
        return "0 s"
    if left < 1:
        return f"{left * 1000:.0f} ms"
    if left < 60:
        return f"{left:.1f} s" if left < 10 else f"{left:.0f} s"
    whole = int(left)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole < 172_800:
        minutes = whole % 3600 // 60
        return f"{whole // 3600} h {minutes} min" if minutes else f"{whole // 3600} h"
    return f"{whole // 86_400} days"


@register.filter
def milliseconds(value: Any) -> str:
    """A duration given in milliseconds, as `seconds` writes it."""
    return "–" if value is None or value == "" else seconds(float(value) / 1000)


@register.filter
def size(value: Any) -> str:
    """Bytes: 312 B, 4.2 kB, 1.0 MB."""
    if value is None or value == "":
        return "–"
    left = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if left < 1000 or unit == "GB":
            return f"{left:.0f} B" if unit == "B" else f"{left:.1f} {unit}"
        left /= 1000
    return ""


@register.filter
def as_json(value: Any) -> str:
    """For a data attribute; escaped by the template like any text."""
    return json.dumps(value, separators=(",", ":"), default=str)


@register.filter
def counted(count: Any, words: str) -> str:
    """`{{ 1|counted:"event,events" }}` is "1 event"."""
    one, _, many = words.partition(",")
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


@register.simple_tag
def spark(values: Iterable[float | None] | None, tone: str = "", label: str = "", inline: bool = False) -> SafeString:
    """A line of recent values from zero up; a gap where there is none. `label` says it to who can't see it."""
    points: Sequence[float | None] = list(values or [])
    known = [point for point in points if point is not None]
    classes = " ".join(part for part in ("spark", "inline" if inline else "", tone) if part)
    if len(known) < 2:
        return format_html(
            '<svg class="{}" viewBox="0 0 100 24" role="img" aria-label="{}"></svg>', classes, label or "no values yet"
        )
    return format_html(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<path class="area" d="{}"/><path d="{}"/></svg>',
        classes,
        _SPARK_WIDTH,
        _SPARK_HEIGHT,
        label or f"from {number(known[0])} to {number(known[-1])}, at most {number(max(known))}",
        _path(points, closed=True),
        _path(points, closed=False),
    )


def _path(points: Sequence[float | None], *, closed: bool) -> str:
    top = max([point for point in points if point is not None] + [0]) or 1
    step = _SPARK_WIDTH / (len(points) - 1)
    parts: list[str] = []
    run: list[tuple[float, float]] = []
    for index, point in enumerate([*points, None]):
        if point is not None:
            run.append((index * step, _SPARK_HEIGHT - 2 - (_SPARK_HEIGHT - 4) * point / top))
        elif run:
            line = "L".join(f"{x:.1f} {y:.1f}" for x, y in run)
            ends = f"M{run[0][0]:.1f} {_SPARK_HEIGHT}L{line}L{run[-1][0]:.1f} {_SPARK_HEIGHT}Z"
            parts.append(ends if closed else f"M{line}")
            run = []
    return "".join(parts)


@register.simple_tag(takes_context=True)
def may(context: template.Context, scope: str) -> bool:
    """Whether the person who looks may do what needs that scope."""
    user = context["user"]
    return bool(user.has_perm(f"eventconsole.{Scope(scope)}"))


@register.simple_tag(takes_context=True)
def unless_allowed(context: template.Context, scope: str) -> SafeString:
    """Attributes of a button that needs a scope: disabled, and saying which permission is missing."""
    if may(context, scope):
        return _NOTHING
    return format_html('disabled aria-disabled="true" title="You lack the permission “{}”"', Scope(scope))


def _icons() -> str:
    return static("icons.svg")


def _moment(at: Any) -> datetime | None:
    if at is None or at == "":
        return None
    if isinstance(at, datetime):
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    if isinstance(at, int | float):
        return datetime.fromtimestamp(at / 1000, UTC)
    return datetime.fromisoformat(str(at).replace("Z", "+00:00")).astimezone(UTC)
