"""The certificates by which a program trusts mitmproxy's CA, and all that it trusted before.

Most programs take one file and trust nothing beside it, so a bundle is made of both.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import certifi

from sessionbridge.cli.exec.variables import Certificates

FOLDER = "ca"

# Where systems keep all CAs in one file, in the order of Go's crypto/x509 (`root_linux.go`,
# `root_bsd.go`).
_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


_FURTHER = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "DENO_CERT")
"""What kinds of programs were told to trust each for itself."""


def prepared(home: Path, ca: Path, environment: Mapping[str, str]) -> Certificates:
    """Writes the files below the bridge's home, unless they are there: they are named by what is in
    them. Raises OSError."""
    own = ca.read_bytes()
    bundle = _trusted(environment).read_bytes()
    for further in _FURTHER:
        if (path := environment.get(further)) and Path(path).is_file():
            bundle = _joined(bundle, Path(path).read_bytes())
    bundle = _joined(bundle, own)
    extra = environment.get("NODE_EXTRA_CA_CERTS")
    added = _joined(Path(extra).read_bytes(), own) if extra and Path(extra).is_file() else own
    folder = home / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Certificates(ca=_kept(folder, added), bundle=_kept(folder, bundle))


def _trusted(environment: Mapping[str, str]) -> Path:
    """What the program would trust without us: what it was told, the system's, or Mozilla's."""
    told = environment.get("SSL_CERT_FILE")
    candidates = [*([told] if told else []), *_SYSTEM]
    return next((Path(path) for path in candidates if Path(path).is_file()), Path(certifi.where()))


def _joined(trusted: bytes, own: bytes) -> bytes:
    """Once, also where one run is inside of another."""
    return trusted if own in trusted else trusted.rstrip() + b"\n" + own


def _kept(folder: Path, pem: bytes) -> Path:
    path = folder / f"{hashlib.sha256(pem).hexdigest()[:16]}.pem"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(pem)
        unfinished.replace(path)  # a program that starts meanwhile finds all of it or nothing
    return path
