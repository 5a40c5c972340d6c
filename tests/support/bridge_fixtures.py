"""A bridge with a real store and a scripted dispatcher, and a client that speaks to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.allowances import Allowance, ClientRules
from sessionbridge.claude.pool.dispatcher import Dispatcher
from sessionbridge.config import Settings, load
from sessionbridge.model import Attempt, History, Origin
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.kept_conversations import KeptConversations
from sessionbridge.stored.seals import Seals
from sessionbridge.turns.admission import Admission
from sessionbridge.turns.background import Background
from sessionbridge.turns.bridge import NOT_LIMITED, Bridge
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from sessionbridge.turns.worker import Worker
from tests.support.scripted_dispatcher import ScriptedDispatcher

CLIENT_HELD = Origin("tests", "chat-1", "conversation", "client")
SERVER_HELD = Origin("goclaw", "agent:main:http:direct:ann", "user", "server")
LEARNT = Origin("sessionbridge", "chat-1", "conversation", "learn")

SETTINGS = load(
    {
        "sessionbridge_home": "unused",
        "sessionbridge_unkeyed": "stateless",
        "sessionbridge_live": 0,
        "sessionbridge_idle": 60,
        "sessionbridge_spare": 0,
        "sessionbridge_concurrency": 100,
        "sessionbridge_timeout": 60,
        "sessionbridge_first_token_timeout": 60,
        "sessionbridge_tool_wait": 60,
        "sessionbridge_retries": 0,
    },
    {},
)


@dataclass
class Answer:
    """What a client got; `whole` tells whether the response was completed."""

    exchange: Exchange
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The text of a JSON answer of the Messages API."""
        assert self.status == 200, self.body
        return "".join(block["text"] for block in self.json["content"])

    @property
    def events(self) -> list[str]:
        """The types of a Messages API stream's events."""
        lines = self.body.decode().splitlines()
        return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]


def body(messages: Sequence[tuple[str, str]] | str, **fields: Any) -> bytes:
    """A request of the Messages API; a string is the only message."""
    told = [("user", messages)] if isinstance(messages, str) else messages
    spoken = [{"role": role, "content": text} for role, text in told]
    return json.dumps({"model": "claude-x", "max_tokens": 9, "messages": spoken} | fields).encode()


NOT_AGAIN = Attempt()
NO_RULES = ClientRules()


async def ask(
    bridge: Bridge,
    request: bytes,
    origin: Origin | None = CLIENT_HELD,
    api: str = "messages",
    attempt: Attempt = NOT_AGAIN,
    rules: ClientRules = NO_RULES,
) -> Answer:
    answer = Answer(Exchange(api, origin, attempt, rules=rules))
    async with aclosing(bridge.handle(answer.exchange, request)) as parts:
        async for part in parts:
            match part:
                case Head():
                    assert not answer.status, "a second head"
                    answer.status, answer.headers = part.status, dict(part.headers)
                case Chunk():
                    assert answer.status and not answer.whole
                    answer.body += part.data
                    answer.whole = part.last
    return answer


def bridge(
    settings: Settings,
    store: StoreThread | None,
    dispatcher: ScriptedDispatcher,
    worker: Worker | None = None,
    conversations: KeptConversations | None = None,
    locks: Locks | None = None,
    allowance: Allowance = NOT_LIMITED,
    dispatchers: Callable[[str], Dispatcher | None] | None = None,
) -> Bridge:
    locks = locks or Home(settings.home).locks()
    admission = Admission(settings.concurrency, settings.queue)
    stands = store, dispatcher, locks, admission, worker or Worker(), Background()
    return Bridge(settings, *stands, conversations, allowance=allowance, dispatchers=dispatchers)


class House:
    """The bridge, and what a test needs to look behind it. `restart` makes it anew on the same
    file, as a proxy does that was stopped and started."""

    def __init__(self, home: Path, dispatcher: ScriptedDispatcher | None = None) -> None:
        self.settings = SETTINGS.model_copy(update={"home": home})
        self.dispatcher = dispatcher or ScriptedDispatcher()
        self.thread = self._thread()
        self.bridge = self._bridge()

    def _thread(self) -> StoreThread:
        return StoreThread(Home(self.settings.home), lambda: self.transcripts)

    @property
    def transcripts(self) -> Path:
        return self.settings.home / "transcripts"

    @property
    def conversations(self) -> KeptConversations:
        seals = Seals(self.settings.home, self.thread)
        return KeptConversations(
            self.thread, lambda: self.transcripts, self.settings.provider, seals
        )

    def _bridge(self) -> Bridge:
        kept = self.conversations
        return bridge(self.settings, self.thread, self.dispatcher, conversations=kept)

    def change(self, **settings: Any) -> None:
        self.settings = self.settings.model_copy(update=settings)
        self.bridge = self._bridge()

    def restart(self) -> None:
        self.thread.close()
        self.thread = self._thread()
        self.bridge = self._bridge()

    def lose_database(self) -> None:
        """What is beside the transcripts stays."""
        self.thread.close()
        for file in self.settings.home.glob("session_map.db*"):
            file.unlink()
        self.restart()

    def lose_everything(self) -> None:
        self.dispatcher.sessions.clear()
        shutil.rmtree(self.transcripts, ignore_errors=True)
        self.lose_database()

    async def ask(self, messages: Sequence[tuple[str, str]] | str, **fields: Any) -> Answer:
        origin = fields.pop("origin", CLIENT_HELD)
        return await ask(self.bridge, body(messages, **fields), origin)

    def ledger(self) -> SessionStore:
        """A second view of the database, to be closed by the caller."""
        return SessionStore.open(Home(self.settings.home).database)

    def turns(self) -> int:
        store = self.ledger()
        try:
            return sum(row.turns for row in store.costs("day"))
        finally:
            store.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.thread.close()


@asynccontextmanager
async def housed(home: Path) -> AsyncIterator[House]:
    made = House(home)
    try:
        yield made
    finally:
        made.thread.close()


def held(history: History) -> Origin:
    return Origin("tests", "chat-1", "conversation", history)
