"""Network namespaces: a machine that the proxy runs on, as these tests do, and a client behind it.

The proxy's has the addresses `GATEWAY` and `FAR`; the client's way to everywhere leads by it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs.place import without_network
from tests.support.proxy import wait_for

GATEWAY, CLIENT, FAR = "10.77.0.1", "10.77.0.2", "10.77.1.1"
"""`FAR` stands for a server that is not bridged."""

NOBODY = 65534

_NEEDED = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}


@dataclass(frozen=True, slots=True)
class Network:
    client: int
    """The pid of a process in the client's namespace."""

    def redirect(self, table: str) -> None:
        """Has nftables follow this table, of the name `sessionbridge`, and none of before."""
        none = "table ip sessionbridge\ndelete table ip sessionbridge\n"
        subprocess.run(["nft", "-f", "-"], input=none + table, text=True, check=True)

    def at_the_client(self, *command: str) -> Sequence[str]:
        """The command line that runs a program on the client's machine."""
        return "nsenter", "--target", str(self.client), "--net", *command

    @contextmanager
    def clients_sockets(self) -> Iterator[None]:
        """Sockets that this thread makes are on the client's machine."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.client}/ns/net", os.O_RDONLY)
        try:
            os.setns(there, os.CLONE_NEWNET)
            yield
        finally:
            os.setns(here, os.CLONE_NEWNET)
            os.close(here)
            os.close(there)


@contextmanager
def network() -> Iterator[Network]:
    """Skips the test where this needs a package, or leave."""
    for program, package in _NEEDED.items():
        if not shutil.which(program):
            pytest.skip(f"needs {program} (on Debian: apt-get install {package})")
    with without_network():
        if os.getuid():
            pytest.skip("only root may redirect connections")
        here = os.readlink("/proc/thread-self/ns/net")
        with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as client:
            made = Network(client.pid)
            try:
                wait_for(lambda: _namespace(client.pid) not in ("", here), "a namespace")
                _connect(made)
                yield made
            finally:
                client.kill()


def _namespace(pid: int) -> str:
    return os.readlink(Path("/proc", str(pid), "ns", "net"))


def _connect(network: Network) -> None:
    end = f"link add to_client type veth peer name to_proxy netns {network.client}"
    there = (
        "link set lo up",
        f"address add {CLIENT}/24 dev to_proxy",
        "link set to_proxy up",
        f"route add default via {GATEWAY}",
    )
    here = (
        end,
        f"address add {GATEWAY}/24 dev to_client",
        f"address add {FAR}/32 dev lo",
        "link set to_client up",
        # So that the machine has an address of its own to ask from; nobody is there.
        f"route add default via {CLIENT}",
    )
    for words in here:
        subprocess.run(["ip", *words.split()], check=True)
    for words in there:
        subprocess.run(network.at_the_client("ip", *words.split()), check=True)
