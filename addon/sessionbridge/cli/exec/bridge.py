"""The proxy that a program is led through: one that runs already, or one of its own."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import urlencode

from sessionbridge.claude.cli.guardian import launch
from sessionbridge.cli.exec.variables import API_HOSTS
from sessionbridge.cli.mitm import HOST, Mitm

Mode = Literal["regular", "reverse"]

_PAGES: Mapping[Mode, str] = {
    "regular": "http://sessionbridge.local",
    "reverse": f"http://{HOST}/.sessionbridge",
}
_SHOWN = b"session bridge"
"""What the page of the dashboard has in its title."""

_STARTING = 60.0
_ASKING = 5.0
_ENDING = 40.0
"""Seconds; mitmproxy waits for turns under way."""


class NoBridge(Exception):
    """What is wrong with a proxy, and what to do, in a sentence."""


def mode_at(port: int) -> Mode:
    """How the bridge at this port is reached. Raises `NoBridge` where none answers."""
    for mode in _PAGES:
        try:
            status, body = _asked(port, "GET", f"{_PAGES[mode]}/")
        except OSError as error:
            said = f"Nothing answers at port {port} ({error.strerror or type(error).__name__})"
            advice = f"start  sessionbridge run --port {port}  or leave --port out."
            raise NoBridge(f"{said}; {advice}") from error
        except http.client.HTTPException:
            continue
        if status == 200 and _SHOWN in body.lower():
            return mode
    raise NoBridge(f"What answers at port {port} is no bridge; leave --port out, or name another.")


def check_ca(port: int, ca: Path) -> None:
    """Raises `NoBridge` where the proxy signs with another CA than this. No request is made."""
    advice = "name the folder of the proxy's CA with --confdir."
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise NoBridge(f"There is no certificate in {ca}; {advice}") from error
    connection = http.client.HTTPSConnection(HOST, port, context=context, timeout=_ASKING)
    connection.set_tunnel(API_HOSTS[0], 443)
    try:
        connection.connect()
    except ssl.SSLError as error:
        said = f"The proxy at port {port} signs with another CA than {ca}"
        raise NoBridge(f"{said}; {advice}") from error
    except OSError as error:
        said = f"The proxy at port {port} opens no connection ({error}); see its log"
        raise NoBridge(f"{said}, or leave --port out.") from error
    finally:
        connection.close()


def totals(port: int, mode: Mode, run: str | None) -> Mapping[str, Any] | None:
    """What a program has used once all that it asked is answered; None where that is not told."""
    query = f"?{urlencode({'id': run})}" if run else ""
    deadline = time.monotonic() + _ASKING
    while True:
        try:
            status, body = _asked(port, "POST", f"{_PAGES[mode]}/api/run{query}")
        except (OSError, http.client.HTTPException):
            return None
        if status != 200:
            return None
        told: Mapping[str, Any] = json.loads(body)
        if not told["under_way"] or time.monotonic() > deadline:
            return told
        time.sleep(0.02)


@contextmanager
def started(mitm: Mitm, *arguments: str) -> Iterator[None]:
    """A mitmdump that answers as a bridge; it is ended again, also when this process is killed.
    Raises `NoBridge`."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            mitm.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is for the program alone
        )
        with guarded(process.pid):
            try:
                _wait_for(process, mitm.port, log)
                yield
            finally:
                _end(process)


@contextmanager
def guarded(pid: int) -> Iterator[None]:
    """This process is killed when we are."""
    launcher, pipe = launch([pid])
    try:
        yield
    finally:
        os.close(pipe)
        launcher.wait()


def free_ports(count: int) -> list[int]:
    with_ports = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in with_ports]
    finally:
        for one in with_ports:
            one.close()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    """It listens before it has loaded the addon, and answers after that."""
    deadline = time.monotonic() + _STARTING
    while process.poll() is None and time.monotonic() < deadline:
        try:
            patience = deadline - time.monotonic()
            status, body = _asked(port, "GET", f"{_PAGES['regular']}/", patience)
        except ConnectionRefusedError:
            time.sleep(0.01)
            continue
        except (OSError, http.client.HTTPException):
            break
        if status == 200 and _SHOWN in body.lower():
            return
        break
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines() or ["it says nothing"]
    raise NoBridge(f"The proxy could not be started: {said[-1]}; try  sessionbridge run --dump.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _asked(port: int, method: str, url: str, patience: float = _ASKING) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=patience)
    try:
        connection.request(method, url, headers={"connection": "close"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
