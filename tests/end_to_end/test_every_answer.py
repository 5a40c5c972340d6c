"""Every answer of the model by every API through real parts: the client gets it, the model sees in
the next turns what the client has sent, each request is one call of the model, and the ledger has
what was used.

Each conversation gets the answer whole, then once more as a stream, and goes on when the proxy has
been restarted. An answer that the newest package knows and the table does not fails here.

By default each way to end, and each kind of content and input, is taken through one of the clients
in turn; with the environment variable `EVERY_CLIENT=1` all through all.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import openai
import pytest
from anthropic import types
from pydantic import BaseModel

from sessionbridge.claude.prices import list_price
from sessionbridge.cli.demo.scripted_api import Call, Reply
from sessionbridge.model import Usage
from tests.support.answer_clients import CLIENTS
from tests.support.answer_table import END, ROWS, SEARCHES, USAGE, USAGE_LAST, Block, text
from tests.support.proxy import Proxy, running_proxy
from tests.support.scripted_api import ScriptedServer
from tests.support.tools_stage import chosen
from tests.support.whole_requests import messages

Told = list[tuple[str, list[Block]]]

AT_ONCE = 3
SEARCH = 0.01
"""US dollars, as the CLI counts a search on the web."""
# Responses has no stop sequences.
EVERY = [
    (row, client)
    for row in ROWS
    for client in CLIENTS
    if not (ROWS[row].sequence and client.startswith("responses"))
]
ENDS = {
    "a text",
    "nothing",
    "thoughts alone",
    "a limit in a text",
    "a limit in a call",
    "calls",
    "a stop sequence of the API",
    "a refusal with a text",
    "a pause",
    "a full window",
}
OTHERS = [row for row in ROWS if row not in ENDS]
# How each is told by each API, `tests.apis.test_answers_as_told` has.
WAYS = ("chat", "responses chain", "messages", "responses")
CUT = ("a limit in a call", "responses chain")
"""What is not kept here is refused when it comes back."""
FEW = [(row, WAYS[n % len(WAYS)]) for n, row in enumerate(sorted(ENDS))]
FEW += [CUT, ("a limit in a call", "messages")]
for number, other in enumerate(OTHERS):
    able = [case for case in EVERY if case[0] == other]
    FEW.append(able[number % len(able)])
CASES = chosen(list(dict.fromkeys(FEW)), EVERY)
KEPT = [case for case in CASES if case != CUT]


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model had to be `shown`, the `calls` it got, and what the client was `told`."""

    shown: Told
    calls: Sequence[Call]
    told: Mapping[str, Any]


class Talk:
    """One conversation, told as the model has to see it. `failure` ends it."""

    def __init__(self, api: ScriptedServer, row: str, client: str, *more: str) -> None:
        self.name = " ".join((row, "by", client, *more))
        self.client = CLIENTS[client](self.name, ROWS[row])
        self.turns: list[Turn] = []
        self.failure: Exception | None = None
        self._api = api
        self._told: Told = []

    def take(self, proxy: Proxy, turns: Sequence[int]) -> None:
        """The first turn gets the row's answer whole, the second as a stream."""
        try:
            self.client.connect(proxy)
            for turn in turns if self.failure is None else ():
                self._turn(turn)
        except Exception as error:
            self.failure = error

    def _turn(self, turn: int) -> None:
        before = len(self._api.heard(f"({self.name})"))
        answer = self.client.row.command(turn) if turn < 3 else END
        words, stream = f"Turn {turn} é𝄞 ({self.name}) {answer}", turn == 2
        if calls := self.client.calls:
            results = {id_: f"Found for {id_}: {words}" for id_ in calls}
            self._told.append(("user", [_result(*one) for one in results.items()]))
            self.client.give(results, stream=stream)
        else:
            self._told.append(("user", [text(words)]))
            self.client.ask(words, stream=stream)
        made = self._api.heard(f"({self.name})")[before:]
        self.turns.append(Turn([*self._told], made, self.client.told))
        self._told.append(("assistant", self.client.said))


def _result(id_: str, words: str) -> Block:
    return {"type": "tool_result", "tool_use_id": id_, "content": [text(words)]}


@dataclass(frozen=True, slots=True)
class Taken:
    """All conversations, and the ledger's entries of each, oldest first."""

    talks: Mapping[str, Talk]
    ledger: Mapping[str, list[Mapping[str, Any]]]

    def talk(self, row: str, client: str) -> Talk:
        talk = self.talks[f"{row} by {client}"]
        if talk.failure is not None:
            raise talk.failure
        return talk


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Taken:
    """Several at once: one proxy takes two turns of each, the next one a third."""
    home = tmp_path_factory.mktemp("answers")
    talks = [Talk(api, *case) for case in CASES]
    for turns in ((1, 2), (3,)):
        with running_proxy(home, api.url) as proxy, ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(partial(Talk.take, proxy=proxy, turns=turns), talks))
    return Taken({talk.name: talk for talk in talks}, _ledger(proxy.database))


def _ledger(database: Path) -> Mapping[str, list[Mapping[str, Any]]]:
    found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    with closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        for row in db.execute("SELECT * FROM turns ORDER BY id"):
            found[row["external_id"]].append(dict(row))
    return found


def the_client_gets_it(taken: Taken, row: str, client: str) -> None:
    talk = taken.talk(row, client)
    whole, stream, _ = talk.turns
    assert whole.told == talk.client.expected(1)
    assert stream.told == talk.client.expected(2)


def a_request_is_one_call_of_the_model(
    taken: Taken, row: str, client: str, alone: Callable[[str, str], Talk]
) -> None:
    """Where the CLI would ask again by itself it is ended. That comes too late now and then while
    others keep the machine busy: then the conversation is held once more, alone."""
    calls = [len(turn.calls) for turn in taken.talk(row, client).turns]
    if calls != [1, 1, 1] and not ROWS[row].ends:
        calls = [len(turn.calls) for turn in alone(row, client).turns]
    assert calls == [1, 1, 1]


def the_model_sees_what_was_sent(taken: Taken, row: str, client: str) -> None:
    talk = taken.talk(row, client)
    for turn in talk.turns:
        shown = plain(messages(turn.calls[0]), talk.client.unseen)
        told = calls_last(plain(turn.shown, talk.client.unseen))
        assert as_doubles(shown) == as_doubles(told)


def the_ledger_has_it(taken: Taken, row: str, client: str) -> None:
    talk = taken.talk(row, client)
    entries, status = taken.ledger[talk.name], ROWS[row].status
    assert [entry["status"] for entry in entries] == [status, status, "end_turn"]
    assert [_counts(entry) for entry in entries] == [_used(turn.calls[0]) for turn in talk.turns]
    listed = sum(list_price(entry["model"], _counts(entry)) or 0 for entry in entries)
    searched = 2 * SEARCHES * SEARCH if ROWS[row].ends else 0
    costs = [entry["cost_usd"] for entry in entries]
    assert sum(costs) == pytest.approx(listed + searched), (costs, entries)


def test_every_answer(
    taken: Taken, tmp_path: Path, api: ScriptedServer, subtests: pytest.Subtests
) -> None:
    """All in one, so that no two processes hold the conversations."""

    def alone(row: str, client: str) -> Talk:
        talk = Talk(api, row, client, "alone")
        home = tmp_path / talk.name.replace(" ", "-")
        home.mkdir()
        with running_proxy(home, api.url) as proxy:
            talk.take(proxy, (1, 2, 3))
        return talk

    for row, client in KEPT:
        with subtests.test("the client gets it", row=row, client=client):
            the_client_gets_it(taken, row, client)
        with subtests.test("a request is one call of the model", row=row, client=client):
            a_request_is_one_call_of_the_model(taken, row, client, alone)
        with subtests.test("the model sees what was sent", row=row, client=client):
            the_model_sees_what_was_sent(taken, row, client)
        with subtests.test("the ledger has it", row=row, client=client):
            the_ledger_has_it(taken, row, client)
    with subtests.test("the result of a call that was cut off is refused"):
        the_result_of_a_call_that_was_cut_off_is_refused_where_it_is_not_kept(taken)


def the_result_of_a_call_that_was_cut_off_is_refused_where_it_is_not_kept(taken: Taken) -> None:
    with pytest.raises(openai.BadRequestError, match="answer no call that is known here"):
        taken.talk(*CUT)


def plain(told: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], unseen: Sequence[str]) -> Told:
    """Comparable, and every character of it: neighbours of one role together, an assistant's text
    in one piece, without marks that no client sends."""
    runs: Told = []
    for role, blocks in told:
        kept = [{**block} for block in blocks if block["type"] not in unseen]
        if kept and (not runs or runs[-1][0] != role):
            runs.append((role, []))
        for block in kept:
            for mark in ("cache_control", "citations"):
                block.pop(mark, None)
            if isinstance(block.get("content"), str):
                block["content"] = [text(block["content"])]
            last = runs[-1][1][-1] if runs[-1][1] else {}
            if role == "assistant" and block["type"] == last.get("type") == "text":
                last["text"] += block["text"]
            else:
                runs[-1][1].append(block)
    return runs


def calls_last(told: Told) -> Told:
    """The CLI shows a text before the calls that it came after."""
    return plain([(role, sorted(blocks, key=_is_call)) for role, blocks in told], ())


def _is_call(block: Mapping[str, Any]) -> bool:
    return bool(block["type"] == "tool_use")


def as_doubles(told: Told) -> Any:
    """The CLI knows no other numbers."""
    return json.loads(json.dumps(told), parse_int=float)


def _counts(entry: Mapping[str, Any]) -> Usage:
    return Usage(**{name: entry[name] or 0 for name in Usage.__dataclass_fields__})


def _used(call: Call) -> Usage:
    """What the API has told."""
    assert isinstance(call.reply, Reply)
    told: dict[str, Any] = {**call.reply.usage.told, **call.reply.told, **call.reply.told_last}
    hour = told.get("cache_creation", {}).get("ephemeral_1h_input_tokens", 0)
    return _counts(defaultdict(int, told, cache_creation_1h_input_tokens=hour))


# -- completeness ---------------------------------------------------------------------------------


def test_every_row_and_every_end_is_taken() -> None:
    assert {row for row, _ in CASES} == {*ROWS}
    assert {ROWS[row].stop_reason for row in ENDS} == {*get_args(types.StopReason)}


def test_the_table_has_all_reasons_to_stop() -> None:
    assert {row.stop_reason for row in ROWS.values()} == {*get_args(types.StopReason)}


def test_the_table_has_all_blocks() -> None:
    told = {block["type"] for row in ROWS.values() for block in row.content}
    assert told == {*_kinds(types.ContentBlock)}


def test_the_scripted_api_has_all_deltas() -> None:
    assert {*_kinds(types.RawContentBlockDelta)} == {
        "text_delta",
        "citations_delta",
        "input_json_delta",
        "thinking_delta",
        "signature_delta",
    }


@pytest.mark.parametrize(
    "told, kind", [(USAGE, types.Usage), (USAGE_LAST, types.MessageDeltaUsage)]
)
def test_the_table_has_all_fields_of_the_usage(told: Any, kind: type[BaseModel]) -> None:
    assert told.keys() == kind.model_fields.keys()
    for name, field in kind.model_fields.items():
        for part in get_args(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                assert told[name].keys() == part.model_fields.keys()


def _kinds(union: Any) -> Iterator[str]:
    """The words by which the members of a union are told apart."""
    for member in get_args(get_args(union)[0]):
        yield from get_args(member.model_fields["type"].annotation)
