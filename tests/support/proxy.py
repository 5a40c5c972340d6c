"""A real mitmdump with the addon, as a subprocess with a home and an environment of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai

from tests.support import warm_start
from tests.support.warm_start import Process

ROOT = Path(__file__).parent.parent.parent
DOOR = ROOT / "addon" / "sessionbridge.py"
TOOLS = Path(sys.executable).parent

_LISTENING = re.compile(r"(?:listening at (?:\S+ )?[\d.]+:|TUN interface started\.)(\d*)")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running mitmdump. `ports` are those of its modes, in the order they were given; that of a
    TUN interface is 0."""

    process: Process
    ports: Sequence[int]
    home: Path
    log_file: Path
    record: Path
    clients: ExitStack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    @property
    def database(self) -> Path:
        return self.home / "bridge" / "session_map.db"

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.home / "mitm" / "mitmproxy-ca-cert.pem")

    def http(self, **options: Any) -> httpx.Client:
        client = httpx.Client(
            proxy=self.url, verify=self.tls(), timeout=30, trust_env=False, **options
        )
        return self.clients.enter_context(client)

    def anthropic(self, headers: Mapping[str, str], *, http2: bool = False) -> anthropic.Anthropic:
        client = anthropic.Anthropic(
            api_key="sk-ant-client-key",
            max_retries=0,
            default_headers=headers,
            http_client=anthropic.DefaultHttpxClient(
                proxy=self.url, verify=self.tls(), http2=http2, trust_env=False
            ),
        )
        return self.clients.enter_context(client)

    def openai(self, headers: Mapping[str, str], *, http2: bool = False) -> openai.OpenAI:
        client = openai.OpenAI(
            api_key="sk-client-key",
            max_retries=0,
            default_headers=headers,
            http_client=openai.DefaultHttpxClient(
                proxy=self.url, verify=self.tls(), http2=http2, trust_env=False
            ),
        )
        return self.clients.enter_context(client)

    def recorded(self) -> list[dict[str, Any]]:
        text = self.record.read_text("utf-8") if self.record.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def flows(self) -> list[dict[str, Any]]:
        return [line for line in self.recorded() if "url" in line]

    def bridged(self, external_id: str, count: int) -> list[dict[str, Any]]:
        """The first `count` finished flows of one conversation; waits for them, because a client
        may have its answer before mitmproxy has ended the flow."""

        def found() -> list[dict[str, Any]] | None:
            flows = [flow for flow in self.flows() if flow["metadata"]]
            ours = [flow for flow in flows if flow["metadata"].get("external_id") == external_id]
            return ours if len(ours) >= count else None

        return wait_for(found, f"{count} flows of {external_id}")

    def connected_hosts(self) -> set[str]:
        return {line["server_connect"] for line in self.recorded() if "server_connect" in line}

    def children(self) -> list[int]:
        """The CLI processes it runs now."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]


def environment(home: Path) -> dict[str, str]:
    """An allow-list: nothing of the machine's keys, tokens, proxies or Claude login gets in."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home / "claude"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def running_proxy(
    home: Path,
    api_url: str,
    *arguments: str,
    options: Mapping[str, str | Sequence[str]] | None = None,
    env: Mapping[str, str] | None = None,
    door: Path | None = DOOR,
    recorded: bool = True,
    tool: str = "mitmdump",
) -> Iterator[Proxy]:
    """Starts mitmdump, or another `tool` of mitmproxy's, waits until it listens, and ends it.
    `options` are `sessionbridge_…` ones; further `arguments` are mitmproxy's own."""
    command = [str(TOOLS / tool), *(["-s", str(door)] if door else [])]
    # After the door, because scripts are called in order and it is to see what that one did.
    command += ["-s", str(ROOT / "tests" / "support" / "recorder.py")] if recorded else []
    command += ["--listen-host", "127.0.0.1", "--set", f"confdir={home / 'mitm'}"]
    if "--mode" not in arguments:
        command += ["--listen-port", "0"]
    settings: dict[str, str | Sequence[str]] = {
        "home": str(home / "bridge"),
        "claude_env": ["ANTHROPIC_AUTH_TOKEN=dummy", f"ANTHROPIC_BASE_URL={api_url}"],
        "retries": "0",
        "spare": "0",  # most tests ask for one new conversation or none
    }
    if door:
        for name, values in (settings | dict(options or {})).items():
            for value in [values] if isinstance(values, str) else values:
                command += ["--set", f"sessionbridge_{name}={value}"]
    command += arguments
    log_file = home / f"mitmdump-{len(list(home.glob('mitmdump-*')))}.log"
    record = home / "record.jsonl"
    variables = environment(home) | {"RECORDER_FILE": str(record)} | dict(env or {})
    with log_file.open("wb") as log:
        process = _started(command, home, variables, log.fileno())
    try:
        count = max(1, arguments.count("--mode"))
        ports = wait_for(lambda: _ports(process, log_file, count), "mitmdump to listen", timeout=60)
        with ExitStack() as clients:
            yield Proxy(process, ports, home, log_file, record, clients)
    finally:
        stop(process)


def _started(command: Sequence[str], home: Path, variables: Mapping[str, str], log: int) -> Process:
    is_mitmdump = Path(command[0]).name == "mitmdump"
    if is_mitmdump and (process := warm_start.start(command, home, variables, log)):
        return process
    return subprocess.Popen(command, cwd=home, env=variables, stdout=log, stderr=subprocess.STDOUT)


def stop(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _ports(process: Process, log_file: Path, count: int) -> list[int] | None:
    log = log_file.read_text("utf-8", "replace")  # a full disk cuts it anywhere
    assert process.poll() is None, f"mitmdump ended:\n{log}"
    found = [int(port or 0) for port in _LISTENING.findall(log)]
    return found if len(found) >= count else None


def wait_for[T](condition: Callable[[], T | None], what: str, timeout: float = 20) -> T:
    """The condition's first true value; fails with `what` when none has come in time."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.02)
    return value


def said(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
