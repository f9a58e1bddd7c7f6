"""`any_of` finds what `in` finds."""

from __future__ import annotations

import pytest

from bus.models import DeadLetter, DeadLetterPayload
from tests.indexed import index, record

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("wanted", [[], [0], [1, 3, 3], [2, 9], list(range(5)), list(range(5000))])
def test_it_finds_those_with_one_of_the_values(wanted: list[int]) -> None:
    index(record(number) for number in range(5))
    names = [f"event-{number}" for number in wanted]
    present = {f"event-{number}" for number in wanted if number < 5}
    letters = DeadLetter.objects.filter(event_id__any_of=names)
    assert set(letters.values_list("event_id", flat=True)) == present
    ids = list(letters.values_list("pk", flat=True))
    assert set(DeadLetterPayload.objects.filter(pk__any_of=ids).values_list("pk", flat=True)) == set(ids)
    assert DeadLetter.objects.exclude(pk__any_of=ids).count() == 5 - len(present)
    assert DeadLetter.objects.filter(pk__any_of=[*ids, 2**62]).update(kept=True) == len(present)


def test_a_value_may_hold_whatever_a_text_can() -> None:
    index([record(0)])
    odd = ["a,b", '{"x"}', "'; --", "\\", "%s", "ü{}", ""]
    for text in odd:
        DeadLetter.objects.update(correlation_id=text)
        assert DeadLetter.objects.filter(correlation_id__any_of=odd).count() == 1, text
        assert DeadLetter.objects.filter(correlation_id__any_of=[each for each in odd if each != text]).count() == 0
