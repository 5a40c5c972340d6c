"""The dashboard in a browser: one tab and one address for all tests of a module, because a browser
takes seconds to read the script of the plots unless the same tab has just done so."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import tornado.httpserver
import tornado.netutil
import tornado.web
from playwright.async_api import Page as Tab
from playwright.async_api import ViewportSize, async_playwright, expect

from sessionbridge.dashboard.pages import Dashboard
from tests.support.dashboard_fixtures import Looking, Watched

CHROMIUM = shutil.which("chromium")
IN_A_BROWSER = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.asyncio(loop_scope="module"),  # one browser for all of them
]

WINDOW = ViewportSize(width=1280, height=720)

expect.set_options(timeout=20_000)  # milliseconds; a busy machine draws slowly


class _Answers(tornado.web.RequestHandler):
    def initialize(self, browser: Browser) -> None:
        self._browser = browser

    async def get(self, path: str) -> None:
        await self._answer(path)

    async def post(self, path: str) -> None:
        """As the proxy does, which keeps data from pages of other hosts so."""
        assert path.startswith("/api/")
        await self._answer(path)

    async def _answer(self, path: str) -> None:
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        assert self._browser.dashboard is not None
        page = await self._browser.dashboard.answer(path, query)
        self.set_status(page.status)
        for name, value in page.headers.items():
            self.set_header(name, value)
        if page.status == 204:
            self.clear_header("Content-Type")
        else:
            self.set_header("Content-Type", page.content_type)
        await self.finish(page.body)


@dataclass
class Browser:
    """A tab, and the dashboard that is at the address now. The tab's clock is the tests' own: it
    goes on as clocks do, and `Seen.next_look` sets it forward."""

    tab: Tab
    url: str = ""
    dashboard: Dashboard | None = None


@dataclass
class Seen:
    """The page in a tab; whatever went wrong in it, and every address it asked for."""

    tab: Tab
    url: str
    troubles: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def open(self, hash_: str = "") -> None:
        await self.tab.goto(self.url + hash_)
        await expect(self.tab.get_by_test_id("connection")).to_contain_text("Updated")

    async def next_look(self) -> None:
        """The page asks again, without the wait for it."""
        await self.tab.clock.run_for(3_100)

    async def total(self, name: str) -> float:
        value = await self.tab.get_by_test_id(f"total-{name}").get_attribute("data-value")
        assert value, f"no total {name}"
        return float(value)

    def overviews(self) -> int:
        return sum("/api/overview" in url for url in self.asked)


@asynccontextmanager
async def _served(browser: Browser) -> AsyncIterator[str]:
    """Beneath a path, where the addon puts it for a proxy in reverse mode."""
    # A browser may ask any address for an icon, when it likes, and tells of one that is missing.
    paths = (r"/\.sessionbridge(/.*)", "(/favicon.ico)")
    routes = [(path, _Answers, {"browser": browser}) for path in paths]
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server = tornado.httpserver.HTTPServer(tornado.web.Application(routes))
    server.add_sockets(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}/.sessionbridge/"
    finally:
        server.stop()
        await server.close_all_connections()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-sync"],
        )
        context = await launched.new_context(
            locale="en-US", reduced_motion="reduce", viewport=WINDOW
        )
        await context.clock.install()
        made = Browser(await context.new_page())
        async with _served(made) as made.url:
            yield made
        await launched.close()


@asynccontextmanager
async def looking_at(dashboard: Dashboard, browser: Browser) -> AsyncIterator[Seen]:
    browser.dashboard = dashboard
    seen = Seen(browser.tab, browser.url)
    listeners: dict[str, Callable[[Any], None]] = {
        "request": lambda request: seen.asked.append(request.url),
        "pageerror": lambda error: seen.troubles.append(str(error)),
        "console": lambda line: seen.troubles.append(f"{line.type}: {line.text}"),
    }
    for name, listener in listeners.items():
        seen.tab.on(name, listener)  # type: ignore[call-overload]
    try:
        yield seen
    finally:
        await seen.tab.unroute_all()
        await seen.tab.goto(f"{browser.url}app.css")  # which asks for nothing
        for name, listener in listeners.items():
            seen.tab.remove_listener(name, listener)
        await seen.tab.emulate_media(color_scheme="light")
        await seen.tab.set_viewport_size(WINDOW)
    assert {urlsplit(url).hostname for url in seen.asked} <= {"127.0.0.1", None}


@pytest_asyncio.fixture(loop_scope="module")
async def seen(watched: Watched, browser: Browser) -> AsyncIterator[Seen]:
    async with looking_at(watched.dashboard, browser) as made:
        yield made
    assert made.troubles == []


@pytest_asyncio.fixture(loop_scope="module")
async def talked(looking: Looking, browser: Browser) -> AsyncIterator[Seen]:
    async with looking_at(looking.dashboard, browser) as made:
        yield made
    assert made.troubles == []
