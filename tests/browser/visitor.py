"""What every browser test does: log in, collect complaints, judge accessibility, make data over the API."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import ConsoleMessage, Page, Response

from tests.e2e.quickstarts import Quickstart, wait_until

#: What axe calls serious or worse must not be there.
_GRAVE = ("serious", "critical")


class Complaints:
    """What the browser had to say against a page. A test that provokes one names it with `expect`."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        self._expected: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._add(f"script error at {page.url}: {error}"))
        page.on("response", self._answered)
        page.complaints = self  # type: ignore[attr-defined]

    def expect(self, *words: str) -> None:
        """Complaints that hold one of these belong to the test."""
        self._expected += words
        self.found = [each for each in self.found if not any(word in each for word in words)]

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._add(f"{message.location.get('url', '')}: {message.text}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self._add(f"{response.status} {response.url}")

    def _add(self, complaint: str) -> None:
        if not any(word in complaint for word in self._expected):
            self.found.append(complaint)


def expect_complaints(page: Page, *words: str) -> None:
    """The test provokes complaints that hold one of these words."""
    page.complaints.expect(*words)  # type: ignore[attr-defined]


def log_in(page: Page, console: Quickstart) -> None:
    """As the quickstart's administrator."""
    page.goto("/login")
    page.fill("[name=username]", console.ready["username"])
    page.fill("[name=password]", console.ready["password"])
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/login" not in url)


def grave_findings(page: Page) -> list[str]:
    """What axe finds serious or critical: rule, and where."""
    response: dict[str, Any] = Axe().run(page).response
    return [
        f"{finding['id']} ({finding['impact']}) at {', '.join(str(node['target']) for node in finding['nodes'][:5])}: "
        f"{finding['help']}; {finding['nodes'][0].get('failureSummary', '')[:300]}"
        for finding in response["violations"]
        if finding["impact"] in _GRAVE
    ]


_TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width + 1) return [];
  const sticksOut = (one) => one && one.getBoundingClientRect().right > width + 1;
  const outermost = [...document.querySelectorAll("main *")].filter((one) => sticksOut(one) && !sticksOut(one.parentElement));
  return outermost.slice(0, 5).map((one) => `${one.tagName}.${one.className} in ${one.parentElement.className}: `
    + one.textContent.trim().slice(0, 40));
}"""  # noqa: E501


def overflows(page: Page) -> list[str]:
    """What makes the page wider than its window, if something does: the outermost elements that stick out."""
    found: list[str] = page.evaluate(_TOO_WIDE)
    return found


def dead_letters(console: Quickstart, count: int, **data: Any) -> list[int]:
    """Make that many dead letters of the notification group on order.created; returns their ids, the newest last."""
    wanted = {
        console.publish(
            "order.created",
            {"orderId": f"order-{index}", "simulate": "fail", "simulateGroup": "notification-service-group", **data},
        )
        for index in range(count)
    }

    def all_there() -> list[int]:
        _, answer = console.call("/api/dead-letters?group=notification-service-group&limit=100")
        found = [letter["id"] for letter in answer["data"] if letter["eventId"] in wanted]
        return sorted(found) if len(found) == len(wanted) else []

    found: list[int] = wait_until(all_there, 30, f"{count} dead letters")
    return found
