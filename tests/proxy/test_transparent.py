"""Transparent mode, where the system leads connections to the proxy: those of other machines, and
those of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openai
import pytest

from tests.end_to_end.test_websocket import ended
from tests.support.documents import DOCS
from tests.support.greeter import GREETING, greeter
from tests.support.known_clients import add_client
from tests.support.network import CLIENT, FAR, GATEWAY, NOBODY, Network, network
from tests.support.proxy import TOOLS, Proxy, environment, free_port, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer, user

HOME = "127.0.0.1"
API = "198.51.100.7"
"""Where api.anthropic.com is; nobody is there (RFC 5737)."""

_RULES = re.compile(r"<<'END'\n(.*?)^END$", re.S | re.M)

DIRECT = f"""
def server_connect(data):
    if data.server.address[0] == "{API}":
        data.server.address = ("{FAR}", 443)
"""
"""Leads what the proxy itself sends past the redirect, as mitmproxy does in local mode."""


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def near(net: Network) -> Iterator[ScriptedServer]:
    """The scripted API on the proxy's machine."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, net: Network, near: ScriptedServer
) -> Iterator[Proxy]:
    """Where the client's way leads."""
    with started(
        tmp_path_factory.mktemp("gateway"), near.url, at=GATEWAY, allow_remote="true"
    ) as proxy:
        lead(net, proxy)
        yield proxy


def lead(net: Network, proxy: Proxy) -> None:
    """What the client sends, to this proxy; mail too."""
    led = documented("others", proxy).replace('"lan0"', "to_client")
    net.redirect(led.replace("80, 443", "25, 80, 443"))


def documented(chain: str, proxy: Proxy) -> str:
    """The table of nftables that docs/modes.md shows with this chain."""
    shown = (DOCS / "modes.md").read_text("utf-8")
    (table,) = [table for table in _RULES.findall(shown) if f"chain {chain} " in table]
    return str(table).replace(":8080", f":{proxy.ports[0]}")


def started(
    home: Path, api_url: str, *arguments: str, at: str = "127.0.0.1", **options: str
) -> Any:
    mode = f"transparent@{at}:{free_port()}"
    reachable = {"RECORDER_REACHABLE": f"{FAR} {API}"}
    return running_proxy(home, api_url, "--mode", mode, *arguments, options=options, env=reachable)


type Result = subprocess.CompletedProcess[str]


def curl(proxy: Proxy, *arguments: str, via: Sequence[str] = ()) -> Result:
    command = ["curl", "--silent", "--show-error", "--max-time", "30", "--cacert"]
    command += [str(proxy.home / "mitm" / "mitmproxy-ca-cert.pem")]
    command += ["--resolve", f"api.anthropic.com:443:{API}", *arguments]
    return subprocess.run(
        [*via, *command], capture_output=True, text=True, env=environment(proxy.home), timeout=60
    )


def asked(name: str, words: str, *headers: str) -> Sequence[str]:
    body = {"model": "sonnet", "max_tokens": 9, "messages": [user(words)]}
    headers = ("content-type: application/json", f"x-openclaw-session: {name}", *headers)
    given = [part for header in headers for part in ("--header", header)]
    return *given, "--data", json.dumps(body), "https://api.anthropic.com/v1/messages"


def said(result: Result) -> str:
    answer: Any = json.loads(result.stdout)
    return str(answer["content"][0]["text"] if "content" in answer else answer["error"]["message"])


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_another_machines_tools_are_bridged(gateway: Proxy, net: Network, version: str) -> None:
    name = f"behind{version}"
    token = f"x-api-key: {add_client(gateway.database.parent, name.replace('/', '-'))}"
    result = curl(gateway, version, *asked(name, "My name is Ann.", token), via=net.at_the_client())
    assert said(result) == "Nice to meet you, Ann!"
    (flow,) = gateway.bridged(name, 1)
    assert flow["url"] == "https://api.anthropic.com/v1/messages"
    assert gateway.connected_hosts() <= {"127.0.0.1", FAR}


async def test_so_is_a_websocket(gateway: Proxy, net: Network) -> None:
    options: Any = {"proxy": None, "ssl": gateway.tls(), "host": API}
    with net.clients_sockets():
        async with (
            openai.AsyncOpenAI(api_key=add_client(gateway.database.parent)) as client,
            client.responses.connect(
                extra_headers={"x-sessionbridge-session": "socket"},
                websocket_connection_options=options,
            ) as connection,
        ):
            await connection.response.create(model="gpt-5", input="My name is Eve.")
            said = [event async for event in ended(connection)]
    assert said[-1].response.output_text == "Nice to meet you, Eve!"
    assert gateway.connected_hosts() <= {"127.0.0.1", FAR}


@pytest.mark.parametrize("port", [25, 443])
def test_servers_that_speak_first_are_heard(gateway: Proxy, net: Network, port: int) -> None:
    with greeter(FAR, port):
        words = ("bash", "-c", f"exec 3<>/dev/tcp/{FAR}/{port} && head -c {len(GREETING)} <&3")
        heard = subprocess.run(net.at_the_client(*words), capture_output=True, timeout=30)
    assert heard.stdout == GREETING


def test_without_leave_other_machines_are_told_why(
    tmp_path: Path, gateway: Proxy, net: Network, near: ScriptedServer
) -> None:
    with started(tmp_path, near.url, at=GATEWAY) as proxy:
        lead(net, proxy)
        told = said(curl(proxy, *asked("refused", "Hi"), via=net.at_the_client()))
        lead(net, gateway)
    for part in (CLIENT, "transparent mode", "sessionbridge_allow_remote"):
        assert part in told


@pytest.fixture
def front(tmp_path: Path, net: Network, near: ScriptedServer) -> Iterator[None]:
    """The scripted API by TLS, as the real one is reached."""
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "front.log").open("wb"))
        command = [str(TOOLS / "mitmdump"), "--mode", f"reverse:{near.url}@{FAR}:443"]
        command += ["--set", f"confdir={tmp_path / 'front'}"]
        process = stack.enter_context(
            subprocess.Popen(command, env=environment(tmp_path), stdout=log, stderr=log)
        )
        stack.callback(process.terminate)
        listening = ["bash", "-c", f"exec 3<>/dev/tcp/{FAR}/443"]
        wait_for(lambda: not subprocess.run(listening, capture_output=True).returncode, "TLS")
        yield


@pytest.fixture
def own(
    tmp_path: Path, net: Network, near: ScriptedServer, front: None, request: Any
) -> Iterator[Proxy]:
    """A proxy that is led to what its own machine sends to the API, but what it sends itself."""
    script = tmp_path / "direct.py"
    script.write_text(DIRECT)
    arguments = ["--set", "ssl_insecure=true"]
    if getattr(request, "param", "left out") == "left out":
        arguments += ["-s", str(script)]
    with started(tmp_path, f"https://{API}", *arguments) as proxy:
        led = documented("own", proxy).replace("meta skuid != sessionbridge", f"ip daddr {API}")
        net.redirect(led)
        yield proxy


def test_what_this_machine_sends_is_bridged_the_clis_own_calls_are_not(own: Proxy) -> None:
    assert said(curl(own, *asked("own", "My name is Bo."))) == "Nice to meet you, Bo!"
    assert own.bridged("own", 1)[0]["url"] == "https://api.anthropic.com/v1/messages"
    (call,) = [flow for flow in own.flows() if flow["url"].startswith(f"https://{API}/")]
    assert (call["status"], call["metadata"]) == (200, None)


def test_the_dashboard_is_found_by_its_name(own: Proxy) -> None:
    found = ("--resolve", f"sessionbridge.local:80:{API}", "http://sessionbridge.local/metrics")
    assert "sessionbridge_" in curl(own, *found).stdout
    assert own.connected_hosts() == set()


@pytest.mark.parametrize("own", ["not left out"], indirect=True)
def test_a_redirect_that_leaves_nobody_out_says_so(own: Proxy) -> None:
    told = said(curl(own, *asked("loop", "Hi")))
    assert "back to the proxy" in told and "meta skuid" in told
    assert "back to the proxy" in own.log


def test_what_another_user_sends_is_led_by_the_users_rule(
    tmp_path: Path, net: Network, near: ScriptedServer
) -> None:
    """The rule of the documentation: all but the proxy's user."""
    with started(tmp_path, near.url) as proxy, TemporaryDirectory() as readable:
        Path(readable).chmod(0o755)
        copied = shutil.copy(tmp_path / "mitm" / "mitmproxy-ca-cert.pem", readable)
        net.redirect(documented("own", proxy).replace("!= sessionbridge", "!= root"))
        other = ("setpriv", f"--reuid={NOBODY}", "--clear-groups")
        question = ("--cacert", copied, *asked("user", "My name is Di."))
        assert said(curl(proxy, *question, via=other)).endswith("Di!")
        assert proxy.connected_hosts() == {"127.0.0.1"}
