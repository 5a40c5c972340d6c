"""What `sessionbridge doctor` says of the proxy's CA and its port."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import certs
from OpenSSL import crypto

from sessionbridge.cli.checks.network import check_port
from tests.support.doctor_fixtures import Place, ca, new_ca, place
from tests.support.proxy import free_port, running_proxy
from tests.support.scripted_api import ScriptedServer

__all__ = ["ca", "place"]


@pytest.fixture(scope="module")
def another_ca(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of the same name."""
    return new_ca(tmp_path_factory.mktemp("another"))


def test_without_a_ca_it_is_said_who_makes_it(place: Place) -> None:
    place.ca.unlink()
    assert place.findings()["CA"]["status"] == "warning"


def test_a_ca_that_is_none_is_a_problem(place: Place) -> None:
    place.ca.write_text("no certificate")
    assert place.findings()["CA"]["status"] == "problem"


@pytest.mark.parametrize("spoil", [Path.unlink, lambda ca: ca.write_text("no certificate")])
def test_what_it_says_of_a_lost_ca_gets_a_new_one(
    place: Place, spoil: Callable[[Path], Any]
) -> None:
    """The advice is followed as it is written, and mitmproxy started."""
    new_ca(place.confdir)
    before = place.ca.read_bytes()
    spoil(place.ca)
    certs.CertStore.from_store(place.confdir, "mitmproxy", 2048)
    advice = place.findings()["CA"]["advice"]
    assert "mitmproxy then makes" in advice

    if advice.startswith("Move it"):
        place.ca.unlink()
    (name,) = re.findall(r"mitmproxy-[\w.-]+pem", advice)
    (place.confdir / name).unlink()
    certs.CertStore.from_store(place.confdir, "mitmproxy", 2048)

    assert place.findings()["CA"]["found"] == f"{place.ca}, which nothing in this shell trusts"
    assert place.ca.read_bytes() != before


@pytest.mark.parametrize(
    ("variable", "program"),
    [
        ("SSL_CERT_FILE", "OpenSSL"),
        ("NODE_EXTRA_CA_CERTS", "Node"),
        ("REQUESTS_CA_BUNDLE", "requests"),
    ],
)
def test_a_bundle_with_the_ca_in_it_makes_it_trusted(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    ca: bytes,
    another_ca: bytes,
    variable: str,
    program: str,
) -> None:
    bundle = place.folder / "bundle.pem"
    monkeypatch.setenv(variable, str(bundle))
    bundle.write_bytes(another_ca)
    assert place.findings()["CA"]["status"] == "warning"
    bundle.write_bytes(another_ca + ca)
    found = place.findings()["CA"]
    assert found["status"] == "ok"
    by, _, others = found["found"].partition("; not by ")
    assert program in by and program not in others


def test_a_ca_in_a_directory_of_openssls_is_trusted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.folder / "store"
    store.mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", f"{place.folder}:{store}")
    assert place.findings()["CA"]["status"] == "warning"
    pem = place.ca.read_bytes()
    hashed = crypto.load_certificate(crypto.FILETYPE_PEM, pem).subject_name_hash()
    (store / f"{hashed:08x}.0").write_bytes(pem)
    assert place.findings()["CA"]["status"] == "ok"


# -- the port --------------------------------------------------------------------------------------


@contextmanager
def serving(pages: dict[str, str]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(404 if page is None else 200)
            self.end_headers()
            self.wfile.write((page or "nothing of sessionbridge").encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "pages",
    [
        {},
        {"/.sessionbridge/": "<title>Some page</title>"},
        {"/": "<title>Session bridge</title>"},
    ],
)
def test_a_port_another_program_has_is_a_warning(place: Place, pages: dict[str, str]) -> None:
    with serving(pages) as place.port:
        found = place.findings()["Port"]
    assert found["status"] == "warning"
    assert str(place.port) in found["found"]


def test_a_port_where_a_bridge_runs_is_fine(api: ScriptedServer, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    modes = f"regular@{ports[0]}", f"reverse:https://api.anthropic.com@{ports[1]}"
    with running_proxy(tmp_path, api.url, *(a for mode in modes for a in ("--mode", mode))):
        findings = [check_port(port) for port in ports]
    assert [finding.found for finding in findings] == [
        f"a bridge is running at {port}" for port in ports
    ]
    assert {finding.status for finding in findings} == {"ok"}


def test_a_port_that_speaks_no_http_is_taken(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        place.port = server.getsockname()[1]

        def hang_up() -> None:
            for _ in range(2):
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert place.findings()["Port"]["status"] == "warning"
        thread.join()


def test_a_port_whose_connections_have_just_ended_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # the side that closes first keeps the port for a while
        client.close()
    assert check_port(port).status == "ok"
