"""`sessionbridge run`: mitmweb or mitmdump with the addon, and how to point a client at it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click
from rich.console import Console
from rich.panel import Panel

from sessionbridge.claude.login import find_cli, is_logged_in
from sessionbridge.cli.mitm import Mitm


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: sessionbridge run --dump --set sessionbridge_unkeyed=stateless",
)
@click.option("--dump", is_flag=True, help="Start mitmdump in the terminal instead of mitmweb.")
@click.option("--port", type=int, default=8080, show_default=True, help="Port of the proxy.")
@click.option("--web-port", type=int, default=8081, show_default=True, help="Port of mitmweb.")
@click.option(
    "--confdir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("~/.mitmproxy"),
    show_default=True,
    help="Where mitmproxy keeps its CA.",
)
@click.argument("further", nargs=-1, type=click.UNPROCESSED, metavar="[MITMPROXY OPTIONS]...")
@click.pass_obj
def run(
    home: Path, dump: bool, port: int, web_port: int, confdir: Path, further: tuple[str, ...]
) -> None:
    """Start the proxy with the bridge in it.

    Says how to point a client at it, and whether the Claude CLI is logged in. Further options go
    to mitmproxy; those of the bridge are given with --set."""
    mitm = Mitm(home, dump, port, web_port, confdir.expanduser())
    console = Console(stderr=True)
    console.print(Panel(_how_to(mitm), title="sessionbridge", expand=False))
    if advice := _login_advice():
        console.print(f"[yellow]{advice}[/yellow]")
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
        "More clients: certs/README.md and the table of platforms in README.md",
    ]
    return "\n".join(lines)


def _login_advice() -> str | None:
    cli = find_cli(None)
    if cli is None:
        return "The Claude CLI was not found: install it, or set sessionbridge_claude."
    try:
        if is_logged_in(cli, os.environ, {}):
            return None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return f"The Claude CLI at {cli} could not be asked for its login ({type(error).__name__})."
    return (
        f"The Claude CLI is not logged in, so turns will fail with 401. Log in once with\n"
        f"  {cli} auth login\n"
        "or pass a key on:  --set sessionbridge_claude_env=ANTHROPIC_API_KEY"
    )
