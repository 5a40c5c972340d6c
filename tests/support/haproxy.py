"""HAProxy with the configuration of `docs/`, whose addresses alone are others here."""

from __future__ import annotations

import csv
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.clients import ServerClients
from tests.support.daemons import as_ordinary_user, folder_of_its_own, given_away, needed, started
from tests.support.documents import DOCS
from tests.support.proxy import free_port, stop, wait_for

CONFIGURATION = DOCS / "haproxy.cfg"


@dataclass(frozen=True, slots=True)
class HAProxy:
    """`socket` takes the commands of its administrator."""

    port: int
    socket: Path
    open: ExitStack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def clients(self) -> ServerClients:
        return ServerClients(self.url, self.open)

    def command(self, words: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(f"{words}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def only(self, *names: str) -> None:
        """Turns go to these nodes alone from here on."""
        for node in self.states():
            self.command(f"set server nodes/{node} state {'ready' if node in names else 'drain'}")

    def states(self) -> dict[str, str]:
        """Those of the nodes by name: `UP`, `DOWN`, `DRAIN` and some in between."""
        rows = csv.DictReader(self.command("show stat").removeprefix("# ").splitlines())
        servers = [row for row in rows if row["pxname"] == "nodes" and row["svname"] != "BACKEND"]
        return {row["svname"]: row["status"] for row in servers}

    def wait_for(self, **states: str) -> None:
        """Until the nodes named are seen in these states."""
        wait_for(lambda: states.items() <= self.states().items(), f"HAProxy to see {states}")


@contextmanager
def running_haproxy(one: int, two: int) -> Iterator[HAProxy]:
    """In front of two nodes at these ports; they need not run yet. Skips the test where it is not
    installed."""
    program = needed("haproxy", "haproxy", Path("/usr/sbin"))
    with folder_of_its_own("haproxy") as folder, ExitStack() as clients:
        proxy = HAProxy(free_port(), folder / "admin.sock", clients)
        configuration = folder / "haproxy.cfg"
        configuration.write_text(_at_home(CONFIGURATION.read_text("utf-8"), proxy, one, two))
        given_away(configuration)
        command = [str(program), "-db", "-f", str(configuration)]
        checked = as_ordinary_user([*command, "-c"])
        done = subprocess.run(checked, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "[WARNING]" not in done.stderr, done.stderr
        process = started(
            command,
            folder,
            folder / "haproxy.log",
            ready=proxy.socket.exists,
            ended_by="TERM",
        )
        try:
            yield proxy
        finally:
            stop(process)


def _at_home(text: str, proxy: HAProxy, one: int, two: int) -> str:
    places = {
        r"stats socket \S+": f"stats socket {proxy.socket}",
        r"^    bind :8080": f"    bind 127.0.0.1:{proxy.port}",
        r"server one \S+": f"server one 127.0.0.1:{one}",
        r"server two \S+": f"server two 127.0.0.1:{two}",
    }
    for shown, here in places.items():
        text, count = re.subn(shown, here, text, flags=re.M)
        assert count == 1, shown
    return text
