"""Events in the browser: the tail, finding one, watching one, and publishing by hand."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visitor import expect_complaints
from tests.e2e.quickstarts import Quickstart, wait_until

GROUP = "notification-service-group"
HOSTILE = "</pre><script>document.title='owned'</script>\u202ejavascript:alert(1)"


def publish(console: Quickstart, data: dict[str, Any] | None = None, **event: Any) -> str:
    """Publish an event; returns its id."""
    body = {"topic": "order.created", "data": data or {"orderId": "o-1"}, **event}
    status, answer = console.call("/api/events/publish", body)
    assert status == 200, answer
    return str(answer["data"]["eventId"])


def rows_of(page: Page, event_id: str) -> Any:
    return page.locator(f'#events-table a[title="{event_id}"]')


@pytest.fixture
def tail(page: Page) -> Page:
    """The tail, live, with the pointer away from it."""
    page.goto("/events")
    expect(page.locator("[data-live-state]")).to_have_text("live")
    page.mouse.move(5, 5)
    return page


# -- the tail -------------------------------------------------------------------------------------------------------


def test_what_happens_appears_by_itself(tail: Page, console: Quickstart) -> None:
    event_id = publish(console)
    expect(rows_of(tail, event_id).first).to_be_visible()
    rows = tail.locator("#events-table tr", has=tail.locator(f'a[title="{event_id}"]'))
    expect(rows.filter(has_text="processed").first).to_be_visible()


def test_nothing_moves_under_the_pointer_and_what_waits_is_counted(tail: Page, console: Quickstart) -> None:
    first = publish(console, topic="order.delivered")
    expect(rows_of(tail, first).first).to_be_visible()
    rows_of(tail, first).first.hover()
    time.sleep(1)  # what belongs to the first may still come
    before = tail.locator("#events-table tbody tr").count()
    second = publish(console, topic="order.delivered")
    button = tail.locator("#events-new")
    expect(button).to_be_visible()
    expect(button).to_have_text(re.compile(r"^\d+ new$"))
    assert rows_of(tail, second).count() == 0
    assert tail.locator("#events-table tbody tr").count() == before
    tail.mouse.move(5, 5)
    expect(rows_of(tail, second).first).to_be_visible()
    expect(button).to_be_hidden()


def test_new_rows_wait_for_the_keyboard_too(tail: Page, console: Quickstart) -> None:
    # What follows from an order is more than the tail shows in a second, and what it leaves out isn't shown later.
    expect(rows_of(tail, publish(console, topic="order.delivered")).first).to_be_visible()
    tail.keyboard.press("j")
    assert tail.evaluate("document.activeElement.classList.contains('row-link')")
    second = publish(console, topic="order.delivered")
    expect(tail.locator("#events-new")).to_be_visible()
    expect(rows_of(tail, second)).to_have_count(0)

    def shown() -> bool:
        # Again, because what waited first may have been of another event.
        tail.keyboard.press("n")
        return bool(rows_of(tail, second).first.is_visible())

    wait_until(shown, 20, "rows that were asked for")


def test_a_pause_holds_everything_and_resuming_shows_what_came(tail: Page, console: Quickstart) -> None:
    tail.keyboard.press("p")
    expect(tail.locator("#events-pause")).to_have_attribute("aria-pressed", "true")
    event_id = publish(console)
    time.sleep(1.5)
    assert rows_of(tail, event_id).count() == 0
    assert tail.locator("#events-new").is_hidden()
    tail.keyboard.press("p")
    expect(rows_of(tail, event_id).first).to_be_visible()


def test_the_filter_is_completed_by_keyboard_and_kept_in_the_address(tail: Page, console: Quickstart) -> None:
    event_id = publish(console, key="order-77")
    expect(rows_of(tail, event_id).first).to_be_visible()
    tail.keyboard.press("/")
    tail.keyboard.type("sta")
    option = tail.get_by_role("option", name=re.compile("status:"))
    expect(option).to_be_visible()
    tail.keyboard.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    tail.keyboard.press("Enter")
    tail.keyboard.type("publ")
    expect(tail.get_by_role("option", name="published")).to_be_visible()
    tail.keyboard.press("ArrowDown")
    tail.keyboard.press("Tab")
    expect(tail.locator("#filter")).to_have_value("status:published ")
    tail.keyboard.press("Enter")
    tail.wait_for_url("**/events?filter=status%3Apublished")
    expect(rows_of(tail, event_id)).to_have_count(1)
    tail.reload()
    expect(tail.locator("#filter")).to_have_value("status:published")
    assert set(tail.locator("#events-table .status").all_inner_texts()) == {"published"}
    tail.go_back()
    expect(tail.locator("#filter")).to_have_value("")


def test_a_wrong_filter_says_what_would_do(tail: Page) -> None:
    tail.fill("#filter", "topik:order.created")
    tail.keyboard.press("Enter")
    expect(tail.locator("#events-filter .problem")).to_contain_text("did you mean topic?")
    expect(tail.locator("#filter")).to_have_attribute("aria-invalid", "true")


def test_a_count_of_the_last_minute_sets_the_filter(tail: Page) -> None:
    tail.click("[data-term='status:failed']")
    expect(tail.locator("#filter")).to_have_value("status:failed")
    tail.click("[data-term='status:retrying']")
    expect(tail.locator("#filter")).to_have_value("status:retrying")
    tail.click("[data-term='status:retrying']")
    expect(tail.locator("#filter")).to_have_value("")


def test_what_is_shown_can_be_exported(tail: Page, console: Quickstart) -> None:
    event_id = publish(console, key="=1+1")
    expect(rows_of(tail, event_id).first).to_be_visible()
    with tail.expect_download() as csv:
        tail.click("[data-export=csv]")
    text = csv.value.path().read_text()
    assert text.startswith("at,outcome,eventId")
    assert event_id in text
    assert "'=1+1" in text
    with tail.expect_download() as exported:
        tail.click("[data-export=json]")
    assert event_id in {row["eventId"] for row in json.loads(exported.value.path().read_text())}


def test_an_id_a_correlation_or_a_place_leads_to_the_event(tail: Page, console: Quickstart) -> None:
    correlation = f"corr {uuid4()}"
    body = {"topic": "product.deleted", "data": {}, "correlationId": correlation, "eventId": f"a/b {uuid4()}"}
    status, answer = console.call("/api/events/publish", body)
    assert status == 200
    found = answer["data"]
    place = f"{found['topic']}[{found['partition']}]@{found['offset']}"
    for text in (found["eventId"], correlation, place, f"{found['topic']}/{found['partition']}/{found['offset']}"):
        tail.goto("/events")
        tail.fill("#filter", text)
        tail.keyboard.press("Enter")
        tail.wait_for_url(re.compile("/events/a%2Fb"))
        expect(tail.locator("h1 .foreign")).to_have_attribute("title", found["eventId"])


def test_what_is_not_found_says_where_it_was_looked_for(tail: Page) -> None:
    tail.fill("#filter", "no-such-event")
    tail.keyboard.press("Enter")
    expect(tail.locator("#events-found")).to_contain_text("No event is called no-such-event.")
    expect(tail.locator("#events-found")).to_contain_text("No dead letter has it either.")


# -- one event --------------------------------------------------------------------------------------------------------


def test_an_event_is_watched_to_its_dead_letter(page: Page, console: Quickstart) -> None:
    event_id = publish(console, {"orderId": "o", "simulate": "fail", "simulateGroup": GROUP})
    page.goto(f"/events/{event_id}")
    panel = page.locator("section.panel", has=page.get_by_role("heading", name=GROUP))
    expect(panel.locator(".node.failed.lit.here")).to_be_visible(timeout=15_000)
    expect(panel).to_contain_text("Attempt 4 of 4")
    expect(panel.get_by_role("link", name="Open its dead letter")).to_be_visible(timeout=15_000)
    expect(page.locator("#event-answer")).to_contain_text(f"{GROUP} gave it up after 4 attempts")


def test_hostile_text_is_shown_and_does_nothing(page: Page, console: Quickstart) -> None:
    event_id = publish(
        console,
        {"orderId": HOSTILE, HOSTILE: [HOSTILE]},
        eventId=f"<b>{uuid4()}</b>",
        key=HOSTILE,
        correlationId="<i>c</i>",
    )
    page.goto("/events?filter=" + "topic:order.created")
    expect(rows_of(page, event_id).first).to_be_visible()
    rows_of(page, event_id).first.click()
    expect(page.locator("#event-record .tree")).to_contain_text("</pre><script>")
    expect(page.locator("#event-record .tree")).to_contain_text("\\u202e")
    page.get_by_role("button", name="Raw").first.click()
    expect(page.locator("#event-record .raw")).to_contain_text("</pre><script>")
    assert "owned" not in page.title()


def test_a_payload_of_a_megabyte_opens_within_a_second(page: Page, console: Quickstart) -> None:
    items = [{"number": number, "name": "x" * 60, "price": 12.5} for number in range(9500)]
    event_id = publish(console, {"items": items})
    page.goto(f"/events/{event_id}")
    expect(page.locator(".payload-cut")).to_contain_text("The first 64.0 kB of")
    began = time.monotonic()
    page.get_by_role("button", name=re.compile("^Load all")).click()
    expect(page.locator("#event-record .tree")).to_contain_text("[9,500 items]")
    assert time.monotonic() - began < 3.0, "a second, on a machine that does nothing else"
    expect(page.locator(".payload-cut")).to_have_count(0)


def test_events_of_one_correlation_lead_to_each_other(page: Page, console: Quickstart) -> None:
    correlation = str(uuid4())
    # Nothing of the demo follows up on this topic.
    topic, data = "product.deleted", {"productId": "p"}
    first, second = (publish(console, data, topic=topic, correlationId=correlation) for _ in range(2))
    page.goto(f"/events/{second}")
    table = page.locator("#event-correlated")
    expect(table.locator("tbody tr")).to_have_count(2)
    table.locator("tbody tr").first.click()
    page.wait_for_url(f"**/events/{first}")


# -- publishing -------------------------------------------------------------------------------------------------------


def test_an_event_is_published_by_keyboard_and_watched(page: Page) -> None:
    page.goto("/publish?topic=order.created")
    expect(page.locator("#publish-headers")).to_contain_text("order.created")
    page.fill("#key", "order-1")
    page.fill("#data", '{"orderId": "o-1", "exact": 123456789012345678901234567890}')
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/events/*?at=order.created*")
    expect(page.locator("#event-answer")).to_contain_text("Handled by")
    expect(page.locator("#event-record .tree")).to_contain_text("123456789012345678901234567890")


def test_problems_stand_beside_their_fields_before_anything_is_sent(page: Page) -> None:
    page.goto("/publish?topic=order.created")
    page.fill("#data", '{"orderId": ["x"], }')
    expect(page.locator("#data-problem")).to_contain_text('unexpected "}" in line 1, column 20')
    page.fill("#data", '{"orderId": ["x"]}')
    expect(page.locator("#data-problem")).to_contain_text("data.orderId")
    page.fill("#data", '{"orderId": "x"}')
    expect(page.locator("#data-problem")).to_be_hidden()
    page.fill("#key", "k" * 1100)
    expect(page.locator("#key-problem")).to_contain_text("1024")


def test_what_somebody_wrote_survives_another_topic(page: Page) -> None:
    page.goto("/publish?topic=order.created")
    expect(page.locator("#publish-headers")).to_contain_text("order.created")
    page.select_option("#topic", "payment.failed")
    expect(page.locator("#data")).to_have_value(re.compile("paymentId"))
    page.fill("#data", '{"orderId": "mine"}')
    page.select_option("#topic", "cart.updated")
    expect(page.locator("#publish-schema")).to_contain_text("cartId")
    expect(page.locator("#data")).to_have_value('{"orderId": "mine"}')


def test_a_copy_is_filled_in_and_says_of_what(page: Page, console: Quickstart) -> None:
    event_id = publish(console, {"orderId": "o-9", "n": 1.5}, key="k-9", priority="high")
    page.goto(f"/events/{event_id}")
    page.get_by_role("link", name="Publish a copy").click()
    expect(page.locator("#publish-copy")).to_contain_text(f"A copy of {event_id}")
    expect(page.locator("#key")).to_have_value("k-9")
    expect(page.locator("#priority")).to_have_value("high")
    expect(page.locator("#data")).to_have_value(re.compile(r'"n": 1\.5'))
    expect(page.locator("#eventId")).to_have_value("")


def test_an_id_that_is_taken_is_explained_with_a_way_out(page: Page, console: Quickstart) -> None:
    expect_complaints(page, "409")
    taken = publish(console, eventId=str(uuid4()))
    page.goto("/publish?topic=order.created")
    page.fill("#eventId", taken)
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#publish-outcome")).to_contain_text("was published before")
    page.goto("/publish?topic=cart.updated")
    page.fill("#eventId", taken)
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#publish-outcome")).to_contain_text("was already published on order.created")
    page.get_by_role("button", name="Send with a new id").click()
    page.wait_for_url("**/events/*")


def test_after_a_lost_answer_the_same_id_is_sent_again(page: Page) -> None:
    expect_complaints(page, "503", "Failed to load")
    sent: list[str] = []

    def fail(route: Any) -> None:
        sent.append(json.loads(route.request.post_data)["eventId"])
        document = {
            "type": "urn:event-console:problem:publish-unknown",
            "detail": "no answer within 8 s",
            "eventId": sent[0],
        }
        route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(document))

    page.goto("/publish?topic=order.created")
    page.route("**/api/events/publish", fail)
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#publish-outcome")).to_contain_text("It may or may not have been published.")
    page.unroute("**/api/events/publish")
    page.get_by_role("button", name="Send again with the same id").click()
    page.wait_for_url(f"**/events/{sent[0]}*")


def test_two_browsers_see_the_same_event_move(open_browser: Callable[..., Page], console: Quickstart) -> None:
    event_id = publish(console, {"orderId": "o", "simulate": "slow:2", "simulateGroup": GROUP})
    pages = [open_browser(), open_browser()]
    for each in pages:
        each.goto(f"/events/{event_id}")
    for each in pages:
        expect(each.locator("#event-answer")).to_contain_text("Handled by", timeout=15_000)
