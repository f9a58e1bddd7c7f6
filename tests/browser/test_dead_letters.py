"""The flow of dead letters in a real browser: find, inspect, replay, take back, edit, plan, discard; by mouse and by
keyboard alone; two people on one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visitor import dead_letters, expect_complaints, grave_findings, overflows
from tests.e2e.quickstarts import Quickstart

pytestmark = pytest.mark.timeout(300)


def status_of(console: Quickstart, letter: int) -> str:
    _, answer = console.call(f"/api/dead-letters/{letter}")
    return str(answer["data"]["status"])


def open_list(page: Page, letters: list[int]) -> None:
    page.goto("/dead-letters?filter=topic:order.created")
    expect(page.locator("html")).to_have_attribute("data-live", "live")
    expect(page.locator(f'tr[data-letter="{letters[-1]}"]')).to_be_visible()


def test_one_click_replays_one_and_undo_is_kept_on_the_server(console: Quickstart, page: Page) -> None:
    letters = dead_letters(console, 2)
    open_list(page, letters)
    row = page.locator(f'tr[data-letter="{letters[0]}"]')
    row.get_by_role("button", name="Replay dead letter").click()
    expect(row.get_by_role("button", name="Undo the replay")).to_be_visible()
    page.reload()
    page.locator(f'[data-pending="{letters[0]}"]').get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Taken back: nothing was sent.")).to_be_visible()
    assert status_of(console, letters[0]) == "open"
    page.locator(f'tr[data-letter="{letters[1]}"] [data-replay]').click()
    expect(page.locator(f'tr[data-letter="{letters[1]}"] .status')).to_have_text("handled", timeout=30_000)
    assert status_of(console, letters[1]) == "resolved"


def test_selection_is_planned_run_and_followed_to_its_outcome(console: Quickstart, page: Page) -> None:
    letters = dead_letters(console, 3)
    open_list(page, letters)
    for letter in letters:
        page.locator(f'tr[data-letter="{letter}"] input[name=ids]').check()
    page.locator("[data-plan-selection]").click()
    page.wait_for_url("**/replays/*")
    expect(page.locator("#replay-answer")).to_contain_text("3 dead letters to notification-service-group")
    expect(page.locator("[data-run-button]")).to_have_text("Replay 3 to notification-service-group")
    page.get_by_label("First").fill("1")
    expect(page.locator("[data-run-button]")).to_have_text("Start with 1")
    page.locator("[data-run-button]").click()
    expect(page.locator("#replay-answer")).to_contain_text("All 3 were handled.", timeout=30_000)
    page.reload()
    expect(page.locator("#replay-answer")).to_contain_text("All 3 were handled.")
    page.goto("/dead-letters")
    operation = page.locator("[data-dismissible]").first
    expect(operation).to_contain_text("handled 3")
    operation.get_by_role("button", name="Dismiss").click()
    page.reload()
    expect(page.locator(f'[data-dismissible="{page.url}"]')).to_have_count(0)
    assert {status_of(console, letter) for letter in letters} == {"resolved"}


def test_a_replay_that_is_too_slow_is_given_another_rate(console: Quickstart, page: Page) -> None:
    letters = dead_letters(console, 3)
    _, planned = console.call("/api/replays", {"ids": letters})
    replay = planned["data"]["id"]
    console.call(f"/api/replays/{replay}/run", {"rate": 0.02})
    page.goto(f"/replays/{replay}")
    field = page.get_by_label("Change to")
    expect(page.locator("#replay-how")).to_contain_text("at most 0.02 per second")
    field.fill("2000000")
    field.press("Enter")
    expect(page.locator("#notices")).to_contain_text("allowed are 0.01 to 1,000,000 events per second")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect_complaints(page, "422")

    field.fill("100")
    field.press("Enter")

    expect(page.locator("#replay-how")).to_contain_text("at most 100 per second")
    expect(page.locator("#replay-how")).to_contain_text("changed the rate of replay")
    expect(page.locator("#replay-answer")).to_contain_text("All 3 were handled.", timeout=30_000)
    assert {status_of(console, letter) for letter in letters} == {"resolved"}


def test_edit_shows_what_differs_and_sends_a_copy(console: Quickstart, page: Page) -> None:
    (letter,) = dead_letters(console, 1)
    page.goto(f"/dead-letters/{letter}")
    expect(page.locator("html")).to_have_attribute("data-live", "live")
    page.get_by_role("button", name="Edit and replay…").click()
    page.get_by_role("button", name="Review changes").click()
    expect(page.get_by_text("Nothing differs from the original.")).to_be_visible()
    data = page.locator("#edit-data")
    before = data.input_value()
    data.fill(before.rstrip("}\n ") + ',\n  "big": 12345678901234567890123\n')
    page.get_by_role("button", name="Review changes").click()
    expect(page.get_by_text("The JSON ends too early")).to_be_visible()
    data.fill(before.rstrip("}\n ") + ',\n  "big": 12345678901234567890123\n}')
    page.get_by_role("button", name="Review changes").click()
    expect(page.locator("[data-edit-diff] tr")).to_have_count(1)
    expect(page.locator("[data-edit-diff]")).to_contain_text("data.big")
    page.get_by_role("button", name="Replay the copy").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    _, answer = console.call(f"/api/dead-letters/{letter}/audit")
    (change,) = answer["data"][0]["detail"]["diff"]
    assert change["after"] == 12345678901234567890123
    expect(page.locator("#letter-heading")).to_contain_text("resolved", timeout=30_000)
    page.get_by_text("edited: 1 change").click()


def test_locked_headers_are_refused_by_the_form_and_named_by_the_server(console: Quickstart, page: Page) -> None:
    (letter,) = dead_letters(console, 1)
    page.goto(f"/dead-letters/{letter}")
    page.get_by_role("button", name="Edit and replay…").click()
    assert page.get_by_label("Header event-id, locked").get_attribute("readonly") is not None
    page.get_by_role("button", name="Add a header").click()
    page.get_by_label("Name of the new header").fill("dlq-mine")
    page.get_by_label("Value of the new header").fill("x")
    page.get_by_role("button", name="Review changes").click()
    expect_complaints(page, "422")
    page.get_by_role("button", name="Replay the copy").click()
    expect(page.locator('[data-problem="headers"]')).to_contain_text("is locked")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("You have changed something.")).to_be_visible()
    page.get_by_role("button", name="Drop the changes").click()
    expect(page.locator("#edit")).to_be_hidden()
    assert status_of(console, letter) == "open"


def test_discard_wants_a_reason_and_can_be_undone(console: Quickstart, page: Page) -> None:
    (letter,) = dead_letters(console, 1)
    open_list(page, [letter])
    page.locator(f'tr[data-letter="{letter}"] input[name=ids]').check()
    page.locator("[data-discard-selection]").click()
    page.get_by_role("button", name="Discard 1 dead letter").click()
    expect(page.get_by_text("Say why")).to_be_visible()
    page.get_by_label("Reason").last.fill("a test")
    page.keyboard.press("Enter")
    expect(page.locator(f'tr[data-letter="{letter}"]')).to_contain_text("discarded")
    assert status_of(console, letter) == "discarded"
    page.locator("#notices").get_by_role("button", name="Undo").click()
    expect(page.get_by_text("1 dead letter is open again.")).to_be_visible()
    assert status_of(console, letter) == "open"


def test_all_of_an_error_are_counted_before_they_are_discarded(console: Quickstart, page: Page) -> None:
    letters = dead_letters(console, 3, orderId="only-here")
    page.goto(f"/dead-letters/{letters[0]}")
    page.locator(".crumbs a").nth(1).click()
    page.locator("article [data-discard-all]").click()
    dialog = page.locator("#discard")
    expect(dialog.get_by_role("heading")).to_contain_text("Discard")
    expect(dialog.locator("tbody tr").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert status_of(console, letters[0]) == "open"


def test_whole_flow_by_keyboard_alone(console: Quickstart, page: Page) -> None:
    (letter,) = dead_letters(console, 1)
    page.goto("/")
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/dead-letters")
    page.keyboard.press("/")
    page.keyboard.type("topic:order.created")
    page.keyboard.press("Enter")
    page.wait_for_url("**filter=topic*")
    page.locator(f'tr[data-letter="{letter}"]').wait_for()
    for _ in range(60):
        page.keyboard.press("j")
        focused = page.evaluate("document.activeElement.closest('tr')?.dataset.letter")
        if focused == str(letter):
            break
    assert focused == str(letter)
    page.keyboard.press("r")
    expect(page.locator(f'tr[data-letter="{letter}"] [data-undo]')).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Taken back: nothing was sent.")).to_be_visible()
    expect(page.locator(f'tr[data-letter="{letter}"] [data-replay]')).to_be_focused()
    page.goto(f"/dead-letters/{letter}")
    page.locator("#letter-edit").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#edit-data")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#edit")).to_be_hidden()
    page.locator("#letter-discard").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("#letter-heading")).to_contain_text("discarded")
    page.locator("#letter-restore").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#letter-heading")).to_contain_text("open")


def test_second_person_is_told_who_and_when(console: Quickstart, open_browser: Callable[..., Page]) -> None:
    (letter,) = dead_letters(console, 1)
    ann, bob = open_browser(), open_browser()
    for page in (ann, bob):
        page.goto(f"/dead-letters/{letter}")
        expect(page.locator("html")).to_have_attribute("data-live", "live")
    # Bob's page is of before: it hears nothing for the moment.
    bob.evaluate("document.querySelector('[data-room=\"dead-letter\"]').removeAttribute('data-room')")
    ann.locator("#letter-replay").click()
    expect(ann.get_by_role("button", name="Undo")).to_be_visible()
    expect_complaints(bob, "409")
    bob.locator("#letter-replay").click()
    expect(bob.locator("#notices")).to_contain_text(f"by {console.ready['username']}")


def test_new_rows_wait_behind_a_button(console: Quickstart, page: Page) -> None:
    letters = dead_letters(console, 1)
    open_list(page, letters)
    first = page.locator("tr[data-letter]").first.get_attribute("data-letter")
    fresh = dead_letters(console, 2)
    expect(page.locator("#new-rows")).to_contain_text("2 new")
    assert page.locator("tr[data-letter]").first.get_attribute("data-letter") == first
    page.locator("#new-rows").click()
    expect(page.locator(f'tr[data-letter="{fresh[-1]}"]')).to_be_visible()


@pytest.mark.parametrize("width", [360, 1280])
def test_every_dialog_fits_and_has_no_grave_finding(
    console: Quickstart, open_browser: Callable[..., Page], width: int
) -> None:
    (letter,) = dead_letters(console, 1)
    page = open_browser(width=width)
    page.goto(f"/dead-letters/{letter}")
    problems: list[Any] = []
    for opener, dialog in (("#letter-edit", "#edit"), ("#letter-discard", "#discard")):
        page.locator(opener).click()
        expect(page.locator(dialog)).to_be_visible()
        problems += grave_findings(page)
        problems += [f"{dialog} overflows"] if overflows(page) else []
        page.keyboard.press("Escape")
    assert not problems, "\n".join(map(str, problems))


def test_megabyte_opens_within_a_second(console: Quickstart, page: Page) -> None:
    (letter,) = dead_letters(console, 1, blob=["x" * 1000] * 900)
    page.goto(f"/dead-letters/{letter}")
    load = page.get_by_role("button", name="Load all")
    expect(load).to_be_visible()
    page.evaluate("performance.mark('began')")
    load.click()
    expect(load).to_be_hidden()
    took = page.evaluate("performance.measure('opened', 'began').duration")
    # A second is the promise; four are what a machine takes that runs other tests meanwhile.
    assert took < 4000, f"{took:.0f} ms"
    expect(page.locator(".tree summary").first).to_be_visible()
