"""`sessionbridge run`: mitmweb or mitmdump with the addon, and how to point a client at it."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from sessionbridge.cli.checks.finding import Finding
from sessionbridge.cli.checks.programs import check_claude
from sessionbridge.cli.mitm import Mitm, confdir_option


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: sessionbridge run --dump --set sessionbridge_unkeyed=stateless",
)
@click.option("--dump", is_flag=True, help="Start mitmdump in the terminal instead of mitmweb.")
@click.option("--port", type=int, default=8080, show_default=True, help="Port of the proxy.")
@click.option("--web-port", type=int, default=8081, show_default=True, help="Port of mitmweb.")
@confdir_option
@click.argument("further", nargs=-1, type=click.UNPROCESSED, metavar="[MITMPROXY OPTIONS]...")
@click.pass_obj
def run(
    home: Path, dump: bool, port: int, web_port: int, confdir: Path, further: tuple[str, ...]
) -> None:
    """Start the proxy with the bridge in it.

    Says how to point a client at it, and what is wrong with the Claude CLI or its login. Further
    options go to mitmproxy; those of the bridge are given with --set."""
    mitm = Mitm(home, dump, port, web_port, confdir.expanduser())
    console = Console(stderr=True)
    console.print(Panel(_how_to(mitm), title="sessionbridge", expand=False))
    for finding in check_claude(None, os.environ):
        if finding.status != "ok":
            console.print(_warning(finding), soft_wrap=True)  # so that it can be copied
    command = mitm.command(*further)
    os.execv(command[0], command)


def _how_to(mitm: Mitm) -> str:
    lines = [f"Proxy      {mitm.proxy_url}"]
    if not mitm.dump:
        lines.append(f"mitmweb    {mitm.web_url}")
    lines += [
        "",
        "Point a client at it, for example in the shell that starts it:",
        f"  export HTTPS_PROXY={mitm.proxy_url}",
        f"  export SSL_CERT_FILE={mitm.ca}        # Python, Go, curl",
        f"  export NODE_EXTRA_CA_CERTS={mitm.ca}  # Node",
        "and give it a session header, for example X-OpenClaw-Session: my-first-chat",
        "More clients: docs/platforms.md and certs/README.md",
    ]
    return "\n".join(lines)


def _warning(finding: Finding) -> Text:
    text = f"{finding.check}: {finding.found}\n→ {finding.advice}"
    return Text(text, style="yellow")
