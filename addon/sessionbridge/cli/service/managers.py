"""What systemd and launchd are given so that the bridge runs whenever its user does. Pure.

Sources: systemd.service(5), systemd.kill(5), systemd.syntax(7); launchd.plist(5), launchctl(1). The
signals are those of docs/systemd.md: the proxy alone is told to end, and given time for the turns
under way.
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NAME = "sessionbridge"
_LABEL = "local.sessionbridge"
_STOPPING = 40
"""Seconds. The proxy waits 25 for turns, and then ends its Claude processes."""

_UNIT = """\
# Written by `sessionbridge service install`; `sessionbridge service uninstall` takes it away.
[Unit]
Description=sessionbridge: Claude sessions for programs that speak a stateless LLM API

[Service]
ExecStart={command}
# SIGTERM to the proxy alone: it lets the turns under way finish, and ends its Claude processes.
KillMode=mixed
TimeoutStopSec={stopping}
Restart=on-failure
RestartSec=2
UMask=0077
NoNewPrivileges=true

[Install]
WantedBy=default.target
"""

type Command = Sequence[str]


@dataclass(frozen=True, slots=True)
class Service:
    """The `file` that a service manager reads, with its `text`, and the commands by which the
    service is begun, ended, forgotten once the file is gone, and looked at."""

    file: Path
    text: bytes
    begin: Sequence[Command]
    end: Sequence[Command]
    forget: Sequence[Command]
    state: Command
    log: str
    note: str


def systemd(home: Path, environment: Mapping[str, str], command: Command) -> Service:
    folder = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    unit, ours = f"{NAME}.service", ("systemctl", "--user")
    line = " ".join(map(quoted, command))
    return Service(
        file=folder / "systemd" / "user" / unit,
        text=_UNIT.format(command=line, stopping=_STOPPING).encode(),
        begin=[(*ours, "daemon-reload"), (*ours, "enable", unit), (*ours, "restart", unit)],
        end=[(*ours, "disable", "--now", unit)],
        forget=[(*ours, "daemon-reload")],
        state=(*ours, "is-active", unit),
        log=f"journalctl --user -u {NAME} -f",
        note="It runs while you are logged in; from the start of the machine on with: "
        "loginctl enable-linger",
    )


def launchd(home: Path, command: Command, user: int) -> Service:
    """Read in Apple's pages, and not run."""
    file = home / "Library" / "LaunchAgents" / f"{_LABEL}.plist"
    log = home / "Library" / "Logs" / f"{NAME}.log"
    document = {
        "Label": _LABEL,
        "ProgramArguments": [*command],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": _STOPPING,
        "Umask": 0o077,
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
    }
    return Service(
        file=file,
        text=plistlib.dumps(document),
        begin=[("launchctl", "bootstrap", f"gui/{user}", str(file))],
        end=[("launchctl", "bootout", f"gui/{user}/{_LABEL}")],
        forget=[],
        state=("launchctl", "print", f"gui/{user}/{_LABEL}"),
        log=f"tail -f {log}",
        note="On macOS this has not been tested.",
    )


def quoted(word: str) -> str:
    """As systemd reads a word of ExecStart: `%` and `$` are its own, and doubled themselves."""
    for character in ("\\", '"'):
        word = word.replace(character, f"\\{character}")
    return '"' + word.replace("%", "%%").replace("$", "$$") + '"'
