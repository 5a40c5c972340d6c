"""TUN, WireGuard and HTTP/3: each bridges, and connects to nobody for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.http3 import post
from tests.support.known_clients import add_client
from tests.support.network import GATEWAY, Network, network
from tests.support.proxy import Proxy, environment, free_port, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer, user

API = "198.51.100.7"
"""Where api.anthropic.com is; nobody is there (RFC 5737)."""
DEVICE = "sbtun"
HEADERS = {"content-type": "application/json", "x-openclaw-session": "modes"}
BODY = json.dumps({"model": "sonnet", "max_tokens": 9, "messages": [user("My name is Ann.")]})


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture
def near(net: Network) -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def answered(proxy: Proxy, *via: str, token: str = "") -> str:
    command = ["curl", "--silent", "--show-error", "--max-time", "30"]
    command += ["--cacert", str(proxy.home / "mitm" / "mitmproxy-ca-cert.pem")]
    command += ["--resolve", f"api.anthropic.com:443:{API}", "--data", BODY]
    command += [part for name in HEADERS for part in ("--header", f"{name}: {HEADERS[name]}")]
    command += ["--header", f"x-api-key: {token}", "https://api.anthropic.com/v1/messages"]
    variables = environment(proxy.home)
    return subprocess.check_output([*via, *command], text=True, env=variables, timeout=60)


def test_a_tun_interface(tmp_path: Path, net: Network, near: ScriptedServer) -> None:
    with running_proxy(tmp_path, near.url, "--mode", f"tun:{DEVICE}") as proxy:
        subprocess.run(["ip", "route", "add", f"{API}/32", "dev", DEVICE], check=True)
        assert "Nice to meet you, Ann!" in answered(proxy)
        assert proxy.connected_hosts() == {"127.0.0.1"}


def client_of(proxy: Proxy, net: Network, port: int, stack: ExitStack) -> None:
    """Leads what the client sends to the API through WireGuard."""
    keys = json.loads((proxy.home / "mitm" / "wireguard.conf").read_text())
    public = subprocess.check_output(["wg", "pubkey"], input=keys["server_key"], text=True)
    private = proxy.home / "client.key"
    private.write_text(keys["client_key"])
    tunnel = stack.enter_context(
        subprocess.Popen(net.at_the_client("wireguard-go", "--foreground", DEVICE))
    )
    stack.callback(tunnel.terminate)

    def at_the_client(*words: str) -> bool:
        command: Sequence[str] = net.at_the_client(*words)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    wait_for(lambda: at_the_client("wg", "show", DEVICE), "the interface")
    peer = ("peer", public.strip(), "allowed-ips", "0.0.0.0/0", "endpoint", f"{GATEWAY}:{port}")
    for words in (
        ("wg", "set", DEVICE, "private-key", str(private), *peer),
        ("ip", "address", "add", "10.0.0.1/32", "dev", DEVICE),
        ("ip", "link", "set", DEVICE, "up"),
        ("ip", "route", "add", f"{API}/32", "dev", DEVICE),
    ):
        assert at_the_client(*words), words


def test_wireguard(tmp_path: Path, net: Network, near: ScriptedServer) -> None:
    for program in ("wireguard-go", "wg"):
        if not shutil.which(program):
            pytest.skip(
                f"needs {program} (on Debian: apt-get install wireguard-go wireguard-tools)"
            )
    port = free_port()
    mode = ("--mode", f"wireguard@{GATEWAY}:{port}")
    options = {"allow_remote": "true"}
    with (
        running_proxy(tmp_path, near.url, *mode, options=options) as proxy,
        ExitStack() as stack,
    ):
        client_of(proxy, net, port, stack)
        token = add_client(proxy.database.parent)
        assert "Nice to meet you, Ann!" in answered(proxy, *net.at_the_client(), token=token)
        assert proxy.connected_hosts() == {"127.0.0.1"}


@pytest.mark.parametrize("scheme", ["https", "http3"])
def test_http3(tmp_path: Path, api: ScriptedServer, scheme: str) -> None:
    port = free_port()
    mode = ("--mode", f"reverse:{scheme}://api.anthropic.com@{port}")
    with running_proxy(tmp_path, api.url, *mode) as proxy:
        ca = tmp_path / "mitm" / "mitmproxy-ca-cert.pem"
        asked = ("api.anthropic.com", "/v1/messages", HEADERS, BODY.encode(), ca)
        status, body = post(port, *asked)
        assert (status, json.loads(body)["content"][0]["text"]) == (200, "Nice to meet you, Ann!")
        assert proxy.connected_hosts() == {"127.0.0.1"}
