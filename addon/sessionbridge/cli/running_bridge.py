"""A bridge that runs, asked by its port: whether it is one, how it is reached, what it has done."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from sessionbridge.cli.mitm import HOST

Mode = Literal["regular", "reverse"]

API_HOST = "api.anthropic.com"
"""One that every bridge answers for."""

_PAGES: Mapping[Mode, str] = {
    "reverse": "/.sessionbridge",
    "regular": "http://sessionbridge.local",
}
"""In this order asked without a trace: a regular proxy refuses a path without a host itself."""

_SHOWN = b"session bridge"
"""What the page of the dashboard has in its title."""

_ASKING = 5.0
"""Seconds."""


class NoBridge(Exception):
    """What is wrong with a proxy, and what to do, in a sentence."""


def mode_at(port: int) -> Mode:
    """How the bridge at this port is reached. Raises `NoBridge` where none answers."""
    for mode in _PAGES:
        try:
            found = is_bridge(port, mode)
        except OSError as error:
            said = f"Nothing answers at port {port} ({error.strerror or type(error).__name__})"
            advice = f"start  sessionbridge run --port {port}  or leave --port out."
            raise NoBridge(f"{said}; {advice}") from error
        if found:
            return mode
    raise NoBridge(f"What answers at port {port} is no bridge; leave --port out, or name another.")


def is_bridge(port: int, mode: Mode, patience: float = _ASKING) -> bool:
    """Raises OSError where nothing answers within so many seconds."""
    try:
        status, body = _asked(port, "GET", f"{_PAGES[mode]}/", patience)
    except ConnectionRefusedError:
        raise
    except (http.client.HTTPException, ConnectionError):  # it hangs up, or speaks something else
        return False
    return status == 200 and _SHOWN in body.lower()


def check_ca(port: int, ca: Path) -> None:
    """Raises `NoBridge` where the proxy signs with another CA than this. No request is made."""
    advice = "name the folder of the proxy's CA with --confdir."
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise NoBridge(f"There is no certificate in {ca}; {advice}") from error
    connection = http.client.HTTPSConnection(HOST, port, context=context, timeout=_ASKING)
    connection.set_tunnel(API_HOST, 443)
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
        time.sleep(0.02)  # the page answers at once, whether or not all has ended


def _asked(port: int, method: str, url: str, patience: float = _ASKING) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=patience)
    try:
        connection.request(method, url, headers={"connection": "close"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
