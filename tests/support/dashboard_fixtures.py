"""A dashboard over a real ledger, without a bridge in front of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sessionbridge.allowances import Allowance, ClientRules
from sessionbridge.cli.main import cli
from sessionbridge.dashboard.metrics import Errors
from sessionbridge.dashboard.pages import Dashboard, Page
from sessionbridge.dashboard.state import LiveTurn, State
from sessionbridge.errors import SessionLost
from sessionbridge.model import Message, Origin, SessionKey, Usage
from sessionbridge.sessions.store.engine import insert_sql
from sessionbridge.sessions.store.ledger import PassedTurn
from sessionbridge.sessions.store.places import DATABASE_NAME, Home
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.store_thread import StoreThread
from tests.support.bridge_fixtures import CLIENT_HELD, Answer, House, ask
from tests.support.scripted_dispatcher import ScriptedDispatcher
from tests.support.turn_records import turn

IDLE = State((), 0, 0, 0, 0)
Change = Mapping[str, Any] | PassedTurn
"""How a turn differs from the usual one; or traffic that passed through."""


def passing(at: float) -> PassedTurn:
    usage = Usage(90, 9, 0, 10)
    return PassedTurn("api.openai.com", "chat", "gpt-4o", "stop", usage, 0.3, at, 90_000)


def keep(store: SessionStore, *changes: Change) -> None:
    for change in changes:
        if isinstance(change, PassedTurn):
            store.passed(change)
        else:
            store.commit(turn(**change))


def known_client(
    store: SessionStore, name: str, rules: ClientRules, revoked_at: float | None = None
) -> None:
    row = {
        "name": name,
        "id": name,
        "token_hash": "",
        "created_at": 0.0,
        "revoked_at": revoked_at,
        "rules": rules.model_dump_json(),
    }
    store.engine.write(lambda db: db.execute(insert_sql("clients", row), row))


def cost_rows(home: Path, span: str = "all") -> list[dict[str, Any]]:
    """What `sessionbridge cost` tells of the same ledger."""
    since = [] if span == "all" else ["--since", span]
    ran = CliRunner().invoke(cli, ["--home", str(home), "cost", "--json", *since])
    rows: list[dict[str, Any]] = json.loads(ran.stdout)
    return rows


async def nothing_said(session: str, upto: str, after: str | None) -> Sequence[Message]:
    raise SessionLost("The transcript of this Claude session is gone.")


class Watched:
    """A dashboard, and what it shows of. `state` is what goes on "now", `providers`
    what each may spend."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = IDLE
        self.errors = Errors()
        self.providers: dict[str, Allowance] = {}
        self.thread = StoreThread(Home(home))
        self.dashboard = self._dashboard()

    def _dashboard(self) -> Dashboard:
        return Dashboard(
            self.thread, lambda: self.state, lambda _: nothing_said, self.errors, self.providers
        )

    def restart(self) -> None:
        self.thread.close()
        self.thread = StoreThread(Home(self.home))
        self.errors = Errors()
        self.dashboard = self._dashboard()

    def commit(self, *changes: Change) -> None:
        """Turns of this moment, unless they say another."""
        now = {"started_at": time.time()}
        with closing(SessionStore.open(self.home / DATABASE_NAME)) as store:
            keep(store, *(c if isinstance(c, PassedTurn) else {**now, **c} for c in changes))

    async def document(self, path: str, **query: str) -> Any:
        page = await self.dashboard.answer(path, query)
        assert (page.status, page.content_type) == (200, "application/json"), page.body
        return json.loads(page.body)

    async def text(self, path: str) -> str:
        page = await self.dashboard.answer(path, {})
        assert page.status == 200, page.body
        return page.body.decode()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.thread.close()


class Looking(House):
    """A house with a dashboard that looks into the same ledger, by a thread of its own."""

    def __init__(self, home: Path, dispatcher: ScriptedDispatcher | None = None) -> None:
        super().__init__(home, dispatcher)
        self.reports = StoreThread(Home(self.settings.home))
        self.reads = 0
        self.dashboard = Dashboard(self.reports, lambda: IDLE, lambda _: self.said, Errors(), {})

    async def said(self, session: str, upto: str, after: str | None) -> Sequence[Message]:
        self.reads += 1
        return await self.dispatcher.said(session, upto, after)

    def close(self) -> None:
        self.reports.close()
        self.thread.close()

    async def send(self, *talk: Message, origin: Origin = CLIENT_HELD) -> Answer:
        messages = [{"role": m.role, "content": [dict(b) for b in m.blocks]} for m in talk]
        tools = [{"name": "look", "input_schema": {"type": "object"}}]
        body = {"model": "claude-x", "max_tokens": 9, "messages": messages, "tools": tools}
        answer = await ask(self.bridge, json.dumps(body).encode(), origin)
        assert answer.status == 200, answer.body
        return answer

    async def page(self, origin: Origin = CLIENT_HELD, **query: str) -> Page:
        key = {"platform": origin.platform, "id": origin.external_id, "provider": "claude"}
        return await self.dashboard.answer("/api/conversation", key | query)

    async def turns(self, origin: Origin = CLIENT_HELD) -> list[dict[str, Any]]:  # type: ignore[override]
        page = await self.page(origin)
        assert page.status == 200, page.body
        turns: list[dict[str, Any]] = json.loads(page.body)["turns"]
        return turns


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[Looking]:
    made = Looking(tmp_path)
    yield made
    made.close()


LIVE = LiveTurn("", "openclaw", "team:7", "messages", "resume", "continued", "claude-x", 1e9, 420)
BUSY = State((LIVE,), waiting=3, running=1, live=5, spares=2)

OTHER = SessionKey("openclaw", "[bold]team:1/2", "work")


def mixed_turns(now: float) -> tuple[Change, ...]:
    """Turns of several plans, models, platforms and hours; one has no price, one passed through."""
    day = 24 * 3600
    dear: dict[str, Any] = {"model": "claude-opus-4-5", "cost_usd": 1.5, "duration_ms": 31_000}
    return (
        {"started_at": now - 40 * day, "usage": Usage(1, 2, 3, 4), "cost_usd": 0.125},
        {"started_at": now - 3 * day, "usage": Usage(700, 60, 50, 0), "cost_usd": 0.1, **dear},
        {"started_at": now - 5000, "plan": "resume", "reason": "continued", "process": "live"},
        {"key": OTHER, "internal_id": "session-2", "started_at": now - 60, "cost_usd": None},
        {"started_at": now - 30, "plan": "fork", "reason": "branched", "process": "spare"},
        {"started_at": now - 20, "model": "claude-haiku-4-5", "cost_usd": 0.2, "ttft_ms": None},
        passing(now - 10),
    )
