"""The command line of a mitmproxy with the addon, as `run` and `demo` start it; and its CA."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
from argon2 import PasswordHasher

import sessionbridge

HOST = "127.0.0.1"
CA_NAME = "mitmproxy-ca-cert.pem"
"""The certificate in mitmproxy's folder."""

CA_KEY_NAME = "mitmproxy-ca.pem"
"""The same with its key beside it. Where this file is missing, mitmproxy makes both."""

confdir_option = click.option(
    "--confdir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("~/.mitmproxy"),
    show_default=True,
    help="Where mitmproxy keeps its CA.",
)


@dataclass(frozen=True, slots=True)
class Mitm:
    """`confdir` holds the CA; `options` are `sessionbridge_…` ones without that prefix."""

    home: Path
    dump: bool
    port: int
    web_port: int
    confdir: Path
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    @property
    def proxy_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def web_url(self) -> str:
        return f"http://{HOST}:{self.web_port}/?token={self.password}"

    @property
    def _password_hash(self) -> str:
        """Every user of the machine can read a command line."""
        return PasswordHasher().hash(self.password)

    @property
    def ca(self) -> Path:
        return self.confdir / CA_NAME

    def command(self, *further: str) -> list[str]:
        """`further` arguments are mitmproxy's own and come last, so that they win."""
        tool = Path(sys.executable).with_name("mitmdump" if self.dump else "mitmweb")
        command = [str(tool), "-s", str(door()), "--listen-host", HOST]
        command += ["--listen-port", str(self.port), "--set", f"confdir={self.confdir}"]
        if not self.dump:
            command += ["--web-host", HOST, "--web-port", str(self.web_port), "--no-web-open"]
            command += ["--set", f"web_password={self._password_hash}"]
        for name, values in {"home": [str(self.home)], **self.options}.items():
            for value in values:
                command += ["--set", f"sessionbridge_{name}={value}"]
        return [*command, *further]


def door() -> Path:
    """The entry file for `-s`, which lies beside the package: never inside it, because mitmproxy
    puts its folder first on the import path."""
    return Path(sessionbridge.__file__).parent.parent / "sessionbridge.py"
