"""The overview and the pages of groups in a browser: pausing, planning a reset, and numbers that change in place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.quickstarts import Quickstart, command_of, wait_until

GROUP = "/groups/notification-service-group"
_SECONDS = 20_000

pytestmark = pytest.mark.timeout(180)


def test_a_group_is_paused_and_resumed_and_its_workers_say_so(page: Page) -> None:
    page.goto(GROUP)
    page.click("#group-actions >> text=Pause…")
    page.fill("#pause-reason", "SMTP is down")
    page.click("#pause [type=submit]")
    expect(page.locator("#notices")).to_contain_text("1 of 1 worker paused the group", timeout=_SECONDS)
    expect(page.locator("#group-paused")).to_contain_text("SMTP is down")
    page.click("#group-actions >> text=Resume")
    expect(page.locator("#group-paused")).to_be_hidden(timeout=_SECONDS)
    expect(page.locator("#group-actions")).to_contain_text("Pause…")


def test_one_topic_is_paused_by_keyboard_alone(page: Page) -> None:
    page.goto(GROUP)
    page.locator("#group-actions button").first.focus()
    page.keyboard.press("Enter")
    page.locator("#pause-topic").focus()
    page.keyboard.type("only order.created")
    page.locator("#pause-reason").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#group-paused")).to_contain_text("1 of 1 worker paused", timeout=_SECONDS)
    expect(page.locator("#group-paused")).to_contain_text("order.created")
    page.locator("#group-paused [data-resume]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#group-paused")).to_be_hidden(timeout=_SECONDS)


def test_a_reset_shows_its_plan_and_is_refused_while_workers_run(page: Page, console: Quickstart) -> None:
    console.publish("order.created", {"orderId": "order-of-a-reset"})
    page.goto(f"{GROUP}/offsets")
    page.click("text=Show what it would do")
    expect(page.locator("#reset-plan")).to_be_visible(timeout=_SECONDS)
    expect(page.locator("[data-plan-rows]")).to_contain_text("order.created[0]")
    button = page.locator("[data-apply]")
    expect(button).to_contain_text("Reset ")
    expect(button).to_be_disabled()
    expect(page.locator("[data-apply-why]")).to_contain_text("The group has 1 member")


@pytest.fixture
def without_workers(console: Quickstart) -> Iterator[None]:
    """The consumers are away, and nobody starts them again before the end."""
    os.kill(console.process.pid, signal.SIGSTOP)
    try:
        pid = console.pid_of("run_consumer")
        os.kill(pid, signal.SIGTERM)
        # Whom it belongs to stands still, so it stays behind as a process without a command line.
        wait_until(lambda: not command_of(pid), 15, "the end of the consumers")
        yield
    finally:
        os.kill(console.process.pid, signal.SIGCONT)
    wait_until(lambda: console.call("/api/groups/notification-service-group")[1]["data"]["members"], 40, "consumers")


@pytest.mark.usefixtures("without_workers")
def test_a_reset_is_done_as_it_was_planned(page: Page, console: Quickstart) -> None:
    def lag() -> int:
        return int(console.call("/api/groups/notification-service-group")[1]["data"]["lag"])

    console.publish("order.created", {"orderId": "order-of-another-reset"})
    wait_until(lambda: lag() > 0, 20, "an event that nobody reads")
    page.goto(f"{GROUP}/offsets")
    page.check("[name=to][value=latest]")
    page.click("text=Show what it would do")
    expect(page.locator("[data-plan-answer]")).to_contain_text("passed over for good", timeout=_SECONDS)
    page.fill("#reset-reason", "of no use any more")
    button = page.locator("[data-apply]")
    expect(button).to_be_enabled(timeout=_SECONDS)
    button.click()
    expect(page.locator("#notices")).to_contain_text("are reset. Start its workers", timeout=_SECONDS)
    expect(page.locator("#reset-plan")).to_be_hidden()
    page.goto("/audit")
    expect(page.locator("main")).to_contain_text("of no use any more")
    wait_until(lambda: lag() == 0, 20, "the group to have passed it over")


def test_offsets_that_cannot_be_read_are_told_at_the_form(page: Page) -> None:
    page.goto(f"{GROUP}/offsets")
    page.check("[name=to][value=offsets]")
    page.fill("#offsets", "order.created 12")
    page.click("text=Show what it would do")
    expect(page.locator("[data-plan-form] .problem")).to_contain_text("write it as order.created[3] 1200")


def test_numbers_change_under_the_focus_without_taking_it(page: Page, console: Quickstart) -> None:
    page.goto("/groups?sort=name")
    link = page.locator("#groups-rows a.row-link").first
    link.focus()
    before = page.locator("#groups-rows").inner_text()
    handle = link.element_handle()
    for number in range(20):
        console.publish("order.created", {"orderId": f"order-{number}"})
    page.wait_for_function("before => document.querySelector('#groups-rows').innerText !== before", arg=before)
    assert handle is not None
    assert handle.evaluate("each => each.isConnected && document.activeElement === each")


def test_charts_have_tables_and_keep_their_range_in_the_address(page: Page) -> None:
    page.goto("/?range=1h")
    expect(page.locator(".button-group [aria-current]")).to_have_text("1 h")
    page.locator("details.chart-table summary").first.click()
    expect(page.locator("details.chart-table tbody tr").first).to_be_visible()
    expect(page.locator(".chart .uplot").first).to_be_attached()


def test_the_rail_keeps_its_place_and_its_mark(page: Page) -> None:
    page.goto("/workers")
    expect(page.locator("html")).to_have_attribute("data-live", "live", timeout=_SECONDS)
    expect(page.locator("#rail-links [aria-current=page]")).to_have_text("Workers")
    expect(page.locator("#workers-answer")).to_contain_text("1 worker alive")
