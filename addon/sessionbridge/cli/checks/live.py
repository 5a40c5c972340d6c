"""Turns with the model, through the proxy that runs: the only check that costs money."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sessionbridge.cli.checks.finding import Finding
from sessionbridge.cli.mitm import HOST
from sessionbridge.cli.running_bridge import API_HOST, NoBridge, check_ca, mode_at
from sessionbridge.client_tokens import token as known_token
from sessionbridge.sessions.reports.sums import money

_CHECK = "Live turn"
_MODEL = "haiku"
_PATIENCE = 120.0
"""Seconds, as for any turn."""

_SESSION = "doctor"

TOKEN = "SESSIONBRIDGE_TOKEN"
"""The variable; a command line is for everybody to read."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """`plan` is empty for an answer that is not the bridge's."""

    status: int
    document: Any
    plan: str
    cost: str
    seconds: float

    @property
    def text(self) -> str:
        return "".join(block.get("text", "") for block in self.document["content"])

    @property
    def model(self) -> str:
        return str(self.document["model"])


def check_live(port: int, ca: Path, turns: int, token: str = "") -> list[Finding]:
    """The conversation is `doctor`, which is begun anew each time; its second turn can be answered
    from memory alone. `token` is a client's, where one is needed."""
    if token and not known_token(token).id:
        found_out = f"not made: what stands in {TOKEN} is no token of a client's"
        return [Finding(_CHECK, "problem", found_out, "Put there what  clients add  has printed.")]
    name = f"Ada{secrets.token_hex(3)}"
    try:
        told = _ask(port, ca, token, f"My name is {name}. Answer with one word.", anew=True)
        if problem := _problem(told, port):
            return [problem]
        found = [
            Finding(_CHECK, "ok", f"{told.model} answered in {told.seconds:.1f} s, {told.cost}")
        ]
        if turns == 2:
            asked = _ask(
                port, ca, token, "What is my name? Answer with the name alone.", anew=False
            )
            found.append(_problem(asked, port) or _memory(asked, name))
    except NoBridge as error:
        return [Finding(_CHECK, "problem", f"not made: {error}", "Start the proxy, and try again.")]
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        found_out = f"no answer of the API's came back ({type(error).__name__})"
        return [Finding(_CHECK, "problem", found_out, "See the proxy's log.")]
    return found


def _problem(answer: _Answer, port: int) -> Finding | None:
    if answer.status != 200:
        said = str(answer.document["error"]["message"])
        advice = "Do what it says, and try again; the proxy's log may tell more."
        if answer.status == 401:
            advice += f" Doctor sends the token that stands in {TOKEN}."
        return Finding(_CHECK, "problem", f"{answer.status}: {said}", advice)
    if not answer.plan:
        found = f"the proxy at {port} passed the turn on to the API"
        return Finding(_CHECK, "problem", found, "Start it with the addon: sessionbridge run")
    return None


def _memory(answer: _Answer, name: str) -> Finding:
    told = f"{answer.plan}, in {answer.seconds:.1f} s, {answer.cost}"
    if name in answer.text:
        return Finding("Live memory", "ok", f"the second turn knew the first: {told}")
    found = f"the second turn did not know the first: {told}"
    advice = "See  sessionbridge sessions show doctor  and whether SESSIONBRIDGE_MAPPER is off."
    return Finding("Live memory", "problem", found, advice)


def _ask(port: int, ca: Path, token: str, text: str, *, anew: bool) -> _Answer:
    message = {"role": "user", "content": text}
    body = {"model": _MODEL, "max_tokens": 100, "messages": [message]}
    headers = {
        "content-type": "application/json",
        "x-api-key": "doctor",
        "x-sessionbridge-session": _SESSION,
        "x-sessionbridge-new": "yes" if anew else "no",
        **({"x-sessionbridge-token": token} if token else {}),
    }
    connection = _connection(port, ca)
    began = time.monotonic()
    try:
        connection.request("POST", "/v1/messages", json.dumps(body), headers)
        response = connection.getresponse()
        document = json.loads(response.read())
    finally:
        connection.close()
    plan = [response.headers.get(f"x-sessionbridge-{part}", "") for part in ("plan", "reason")]
    cost = response.headers.get("x-sessionbridge-cost-usd")
    told = "cost not told" if cost is None else f"${money(float(cost))}"
    return _Answer(
        response.status, document, " ".join(plan).strip(), told, time.monotonic() - began
    )


def _connection(port: int, ca: Path) -> http.client.HTTPConnection:
    if mode_at(port) == "reverse":
        return http.client.HTTPConnection(HOST, port, timeout=_PATIENCE)
    check_ca(port, ca)
    context = ssl.create_default_context(cafile=ca)
    connection = http.client.HTTPSConnection(HOST, port, context=context, timeout=_PATIENCE)
    connection.set_tunnel(API_HOST, 443)
    return connection
