"""The proxy's certificate authority and its port."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from sessionbridge.cli.checks.finding import Finding
from sessionbridge.cli.mitm import CA_KEY_NAME, HOST
from sessionbridge.cli.running_bridge import NoBridge, mode_at

_BUNDLES = {"Node": "NODE_EXTRA_CA_CERTS", "Python's requests": "REQUESTS_CA_BUNDLE"}


def check_ca(ca: Path, environment: Mapping[str, str]) -> Finding:
    """Whether the programs of this shell would trust the proxy. In reverse mode none has to."""
    try:
        fingerprints = set(_of_file(ca))
    except FileNotFoundError:
        return _missing(ca)
    except OSError as error:
        found = f"{ca} cannot be read ({type(error).__name__})"
        advice = f"Move it and {CA_KEY_NAME} beside it away; mitmproxy then makes new ones."
        return Finding("CA", "problem", found, advice)
    trusted = {"OpenSSL (SSL_CERT_FILE or the system's store)": fingerprints <= set(_trusted())}
    for program, variable in _BUNDLES.items():
        trusted[f"{program} ({variable})"] = _in_bundle(fingerprints, environment.get(variable))
    by = [name for name, yes in trusted.items() if yes]
    others = [name for name, yes in trusted.items() if not yes]
    if by:
        found = f"{ca}, trusted in this shell by {', '.join(by)}"
        return Finding("CA", "ok", found + (f"; not by {', '.join(others)}" if others else ""))
    advice = (
        "Where clients use the regular proxy, let each trust it: certs/README.md says how; "
        f"for many it is  export SSL_CERT_FILE={ca}"
    )
    return Finding("CA", "warning", f"{ca}, which nothing in this shell trusts", advice)


def _missing(ca: Path) -> Finding:
    if ca.with_name(CA_KEY_NAME).exists():  # mitmproxy goes on with that, and makes nothing new
        found = f"{ca} is gone, {CA_KEY_NAME} beside it is there"
        advice = f"Move {CA_KEY_NAME} away; mitmproxy then makes both anew."
        return Finding("CA", "warning", found, advice)
    found = f"there is none at {ca} yet"
    advice = "mitmproxy makes it when it is started first; only the regular proxy needs it."
    return Finding("CA", "warning", found, advice)


def check_port(port: int) -> Finding:
    if (error := _bind(port)) is None:
        return Finding("Port", "ok", f"{port} is free")
    if isinstance(error, PermissionError):
        found = f"{port} may not be used by this user"
        return Finding("Port", "problem", found, "Choose one above 1023 with --port.")
    with suppress(NoBridge):
        mode_at(port)
        return Finding("Port", "ok", f"a bridge is running at {port}")
    found = f"{port} is taken, and what is there does not answer as a bridge"
    return Finding("Port", "warning", found, "End that program, or choose another port: --port.")


def _bind(port: int) -> OSError | None:
    with socket.socket() as listener:
        if os.name == "posix":
            # As the proxy does: connections that have just ended do not keep it.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            return error
    return None


def _trusted() -> Iterator[str]:
    """The fingerprints of what a TLS client of this process would trust."""
    context = ssl.create_default_context()
    yield from map(_fingerprint, context.get_ca_certs(binary_form=True))
    # OpenSSL reads a directory only when it needs a certificate, by the hash in its file's name.
    paths = ssl.get_default_verify_paths()
    directories = os.environ.get(paths.openssl_capath_env, paths.openssl_capath)
    for directory in filter(None, directories.split(os.pathsep)):
        for file in Path(directory).glob("*.[0-9]"):
            with suppress(OSError):
                yield from _of_file(file)


def _in_bundle(fingerprints: set[str], bundle: str | None) -> bool:
    if not bundle:
        return False
    try:
        return fingerprints <= set(_of_file(Path(bundle)))
    except OSError:  # nothing of the kind is there
        return False


def _of_file(path: Path) -> list[str]:
    """The fingerprints of its certificates. Raises OSError, `ssl.SSLError` where it has none."""
    path.stat()  # or nothing tells a missing file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=path)
    return [_fingerprint(der) for der in context.get_ca_certs(binary_form=True)]


def _fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()
