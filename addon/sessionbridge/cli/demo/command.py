"""`sessionbridge demo`: the whole bridge at work without an account.

A scripted Messages API on loopback takes the place of the real one. Everything else is real: the
Claude CLI, mitmproxy, TLS, and two clients that know nothing of the bridge.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from sessionbridge.claude import work_dirs
from sessionbridge.cli.cost import show_costs
from sessionbridge.cli.demo.scripted_api import ScriptedApi, remembers_names
from sessionbridge.cli.mitm import HOST, Mitm
from sessionbridge.sessions.store.places import VARIABLE, Home

QUESTIONS = ("My name is Bob.", "What is my name?")
_PATIENCE = 60.0


@dataclass(slots=True)
class DemoClient:
    """A program that speaks one of the APIs. `resends` tells whether it sends its history along."""

    name: str
    host: str
    path: str
    header: str
    model: str
    resends: bool
    history: list[dict[str, str]] = field(default_factory=list)

    def body(self, question: str) -> dict[str, Any]:
        message = {"role": "user", "content": question}
        messages = [*self.history, message] if self.resends else [message]
        return {"model": self.model, "max_tokens": 256, "messages": messages}


CLIENTS = (
    ("OpenClaw", "api.anthropic.com", "/v1/messages", "X-OpenClaw-Session", "sonnet", True),
    ("GoClaw", "api.openai.com", "/v1/chat/completions", "X-GoClaw-User-Id", "gpt-4o", False),
)


@click.command(epilog="Example: sessionbridge demo --once")
@click.option("--once", is_flag=True, help="End after the two turns instead of leaving mitmweb up.")
@click.option("--port", type=int, default=0, help="Port of the proxy (default: a free one).")
@click.option("--web-port", type=int, default=0, help="Port of mitmweb (default: a free one).")
def demo(once: bool, port: int, web_port: int) -> None:
    """Show the bridge at work without an account.

    Two clients are remembered, with the real Claude CLI and a scripted API. Needs no account and
    makes no connection to the outside."""
    try:
        asyncio.run(_demo(once, port, web_port))
    except KeyboardInterrupt:
        click.echo("Stopped.")


async def _demo(once: bool, port: int, web_port: int) -> None:
    console = Console()
    async with bridged_demo(port, web_port, console) as mitm:
        show_costs(Home(mitm.home))
        if not once:
            console.print(f"mitmweb is open at [bold]{mitm.web_url}[/bold] (Ctrl-C to end)")
            await asyncio.Event().wait()


@asynccontextmanager
async def bridged_demo(
    port: int = 0, web_port: int = 0, console: Console | None = None
) -> AsyncIterator[Mitm]:
    """A mitmweb in which both clients have had their two turns."""
    console = console or Console()
    with tempfile.TemporaryDirectory(prefix="sessionbridge-demo-") as name:
        home = Path(name)
        api = ScriptedApi(remembers_names)
        mitm = Mitm(
            home=home / "bridge",
            dump=False,
            port=port or _free_port(),
            web_port=web_port or _free_port(),
            confdir=home / "mitmproxy",
            options={"claude_env": _claude_env(home, api.url)},
        )
        console.print(f"Scripted API [bold]{api.url}[/bold], proxy [bold]{mitm.proxy_url}[/bold]")
        async with _running(mitm, home):
            for client in (DemoClient(*row) for row in CLIENTS):
                with console.status(f"{client.name} asks twice …"):
                    table = await _conversation(client, mitm)
                console.print(table)
            yield mitm
        await api.close()
    work_dirs.sweep()


def _claude_env(home: Path, api_url: str) -> list[str]:
    """A Claude of its own: the user's login and settings are neither used nor touched."""
    return [
        f"HOME={home}",
        f"CLAUDE_CONFIG_DIR={home / 'claude'}",
        f"ANTHROPIC_BASE_URL={api_url}",
        "ANTHROPIC_API_KEY",
    ]


@asynccontextmanager
async def _running(mitm: Mitm, home: Path) -> AsyncIterator[None]:
    log = home / "mitmweb.log"
    # No database that nodes share is touched either.
    environment = os.environ | {"ANTHROPIC_API_KEY": "demo", VARIABLE: ""}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *mitm.command(), stdout=output, stderr=output, env=environment, cwd=home
        )
    try:
        async with asyncio.timeout(_PATIENCE):
            while not (mitm.ca.exists() and _listens(mitm.port)):
                if process.returncode is not None:
                    raise click.ClickException(f"mitmweb ended:\n{log.read_text()}")
                await asyncio.sleep(0.1)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _conversation(client: DemoClient, mitm: Mitm) -> Table:
    title = f"{client.name} · https://{client.host}{client.path}"
    table = Table(title=title, title_justify="left", caption_justify="left")
    for heading in ("Said", "Answer", "Plan", "Tokens"):
        table.add_column(heading, no_wrap=True)
    for question in QUESTIONS:
        answer, headers = await asyncio.to_thread(_ask, client, mitm, question)
        client.history += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        table.add_row(question, answer, *_facts(headers))
        table.caption = f"Claude session {headers['x-sessionbridge-session']}"
    return table


def _ask(client: DemoClient, mitm: Mitm, question: str) -> tuple[str, dict[str, str]]:
    context = ssl.create_default_context(cafile=mitm.ca)
    connection = http.client.HTTPSConnection(HOST, mitm.port, context=context, timeout=_PATIENCE)
    connection.set_tunnel(client.host, 443)
    headers = {client.header: "demo", "content-type": "application/json", "x-api-key": "demo"}
    try:
        connection.request("POST", client.path, json.dumps(client.body(question)), headers)
        response = connection.getresponse()
        document = json.loads(response.read())
    finally:
        connection.close()
    if response.status != 200:
        raise click.ClickException(f"{client.name}: {response.status} {document}")
    return _text(document), {name.lower(): value for name, value in response.getheaders()}


def _text(document: dict[str, Any]) -> str:
    if "choices" in document:
        return str(document["choices"][0]["message"]["content"])
    return "".join(block["text"] for block in document["content"])


def _facts(headers: dict[str, str]) -> tuple[str, ...]:
    ours = {name.removeprefix("x-sessionbridge-"): value for name, value in headers.items()}
    counts = dict(pair.split("=") for pair in ours["usage"].split(", "))
    cache = f"{counts['cache_read_input_tokens']}+{counts['cache_creation_input_tokens']}"
    tokens = f"{counts['input_tokens']}/{counts['output_tokens']}/{cache}"
    return f"{ours['plan']} ({ours['reason']})", tokens


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
